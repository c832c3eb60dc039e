"""The endpoints of a job's life, its log apart: submit, list, show, result, output, cancel, retry, signal, delete."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from pydantic_core import from_json
from starlette.responses import Response

from outlast import output
from outlast.errors import WaitTimeout
from outlast.handler import Options
from outlast.job import Event, Job, Status
from outlast.tracing import valid
from outlast.web import query
from outlast.web.auth import require_operator
from outlast.web.body import read_optional_text, read_text
from outlast.web.call import Call
from outlast.web.problems import Problem, shown, wrong_field
from outlast.web.replies import body_tag, etag, job_headers, job_reply, matches, to_bytes, urls
from outlast.web.strict_json import read, read_members
from outlast.web.submit_body import Submission, decode

# -- in -------------------------------------------------------------------------------------------------------------


async def submit(call: Call) -> Response:
    """Accept a job. 202: it is committed."""
    key = _idempotency_key(call)
    asked = decode(read_members(await read_text(call.request, _largest_body(call))), call.app.limits)
    traced = valid(call.request.headers.get("traceparent"))
    options: Options = {**asked.options, "owner": call.principal.owner, "idempotency_key": key, "trace": traced}
    job, fresh = await call.app.submit_json(asked.type, asked.payload_json, **options)
    headers = {"Location": urls(call, job.id)["self"]} | ({} if fresh else {"Idempotency-Replayed": "true"})
    return await job_reply(call, job, 200 if job.ended else 202, headers=headers, more=_warning(asked, job))


def _largest_body(call: Call) -> int:
    """Before the type is known, a body may be as large as any handler takes."""
    own = (handler.settings.max_payload or 0 for handler in call.app.handlers.values())
    return max(call.app.limits.payload, *own, 0)


def _warning(asked: Submission, job: Job[Any]) -> dict[str, str]:
    run_at = asked.options.get("run_at")
    late = run_at is not None and run_at.timestamp() <= job.created_at
    return {"warning": "runAt is in the past, so the job may run at once"} if late else {}


KEY = re.compile(r'("?)([!#-\[\]-~]{1,128})\1')


def _idempotency_key(call: Call) -> str | None:
    """The key, sent bare or in quotes."""
    sent = call.request.headers.get("idempotency-key")
    if sent is None:
        return None
    found = KEY.fullmatch(sent)
    if found is None:
        rule = f"1 to 128 visible ASCII characters without spaces or quotes, not {shown(sent)}"
        raise wrong_field("/Idempotency-Key", rule, place="header")
    return found[2]


# -- look -----------------------------------------------------------------------------------------------------------


async def find(call: Call) -> Response:
    """A page of the caller's jobs, newest first unless asked otherwise."""
    page = query.page(call.request.query_params, call.sees)
    found = await call.app.find(page.query)
    jobs, has_more = found[: page.limit], len(found) > page.limit
    cursor = page.cursor_after(jobs[-1].id) if has_more else None
    data = [job.wire_lite() | {"urls": {"self": urls(call, job.id)["self"]}} for job in jobs]
    body = to_bytes({"data": data, "nextCursor": cursor, "hasMore": has_more})
    headers = {"ETag": body_tag(body), "Cache-Control": "private, no-cache"}
    if cursor is not None:
        following = urlencode(dict(call.request.query_params) | {"cursor": cursor})
        headers["Link"] = f'<{call.root or "/"}?{following}>; rel="next"'
    if matches(call.request.headers.get("if-none-match"), headers["ETag"]):
        return Response(None, 304, headers)
    return Response(body, 200, headers, media_type="application/json")


async def show(call: Call) -> Response:
    """One job; with `wait`, as soon as there is news of it."""
    params = call.request.query_params
    read = query.each(
        seconds=lambda: query.wait(params, call.app.limits.wait),
        since=lambda: query.since(params),
        include=lambda: query.words(params, "include", ("payload", "attempts")),
    )
    seconds, since, include = read["seconds"], read["since"], read["include"]
    payload = "payload" in include
    if "attempts" in include:
        require_operator(call.principal, call.request)
    condition = call.request.headers.get("if-none-match")
    known = _known_version(condition) if since is None else since
    job = await call.job(payload=payload)
    if seconds and not job.ended and known in (None, job.version):
        await _news(call, job, seconds, until_end=known is None)
        job = await call.job(payload=payload)
    if known == job.version or matches(condition, etag(job)):
        return await _unchanged(call, job, again_at_once=seconds is not None)
    return await job_reply(call, job, more=await _included(call, job, include))


async def _included(call: Call, job: Job[Any], include: frozenset[str]) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if "payload" in include:
        more["payload"] = from_json(job.payload_json or "null")
    if "attempts" in include:
        more["attempts"] = [attempt.wire() for attempt in await call.app.attempts(job)]
    return more


def _known_version(if_none_match: str | None) -> int | None:
    found = re.search(r'"v([0-9]{1,15})"', if_none_match or "")
    return None if found is None else int(found[1])


