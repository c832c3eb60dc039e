"""Errors on the wire: RFC 9457 problem documents, each with one `code` from one table.

Whatever is raised while a request is answered comes to `problem_of` and leaves as `reply`. What a client sent is never
shown beyond 64 escaped characters, and nothing of an unexpected error is shown at all.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import Response

from outlast.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    JobConflict,
    JobNotFound,
    StoreRefused,
    StoreUnavailable,
)
from outlast.web.strict_json import Refused

CODES: Mapping[str, tuple[int, str]] = {
    # the body as text
    "empty_body": (400, "The body is empty"),
    "not_utf8": (400, "The body is not UTF-8"),
    "invalid_json": (400, "The body is not JSON"),
    "too_deep": (400, "The JSON is nested too deeply"),
    "too_many_members": (400, "The JSON holds too many values"),
    "duplicate_key": (400, "A key stands twice in one object"),
    "number_range": (400, "A number is out of range"),
    "nul_character": (400, "A string holds the character NUL"),
    "lone_surrogate": (400, "A string holds half a character"),
    # who asks, and how
    "unauthenticated": (401, "The caller is not known"),
    "forbidden": (403, "Not allowed"),
    "forbidden_scope": (403, "The caller may not do this"),
    "origin_refused": (403, "Another site's page asked for this"),
    "not_found": (404, "No such address"),
    "job_not_found": (404, "No such job"),
    "batch_not_found": (404, "No such batch"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "not_acceptable": (406, "No form of the answer is acceptable"),
    "request_timeout": (408, "The body took too long"),
    # what the job's status does not allow
    "job_live": (409, "The job is live"),
    "job_ended": (409, "The job has ended"),
    "job_failed": (409, "The job has failed"),
    "job_cancelled": (409, "The job was cancelled"),
    "job_not_retryable": (409, "The job is completed"),
    "inbox_full": (409, "The job's inbox is full"),
    "tokens_off": (409, "This server signs no tokens"),
    # how the body is sent
    "payload_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body is not sent as JSON"),
    "encoding_off": (415, "Compressed bodies are not taken"),
    "host_refused": (421, "Not the server of this host"),
    "upgrade_required": (426, "The address is a WebSocket"),
    # what is asked for
    "body_must_be_object": (422, "The body is not an object"),
    "validation": (422, "A field is not what it should be"),
    "unknown_field": (422, "A field is unknown"),
    "read_only": (422, "A field is not the client's to set"),
    "unknown_type": (422, "No handler has this type"),
    "attachment_not_found": (422, "The payload names an attachment that is not there"),
    "bad_cursor": (422, "The cursor is not one of this list"),
    "callback_refused": (422, "The webhook's URL is none that is called"),
    "webhooks_off": (422, "This server signs no webhooks"),
    "idempotency_key_reused": (422, "The idempotency key belongs to another request"),
    # the server
    "quota_exceeded": (429, "Too many at once"),
    "internal_error": (500, "The server failed"),
    "queue_full": (503, "Too many jobs wait"),
    "store_unavailable": (503, "The store does not answer, or takes nothing"),
}

UNTOLD = frozenset({"job_not_found", "batch_not_found"})
"""Problems that tell nothing of the request."""

RETRY_SECONDS = 2

REGISTERED = {"quota_exceeded": "https://iana.org/assignments/http-problem-types#quota-exceeded"}
"""Codes that have a type of their own by draft-ietf-httpapi-ratelimit-headers-10."""


class Problem(Exception):
    """An answer other than the one asked for.

    Parameters
    ----------
    code: a key of CODES.
    detail: what is wrong here, and what would be right.
    errors: one mapping for each wrong field: `pointer`, `detail`, and `in` where it is not the body.
    headers: to be sent beside the problem.
    more: members of the document beyond those of every problem.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.more = more or {}

    @property
    def status(self) -> int:
        return CODES[self.code][0]


