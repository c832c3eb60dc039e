"""The body of a submit: its fields, each with the reader that takes it or says what would be right.

Types are strict: true is no number, "5" is no number, 1.0 is no whole number. All wrong fields are told at once.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, cast

from outlast.errors import InvalidRequest
from outlast.handler import Options
from outlast.job import RANK
from outlast.notation import canonical
from outlast.policy import Limits
from outlast.submission import WEBHOOK_RULE, webhooks_of
from outlast.web.problems import Problem, shown, wrong_field, wrong_fields
from outlast.web.query import instant
from outlast.web.strict_json import Members

NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")
NAME_RULE = "1 to 128 characters out of A-Z a-z 0-9 . _ : -"
KEY = re.compile(r"[!#-\[\]-~]{1,128}")
SENT_KEY = re.compile(rf'{KEY.pattern}|"{KEY.pattern}"')
KEY_RULE = "1 to 128 visible ASCII characters without spaces or quotes"

BATCH, ITEM_KEY = "batchId", "idempotencyKey"
MOST_IN_BATCH = 100
"""Jobs of one request."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What is asked for: a type, its payload as it was written, and the options of the submit."""

    type: str
    payload_json: str
    options: Options


class Wrong(ValueError):
    """A field is not what it should be; `below` leads from the field to the part that is wrong."""

    def __init__(self, rule: str, *, below: str = "", code: str = "validation") -> None:
        super().__init__(rule)
        self.below = below
        self.code = code


def decode(members: Members, limits: Limits) -> Submission:
    """What the body asks for. Raises Problem, naming every field that is wrong."""
    read: dict[str, Any] = {}
    wrong: list[tuple[str, dict[str, str]]] = []
    for name, value in members.values.items():
        try:
            read[name] = _reader(name)(value, limits)
        except Wrong as error:
            wrong.append((error.code, {"pointer": _pointer(name) + error.below, "detail": str(error)}))
    wrong += [("validation", error) for error in _missing_or_at_odds(members.values)]
    if wrong:
        raise wrong_fields(wrong)
    options = cast(Options, {OPTIONS[name]: value for name, value in read.items() if name in OPTIONS})
    return Submission(read["type"], members.sources.get("payload", "{}"), options)


def decode_item(members: Members, index: int, limits: Limits) -> tuple[Submission, str | None]:
    """What an item of a batch asks for, and its idempotency key. Raises Problem, with pointers from the batch's top."""
    values, sources = dict(members.values), dict(members.sources)
    sources.pop(ITEM_KEY, None)
    try:
        key = None if ITEM_KEY not in values else _idempotency_key(values.pop(ITEM_KEY))
        if BATCH in values:
            raise wrong_field(f"/{BATCH}", "it is given once, beside the jobs")
        return decode(Members(values, sources), limits), key
    except Problem as problem:
        at = f"/jobs/{index}"
        raise wrong_fields(
            [(problem.code, {**one, "pointer": at + one["pointer"]}) for one in problem.errors]
        ) from None


def _idempotency_key(value: Any) -> str:
    if not isinstance(value, str) or not KEY.fullmatch(value):
        raise wrong_field(f"/{ITEM_KEY}", f"{KEY_RULE}, not {shown(value)}")
    return value


def read_batch_id(values: Mapping[str, Any], limits: Limits) -> str | None:
    """The name that a client gives a batch; None if it gives none."""
    if BATCH not in values:
        return None
    try:
        return _name(values[BATCH], limits)
    except Wrong as error:
        raise wrong_field(f"/{BATCH}", str(error)) from None


