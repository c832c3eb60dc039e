"""A job's log: as a stream where the caller takes one, else as pages of JSON."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from outlast.job import Job
from outlast.web import query
from outlast.web.call import Call
from outlast.web.frames import event_data, reset_data, snapshot_data, told_of_job
from outlast.web.problems import Problem, shown
from outlast.web.replies import json_reply
from outlast.web.streams import EVENT_STREAM, EventStream, accepted, cursor_text


async def events(call: Call) -> Response:
    """The events after the caller's cursor, or 204 once there can be none."""
    job = await call.job()
    wants_stream = _wants_stream(call.request)
    cursor = cursor_text(call.request)
    after = query.cursor(cursor)
    if job.ended and after == job.seq:
        return Response(None, 204)
    lost = cursor is not None and (after is None or after > job.seq)
    if wants_stream:
        told = told_of_job(call, job, None if lost else after, lost=lost)
        return EventStream(call, told, job.id)
    return await _page(call, job, after or 0, lost=lost)


def _wants_stream(request: Request) -> bool:
    taken = accepted(request)
    if EVENT_STREAM in taken:
        return True
    if taken.isdisjoint({"application/json", "application/*", "*/*", ""}):
        detail = f"events come as text/event-stream or application/json, not {shown(request.headers['accept'])}"
        raise Problem("not_acceptable", detail)
    return False


async def _page(call: Call, job: Job[Any], after: int, *, lost: bool) -> Response:
    params = call.request.query_params
    read = query.each(
        after=lambda: query.whole(params, "after", 0, 0),
        limit=lambda: query.whole(params, "limit", query.EVENTS_PAGE, 1, query.MAX_EVENTS_PAGE),
        seconds=lambda: query.wait(params, call.longest_wait),
    )
    if lost:
        return await _restart(call, job)
    if read["seconds"] and after == job.seq:
        await _grown(call, after, read["seconds"])
    found = await call.app.events(call.id, after=after, limit=read["limit"])
    data = [await event_data(call, event) for event in found]
    return json_reply({"data": data, "nextAfter": found[-1].seq if found else after}, headers=NO_STORE)


async def _grown(call: Call, after: int, seconds: float) -> None:
    async with aclosing(call.follow(after)) as feed:
        with suppress(TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(seconds):
                await anext(feed)


async def _restart(call: Call, job: Job[Any]) -> Response:
    """The log does not reach the cursor: the caller is to begin anew from what the job now is."""
    data = [reset_data(job), await snapshot_data(call, job)]
    return json_reply({"data": data, "nextAfter": job.seq}, headers=NO_STORE)


NO_STORE = {"Cache-Control": "no-store"}
