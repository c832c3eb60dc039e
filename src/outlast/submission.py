"""From a payload and options to a job: every check that stands before the store."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from outlast.codec import USE_JSON, Codec
from outlast.ends import ENDS, Webhook
from outlast.errors import InvalidRequest, NotJson
from outlast.handler import Handler, Options
from outlast.job import RANK, Job, NewJob
from outlast.lifecycle import submit
from outlast.notation import digest
from outlast.policy import Duration, Limits, seconds
from outlast.tracing import valid

WEBHOOK_RULE = "an object with a url, events if not all ends are wanted, and full if the result is"


def prepare(
    handler: Handler[Any, Any],
    payload_json: str,
    options: Options,
    limits: Limits,
    *,
    id: str,
    now: float,
    endpoints: Sequence[Webhook] = (),
) -> NewJob:
    """The job to be stored; `endpoints` are told of its end too. Raises InvalidRequest with the field that is wrong."""
    settings = handler.settings
    allowed = settings.max_payload or limits.payload
    if len(payload_json.encode()) > allowed:
        _refuse("/payload", f"the payload is larger than {allowed} bytes", code="payload_too_large")
    priority = options.get("priority") or settings.priority
    if not isinstance(priority, str) or priority not in RANK:
        _refuse("/priority", f"priority is one of {', '.join(RANK)}")
    deadline = _duration(options.get("deadline"), "/deadline", limits.delay)
    deadline = settings.deadline if deadline is None else deadline
    keep = _duration(options.get("keep"), "/keep", limits.delay)
    key, run_at = options.get("idempotency_key"), _run_at(options, now, limits)
    job: Job[Any] = Job(
        id=id,
        type=handler.name,
        owner=_name(options.get("owner"), "/owner", limits),
        priority=priority,
        max_retries=_retries(options.get("retries"), settings.retries, limits),
        timeout=settings.timeout,
        backoff_base=settings.backoff[0],
        backoff_cap=settings.backoff[1],
        deadline=None if deadline is None else now + deadline,
        keep=settings.keep if keep is None else keep,
        planned=settings.steps,
        tags=_tags(options.get("tags", ()), limits),
        metadata=_metadata(options.get("metadata", {}), limits),
        idempotency_key=_key(key, limits),
        fingerprint=None if key is None else _fingerprint(handler.name, payload_json, options),
        batch_id=_name(options.get("batch"), "/batchId", limits),
        external_id=_name(options.get("external_id"), "/externalId", limits),
        trace=_trace(options.get("trace")),
        webhooks=(*webhooks_of(options.get("webhook")), *endpoints),
        payload_json=payload_json,
    )
    return submit(job, now, run_at=run_at)


def _run_at(options: Options, now: float, limits: Limits) -> float | None:
    delay = _duration(options.get("delay"), "/delay", limits.delay)
    at = options.get("run_at")
    if at is None:
        return None if delay is None else now + delay
    if delay is not None:
        _refuse("/runAt", "give either a delay or a time to run at, not both")
    if not isinstance(at, datetime) or at.tzinfo is None:
        _refuse("/runAt", "the time to run at needs a zone")
    if at.timestamp() > now + limits.delay:
        _refuse("/runAt", f"the time to run at is more than {limits.delay / 86400:g} days away")
    return at.timestamp()


def _duration(value: Duration | None, pointer: str, most: float) -> float | None:
    if value is None:
        return None
    try:
        length = seconds(value)
    except (ValueError, TypeError) as error:
        _refuse(pointer, str(error))
    if length > most:
        _refuse(pointer, f"at most {most / 86400:g} days")
    return length


def _retries(value: int | None, default: int, limits: Limits) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limits.max_retries:
        _refuse("/maxRetries", f"retries is a whole number from 0 to {limits.max_retries}")
    return value


def _name(value: str | None, pointer: str, limits: Limits) -> str | None:
    if value is not None:
        _text(value, pointer, limits.name, str.isprintable)
    return value


def _key(value: str | None, limits: Limits) -> str | None:
    if value is not None:
        _text(value, "/idempotencyKey", limits.name, _visible_ascii)
    return value


def _trace(value: str | None) -> str | None:
    if value is not None and not (isinstance(value, str) and valid(value)):
        _refuse("/trace", "a W3C traceparent such as 00-<32 hex digits>-<16 hex digits>-01 is wanted")
    return value


def _tags(values: Any, limits: Limits) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) > limits.tags:
        _refuse("/tags", f"tags is a list of at most {limits.tags}")
    for number, tag in enumerate(values):
        _text(tag, f"/tags/{number}", limits.tag, str.isprintable)
    return tuple(values)


def _metadata(value: Mapping[str, Any], limits: Limits) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _refuse("/metadata", "metadata is a JSON object")
    try:
        text = Codec(Any, "metadata", USE_JSON).encode(dict(value))
    except NotJson as error:
        _refuse("/metadata", str(error))
    if len(text.encode()) > limits.metadata:
        _refuse("/metadata", f"metadata is larger than {limits.metadata} bytes")
    plain: Mapping[str, Any] = json.loads(text)
    return plain


def webhooks_of(value: Mapping[str, Any] | None) -> tuple[Webhook, ...]:
    """The webhook that a submit asks for, if any. Raises InvalidRequest for what has not its form."""
    if value is None:
        return ()
    if not isinstance(value, Mapping) or not set(value) <= {"url", "events", "full"}:
        _refuse("/webhook", WEBHOOK_RULE)
    url, events, full = value.get("url"), value.get("events", ENDS), value.get("full", False)
    if not isinstance(url, str) or not url:
        _refuse("/webhook/url", "text is wanted: the URL that is told of the job's end")
    if not isinstance(events, list | tuple) or not events or not all(event in ENDS for event in events):
        _refuse("/webhook/events", f"a list of some of {', '.join(ENDS)}")
    if not isinstance(full, bool):
        _refuse("/webhook/full", "true or false: whether the message holds the job's result too")
    return (Webhook(url, tuple(event for event in ENDS if event in events), full=full),)


def _text(value: Any, pointer: str, most: int, allowed: Callable[[str], bool]) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= most or not allowed(value):
        _refuse(pointer, f"text of 1 to {most} printable characters is wanted")


def _visible_ascii(text: str) -> bool:
    return text.isascii() and all("!" <= character <= "~" for character in text)


def _fingerprint(type: str, payload_json: str, options: Options) -> str:
    """What tells one request from another: `1h` is an hour however it is written, and None is what was not said."""
    asked = {
        name: _plain(name, value)
        for name, value in options.items()
        if value is not None and name not in ("owner", "idempotency_key", "trace", "connection")
    }
    return digest({"type": type, "payload": json.loads(payload_json), "options": asked})


def _plain(name: str, value: Any) -> Any:
    if name in ("delay", "deadline", "keep"):
        return seconds(value)
    if name == "webhook":
        return [list(one) for one in webhooks_of(value)]
    if isinstance(value, datetime):
        return value.timestamp()
    return value if isinstance(value, Mapping) else list(value) if name == "tags" else str(value)


def _refuse(pointer: str, detail: str, *, code: str = "validation") -> NoReturn:
    raise InvalidRequest(f"{pointer}: {detail}", code=code, errors=[{"pointer": pointer, "detail": detail}])