def _missing_or_at_odds(values: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    if "type" not in values:
        yield {"pointer": "/type", "detail": "missing; it names the handler"}
    if "delayMs" in values and "runAt" in values:
        yield {"pointer": "/runAt", "detail": "give delayMs or runAt, not both"}


def _pointer(name: str) -> str:
    return "/" + shown(name).strip("'\"").replace("~", "~0").replace("/", "~1")


# -- one reader for each kind of field ------------------------------------------------------------------------------

Reader = Callable[[Any, Limits], Any]


def _name(value: Any, limits: Limits) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise Wrong(f"{NAME_RULE}, not {shown(value)}")
    return value


def _payload(value: Any, limits: Limits) -> None:
    if not isinstance(value, dict):
        raise Wrong("an object with the handler's parameters")


def _priority(value: Any, limits: Limits) -> str:
    if not isinstance(value, str) or value not in RANK:
        raise Wrong(f"one of {', '.join(RANK)}, not {shown(value)}")
    return value


def _whole(low: int, high: Callable[[Limits], int]) -> Reader:
    def read(value: Any, limits: Limits) -> int:
        if type(value) is not int or not low <= value <= high(limits):
            raise Wrong(f"a whole number from {low} to {high(limits)}, not {shown(value)}")
        return value

    return read


def _milliseconds(low: int) -> Reader:
    whole = _whole(low, lambda limits: int(limits.delay * 1000))
    return lambda value, limits: whole(value, limits) / 1000


def _run_at(value: Any, limits: Limits) -> datetime:
    if not isinstance(value, str):
        raise Wrong(f"a time such as 2026-11-22T10:00:00Z, not {shown(value)}")
    try:
        return datetime.fromtimestamp(instant(value), UTC)
    except ValueError as error:
        raise Wrong(str(error)) from None


def _tags(value: Any, limits: Limits) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > limits.tags:
        raise Wrong(f"a list of at most {limits.tags} tags")
    for index, tag in enumerate(value):
        if not isinstance(tag, str) or not NAME.fullmatch(tag) or len(tag) > limits.tag:
            raise Wrong(f"1 to {limits.tag} characters out of A-Z a-z 0-9 . _ : -, not {shown(tag)}", below=f"/{index}")
    return tuple(value)


def _metadata(value: Any, limits: Limits) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Wrong("an object")
    if len(canonical(value).encode()) > limits.metadata:
        raise Wrong(f"at most {limits.metadata} bytes as compact JSON")
    return value


def _webhook(value: Any, limits: Limits) -> Mapping[str, Any]:
    """Its form; whether the URL is called is for the submit to tell."""
    if not isinstance(value, dict):
        raise Wrong(WEBHOOK_RULE)
    try:
        webhooks_of(value)
    except InvalidRequest as error:
        [told] = error.errors
        raise Wrong(told["detail"], below=told["pointer"].removeprefix("/webhook")) from None
    return value


FIELDS: Mapping[str, Reader] = {
    "type": _name,
    "payload": _payload,
    "priority": _priority,
    "delayMs": _milliseconds(0),
    "runAt": _run_at,
    "deadlineMs": _milliseconds(1),
    "keepMs": _milliseconds(1),
    "maxRetries": _whole(0, lambda limits: limits.max_retries),
    "tags": _tags,
    "metadata": _metadata,
    "externalId": _name,
    "webhook": _webhook,
    BATCH: _name,
}

OPTIONS: Mapping[str, str] = {
    "priority": "priority",
    "delayMs": "delay",
    "runAt": "run_at",
    "deadlineMs": "deadline",
    "keepMs": "keep",
    "maxRetries": "retries",
    "tags": "tags",
    "metadata": "metadata",
    "externalId": "external_id",
    "webhook": "webhook",
    BATCH: "batch",
}
"""The fields that are options of a submit, and their names there."""

READ_ONLY = frozenset(
    "id owner ownerid user userid status state version seq turn lease leaseuntil worker tag attempt attempts "
    "retrycount retryof progress currentstep message steps waiting output result error lasterror usage urls "
    "createdat updatedat queuedat startedat completedat cancelrequestedat cancelreason expiresat "
    "estimatedcompletion pollafterms".split()
)
"""What the server sets, in lower case and without underscores."""


def _reader(name: str) -> Reader:
    if name in FIELDS:
        return FIELDS[name]
    if name.replace("_", "").lower() in READ_ONLY:
        raise Wrong("the server sets this; leave it out", code="read_only")
    near = get_close_matches(name[:64], FIELDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(FIELDS)}"
    raise Wrong(f"there is no such field; {hint}", code="unknown_field")
