"""What every answer is held to: the checks of schemathesis, and a look at what they cannot know."""

from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, Response
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

REFUSALS = ["4xx"]

CHECKS: dict[str, Any] = {
    "missing_required_header": {"expected-statuses": REFUSALS},
    # In their places stand `valid_requests_are_taken` and `wrong_requests_are_refused`.
    "positive_data_acceptance": {"enabled": False},
    "negative_data_rejection": {"enabled": False, "expected-statuses": REFUSALS},
    # Other requests steer and remove the same jobs, so what one of them has seen need not be there for the next.
    "use_after_free": {"enabled": False},
    "ensure_resource_availability": {"enabled": False},
}

# These depend on other requests, on a seal, or on how the client speaks HTTP.
CODES = {"idempotency_key_reused", "bad_cursor", "upgrade_required"}

# JSON Schema has no words for how a number is written (400), a sum of durations, a time within the next year, what is
# printable, or a size in bytes.
TEXT = 400
FIELDS = {"Cancel-After", "runAt", "name", "metadata"}


@schemathesis.check
def valid_requests_are_taken(ctx: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """What the description allows is not refused, but for what no schema can say."""
    return None if _is_beyond_schemas(response) else positive_data_acceptance(ctx, response, case)


def _is_beyond_schemas(response: Response) -> bool:
    if response.status_code not in (TEXT, 422, 426):
        return False
    problem = response.json()
    fields = {error["pointer"].rpartition("/")[2] for error in problem.get("errors", ())}
    return response.status_code == TEXT or problem["code"] in CODES or (bool(fields) and fields <= FIELDS)


@schemathesis.check
def wrong_requests_are_refused(ctx: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """What the description forbids is refused; in a batch that may be one item, for what only its submit can tell."""
    return None if _refuses_an_item(response) else negative_data_rejection(ctx, response, case)


def _refuses_an_item(response: Response) -> bool:
    return response.status_code == 202 and any("problem" in job for job in response.json().get("jobs", ()))


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Whole numbers as they are written: to JSON Schema 5.0 is one, and to us it is none."""
    match body:
        case dict():
            return {name: map_body(context, value) for name, value in body.items()}
        case list():
            return [map_body(context, value) for value in body]
        case float() if body.is_integer():
            return int(body)
    return body


# The only host whose URLs the app calls; nothing listens there, and no name is looked up.
schemathesis.openapi.format("uri", st.from_regex(r"\Ahttp://127\.0\.0\.1:9/[a-z0-9/]{0,20}\Z"))
