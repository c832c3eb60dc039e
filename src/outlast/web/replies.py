"""Jobs on their way out: what only a server can add to them (addresses, hints, estimates), and the headers."""

import hashlib
import json
from collections.abc import Mapping
from email.utils import formatdate
from math import ceil
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.responses import Response

from outlast import policy
from outlast.ends import RESULT_IN_EVENT
from outlast.job import Job
from outlast.notation import rfc3339
from outlast.web.call import Call


async def job_reply(
    call: Call,
    job: Job[Any],
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """The job as a response; `more` are members beside its own."""
    outlook = await outlook_of(call, job)
    shown = await _shown(call, job, outlook)
    return json_reply(shown | dict(more or {}), status, job_headers(call, job, outlook) | dict(headers or {}))


async def _shown(call: Call, job: Job[Any], outlook: "Outlook") -> dict[str, Any]:
    """The job with its steps."""
    # One that nobody began has none, and most replies are about such a one: they follow its submit.
    steps = await call.app.steps(job.id) if job.started_at or job.retry_of else ()
    return call.told(job.wire(steps=steps)) | {
        "estimatedCompletion": None if outlook.completion is None else rfc3339(outlook.completion),
        "pollAfterMs": None if outlook.poll_after is None else round(outlook.poll_after * 1000),
        "urls": urls(call, job.id),
    }


async def job_in_event(call: Call, job: Job[Any]) -> dict[str, Any]:
    """The job as events carry it: without a result that is better fetched from its own address."""
    shown = await _shown(call, job, await outlook_of(call, job))
    if job.result_json is not None and len(job.result_json.encode()) > RESULT_IN_EVENT:
        del shown["result"]
    return shown


class Outlook(NamedTuple):
    """Seconds until a poller should ask again, and when the job has probably ended; None if nothing is to come."""

    poll_after: float | None = None
    completion: float | None = None


async def outlook_of(call: Call, job: Job[Any]) -> Outlook:
    if job.ended:
        return Outlook()
    now, remaining = await call.app.now(), await call.app.remaining(job)
    poll_after = policy.poll_after(max(now - job.created_at, 0.0), remaining)
    return Outlook(poll_after, None if remaining is None else now + remaining)


def job_headers(call: Call, job: Job[Any], outlook: Outlook) -> dict[str, str]:
    """What a reply about one job says beside it."""
    headers = {"ETag": etag(job), "Cache-Control": "private, no-cache", "Link": links(call, job.id)}
    if outlook.poll_after is not None:
        headers["Retry-After"] = str(ceil(outlook.poll_after))
    if job.expires_at is not None:
        headers["Sunset"] = formatdate(job.expires_at, usegmt=True)
    return headers


def etag(job: Job[Any]) -> str:
    return f'"v{job.version}"'


def urls(call: Call, job_id: str) -> dict[str, str]:
    """The job's addresses."""
    own = f"{call.root}/{quote(job_id, safe='')}"
    return {"self": own, "events": f"{own}/events", "result": f"{own}/result", "cancel": f"{own}/cancel"}


def links(call: Call, job_id: str) -> str:
    at = urls(call, job_id)
    relations = {"self": at["self"], "status": at["self"], "events": at["events"], "cancel": at["cancel"]}
    return ", ".join(f'<{target}>; rel="{name}"' for name, target in relations.items())


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_bytes(value), status, dict(headers or {}), media_type="application/json")


def to_bytes(value: Any) -> bytes:
    """Compact JSON on one line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def body_tag(body: bytes) -> str:
    """An ETag for what has no version of its own."""
    return f'"{hashlib.sha256(body).hexdigest()[:16]}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether the caller already has what this tag stands for (RFC 9110, 13.1.2)."""
    known = [one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")]
    return tag in known or known == ["*"]