async def _news(call: Call, job: Job[Any], seconds: float, *, until_end: bool) -> None:
    if not until_end:
        await call.app.changed_since(job.id, job.version, seconds, owner=call.sees)
        return
    try:
        await call.app.wait(job.id, seconds, owner=call.sees)
    except WaitTimeout:
        pass


async def _unchanged(call: Call, job: Job[Any], *, again_at_once: bool) -> Response:
    """304. After a wait the caller may ask again at once, unless nothing can come any more."""
    headers = await job_headers(call, job)
    if again_at_once and not job.ended:
        headers["Retry-After"] = "0"
    return Response(None, 304, headers)


async def result(call: Call) -> Response:
    """What the handler returned, alone."""
    job = await call.job()
    if not job.ended:
        return await job_reply(call, job, 202)
    if job.status is not Status.COMPLETED:
        raise _no_result(job)
    return Response(job.result_json, 200, await job_headers(call, job), media_type="application/json")


def _no_result(job: Job[Any]) -> Problem:
    error = None if job.last_error is None else job.last_error.wire()
    if job.status is Status.CANCELLED:
        detail = "the job was cancelled, so it has no result"
        return Problem("job_cancelled", detail, more={"jobId": job.id, "lastError": error})
    detail = "the job failed, so it has no result; lastError says why"
    return Problem("job_failed", detail, more={"jobId": job.id, "lastError": error})


async def show_output(call: Call) -> Response:
    """The text of a channel, from a character on."""
    params = call.request.query_params
    after = query.whole(params, "after", 0, 0)
    channel = params.get("channel", "text")
    job = await call.job()
    events = await _output_events(call)
    text = output.text(events, channel)
    resets = sum(event.type == "job.output.reset" and event.data["channel"] == channel for event in events)
    headers = {
        "X-Output-Offset": str(len(text)),
        "X-Output-Resets": str(resets),
        "X-Output-Complete": "?1" if job.ended else "?0",
        "Cache-Control": "private, no-cache",
    }
    return Response(text[after:], 200, headers, media_type="text/plain; charset=utf-8")


async def _output_events(call: Call) -> list[Event]:
    kept: list[Event] = []
    after = 0
    while page := await call.app.events(call.id, after=after, limit=query.MAX_EVENTS_PAGE):
        kept += [event for event in page if event.is_output]
        after = page[-1].seq
    return kept


# -- steer ----------------------------------------------------------------------------------------------------------


async def cancel(call: Call) -> Response:
    """Ask for the job's end. 202 while its worker has yet to notice."""
    why = reason(await _fields(call, "reason"))
    job = await call.app.cancel(call.id, owner=call.sees, by=call.principal.owner, reason=why)
    return await job_reply(call, job, 200 if job.ended else 202)


def reason(fields: Mapping[str, Any]) -> str | None:
    """Why a cancel is asked for."""
    why: Any = fields.get("reason")
    if why is not None and (not isinstance(why, str) or len(why) > 500):
        raise wrong_field("/reason", f"text of at most 500 characters, not {shown(why)}")
    return why


async def retry(call: Call) -> Response:
    """A new job that does again what an ended one was to do."""
    anew = from_start(await _fields(call, "from"))
    force = query.flag(call.request.query_params, "force")
    job = await call.app.retry(call.id, owner=call.sees, from_start=anew, force=force)
    return await job_reply(call, job, 202, headers={"Location": urls(call, job.id)["self"]})


def from_start(fields: Mapping[str, Any]) -> bool:
    """Whether a retry leaves out the finished steps."""
    origin = fields.get("from", "checkpoint")
    if origin not in ("checkpoint", "start"):
        raise wrong_field("/from", f"checkpoint or start, not {shown(origin)}")
    return bool(origin == "start")


async def signal(call: Call) -> Response:
    """Leave a value in the job's inbox; without a body it is null."""
    key, name = _idempotency_key(call), _signal_name(call)
    text = await read_optional_text(call.request, call.app.limits.payload)
    value = None if text is None else read(text)
    job = await call.app.signal(call.id, name, value, owner=call.sees, key=key)
    return await job_reply(call, job, 202)


def _signal_name(call: Call) -> str:
    """Before the body is read: a name that cannot be is wrong whatever is sent to it."""
    name, longest = call.params["name"], call.app.limits.name
    if len(name) > longest or not name.isprintable():
        raise wrong_field("/name", f"a signal's name is text of 1 to {longest} printable characters")
    return name


async def delete(call: Call) -> Response:
    """Remove an ended job."""
    await call.app.delete(call.id, owner=call.sees)
    return Response(None, 204)


async def _fields(call: Call, *known: str) -> Mapping[str, Any]:
    """The fields of a body that need not be there."""
    text = await read_optional_text(call.request, call.app.limits.payload)
    fields = {} if text is None else read_members(text).values
    for name in fields:
        if name not in known:
            detail = f"there is no such field; known is {', '.join(known)}"
            raise wrong_field(f"/{shown(name)[1:-1]}", detail, code="unknown_field")
    return fields
