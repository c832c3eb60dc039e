"""The endpoints of a job's life, its log apart: submit, show, result, output, cancel, retry, signal, delete."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json
from starlette.responses import Response

from outlast import output
from outlast.errors import WaitTimeout
from outlast.handler import Options
from outlast.job import Event, Job, Status
from outlast.policy import Limits, seconds
from outlast.tracing import valid
from outlast.web import query
from outlast.web.auth import require_operator
from outlast.web.body import read_fields, read_optional_text, read_text
from outlast.web.call import Call
from outlast.web.prefer import Preference, preference
from outlast.web.problems import Problem, shown, wrong_field
from outlast.web.replies import Outlook, etag, job_headers, job_reply, matches, outlook_of, urls
from outlast.web.strict_json import read, read_members
from outlast.web.submit_body import KEY_RULE, SENT_KEY, Submission, decode
from outlast.web.tokens import to_follow, used_up

# -- in -------------------------------------------------------------------------------------------------------------


async def submit(call: Call) -> Response:
    """Accept a job. 202: it is committed. 200: it has ended, within the time that the caller prefers to wait."""
    key, prefers = _idempotency_key(call), preference(call.request, call.longest_wait, "respond-async")
    asked = decode(read_members(await read_text(call.request, largest_body(call))), call.app.limits)
    left = await call.submits()
    async with used_up(call, asked.type):
        job, fresh = await call.app.submit_json(asked.type, asked.payload_json, **_options(call, asked, key))
    if prefers.wait and not job.ended:
        await _news(call, job, prefers.wait, until_end=True)
        job = await call.app.get(job.id)
    headers = {"Location": urls(call, job.id)["self"]} | ({} if fresh else {"Idempotency-Replayed": "true"})
    headers |= _applied(prefers) | left
    more = _warning(asked, job) | await to_follow(call, job)
    return await job_reply(call, job, 200 if job.ended else 202, headers=headers, more=more)


def _options(call: Call, asked: Submission, key: str | None) -> Options:
    """What the body asks for, and what stands beside it."""
    headers = call.request.headers
    options: Options = {**asked.options, "owner": call.principal.owner, "idempotency_key": key}
    if (traced := valid(headers.get("traceparent"))) is not None:
        options["trace"] = traced
    if (after := _cancel_after(headers.get("cancel-after"), call.app.limits)) is not None:
        options["deadline"] = min(after, seconds(options.get("deadline") or after))
    return options


def _cancel_after(text: str | None, limits: Limits) -> float | None:
    """A deadline by another name: some clients set it on every request they make."""
    if text is None:
        return None
    try:
        after = seconds(text)
    except ValueError as error:
        raise wrong_field("/Cancel-After", str(error), place="header") from None
    if not 0 < after <= limits.delay:
        raise wrong_field("/Cancel-After", f"more than 0 and at most {limits.delay:g} s", place="header")
    return after


def _applied(prefers: Preference) -> dict[str, str]:
    return {"Preference-Applied": prefers.applied} if prefers.applied else {}


def largest_body(call: Call) -> int:
    """Before the type is known, a body may be as large as any handler takes."""
    own = (handler.settings.max_payload or 0 for handler in call.app.handlers.values())
    return max(call.app.limits.payload, *own, 0)


def _warning(asked: Submission, job: Job[Any]) -> dict[str, str]:
    run_at = asked.options.get("run_at")
    late = run_at is not None and run_at.timestamp() <= job.created_at
    return {"warning": "runAt is in the past, so the job may run at once"} if late else {}


def _idempotency_key(call: Call) -> str | None:
    """The key, sent bare or in quotes."""
    sent = call.request.headers.get("idempotency-key")
    if sent is None:
        return None
    if not SENT_KEY.fullmatch(sent):
        raise wrong_field("/Idempotency-Key", f"{KEY_RULE}, not {shown(sent)}", place="header")
    return sent.strip('"')


# -- look -----------------------------------------------------------------------------------------------------------


async def show(call: Call) -> Response:
    """One job; with `wait`, as soon as there is news of it."""
    params = call.request.query_params
    read = query.each(
        wait=lambda: query.wait(params, call.longest_wait),
        since=lambda: query.since(params),
        include=lambda: query.words(params, "include", ("payload", "attempts")),
    )
    since, include = read["since"], read["include"]
    prefers = preference(call.request, call.longest_wait) if read["wait"] is None else Preference(read["wait"], "")
    payload = "payload" in include
    if "attempts" in include:
        require_operator(call.principal, call.request)
    condition = call.request.headers.get("if-none-match")
    known = _known_version(condition) if since is None else since
    job = await call.job(payload=payload)
    if prefers.wait and not job.ended and known in (None, job.version):
        await _news(call, job, prefers.wait, until_end=known is None)
        job = await call.job(payload=payload)
    if known == job.version or matches(condition, etag(job)):
        return await _unchanged(call, job, prefers)
    return await job_reply(call, job, headers=_applied(prefers), more=await _included(call, job, include))


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


async def _unchanged(call: Call, job: Job[Any], prefers: Preference) -> Response:
    """304. After a wait the caller may ask again at once, unless nothing can come any more."""
    headers = job_headers(call, job, await outlook_of(call, job)) | _applied(prefers)
    if prefers.wait is not None and not job.ended:
        headers["Retry-After"] = "0"
    return Response(None, 304, headers)


async def result(call: Call) -> Response:
    """What the handler returned, alone."""
    job = await call.job()
    if not job.ended:
        return await job_reply(call, job, 202)
    if job.status is not Status.COMPLETED:
        raise _no_result(job)
    return Response(job.result_json, 200, job_headers(call, job, Outlook()), media_type="application/json")


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
    why = reason(await fields_of(call, "reason"))
    job = await call.app.cancel(call.id, owner=call.sees, by=call.principal.owner, reason=why)
    return await job_reply(call, job, 200 if job.ended else 202)


LONGEST_REASON = 500


def reason(fields: Mapping[str, Any]) -> str | None:
    """Why a cancel is asked for."""
    why: Any = fields.get("reason")
    if why is not None and (not isinstance(why, str) or len(why) > LONGEST_REASON):
        raise wrong_field("/reason", f"text of at most {LONGEST_REASON} characters, not {shown(why)}")
    return why


async def retry(call: Call) -> Response:
    """A new job that does again what an ended one was to do."""
    anew = from_start(await fields_of(call, "from"))
    force = query.flag(call.request.query_params, "force")
    left = await call.submits()
    job = await call.app.retry(call.id, owner=call.sees, from_start=anew, force=force)
    return await job_reply(call, job, 202, headers={"Location": urls(call, job.id)["self"]} | left)


ORIGINS = ("checkpoint", "start")


def from_start(fields: Mapping[str, Any]) -> bool:
    """Whether a retry leaves out the finished steps."""
    origin = fields.get("from", "checkpoint")
    if origin not in ORIGINS:
        raise wrong_field("/from", f"{' or '.join(ORIGINS)}, not {shown(origin)}")
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
    name, limits = call.params["name"], call.app.limits
    try:
        limits.require_name(name, "a signal")
    except ValueError:
        detail = f"a signal's name is text of 1 to {limits.name} printable characters"
        raise wrong_field("/name", detail) from None
    return name


async def delete(call: Call) -> Response:
    """Remove an ended job."""
    await call.app.delete(call.id, owner=call.sees)
    return Response(None, 204)


async def fields_of(call: Call, *known: str) -> Mapping[str, Any]:
    """The fields of a body that need not be there."""
    return await read_fields(call.request, call.app.limits.payload, *known)