def problem_of(error: Exception) -> Problem | None:
    """The problem an error stands for; None if it is a defect of ours."""
    match error:
        case Problem():
            return error
        case Refused():
            place = {"line": error.line, "column": error.column}
            return Problem(error.code, error.detail, more={k: v for k, v in place.items() if v is not None})
        case JobNotFound():
            return Problem("job_not_found", "there is no such job, or it is not yours, or it has been removed")
        case IdempotencyKeyReused():
            return Problem(error.code, str(error), more={"jobId": error.job_id})
        case InvalidRequest():
            return Problem(error.code if error.code in CODES else "validation", str(error), errors=error.errors)
        case JobConflict():
            return Problem(error.code, str(error), more={"jobId": error.job_id})
        case StoreUnavailable():
            return _away("the store does not answer; whether a write took place is unknown and it is safe to repeat")
        case StoreRefused():
            return _away("the store cannot be used as it is, and the server's log says why; it is safe to repeat")
        case HTTPException(status_code=401):
            return unauthenticated("the application did not recognise the caller", headers=error.headers)
        case HTTPException(status_code=403):
            return Problem("forbidden", "the application does not allow this")
    return None


def _away(detail: str) -> Problem:
    more = {"retryAfterMs": RETRY_SECONDS * 1000}
    return Problem("store_unavailable", detail, headers={"Retry-After": str(RETRY_SECONDS)}, more=more)


def reply(problem: Problem, *, instance: str, request_id: str) -> Response:
    """The problem as a response.

    A job or batch that is not there, not the caller's or removed gives byte for byte the same body, so that names
    neither the address nor the request; the request's number is in the header `X-Request-Id` of every response.
    """
    where = {} if problem.code in UNTOLD else {"instance": quote(instance)[:64], "requestId": request_id}
    headers = {"Cache-Control": "no-store"} | dict(problem.headers)
    # ASCII alone, so that nothing a client sent can disturb a terminal or a page that shows this.
    text = json.dumps(document(problem) | where)
    return Response(text, problem.status, headers, media_type="application/problem+json")


def document(problem: Problem) -> dict[str, Any]:
    """The problem's own members."""
    status, title = CODES[problem.code]
    type = REGISTERED.get(problem.code, f"urn:outlast:problem:{problem.code}")
    head = {"type": type, "title": title, "status": status, "code": problem.code}
    errors = {"errors": list(problem.errors)} if problem.errors else {}
    return head | {"detail": problem.detail} | dict(problem.more) | errors


def unauthenticated(detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """Nobody is known to ask. What would be asked of a caller, `WWW-Authenticate`, only its asker knows."""
    told = {name: value for name, value in (headers or {}).items() if name.lower() == "www-authenticate"}
    return Problem("unauthenticated", detail, headers=told)


def unexpected() -> Problem:
    """What a client learns of a defect of ours."""
    return Problem("internal_error", "an unexpected error; the server's log has it under this request's number")


def shown(value: object) -> str:
    """What a client sent, in at most 64 characters that all show as they are."""
    text = ascii(value)
    return text if len(text) <= 64 else text[:61] + "..."


def wrong_field(pointer: str, detail: str, *, code: str = "validation", place: str | None = None) -> Problem:
    """A problem with one field; `place` is `query` or `header` where it is not the body."""
    error = {"pointer": pointer, "detail": detail}
    return wrong_fields([(code, error if place is None else error | {"in": place})])


def require_known(fields: Iterable[str], known: Collection[str], at: str = "") -> None:
    """Raise Problem for the first field that is not known; `at` leads to the object they are of."""
    for name in fields:
        if name not in known:
            near = get_close_matches(name[:64], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise wrong_field(f"{at}/{shown(name)[1:-1]}", f"there is no such field; {hint}", code="unknown_field")


def wrong_fields(wrong: Sequence[tuple[str, Mapping[str, str]]]) -> Problem:
    """One problem for several wrong fields, each with the code it would have alone; the first one's is that of all."""
    code, first = wrong[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    detail = f"{first['pointer'].lstrip('/')}: {first['detail']}{more}"
    return Problem(code, detail, errors=[error for _, error in wrong[:20]])
