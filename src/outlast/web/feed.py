"""The owner's feed: the short form of each job that is live or has changed, under the time of the store."""

from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response

from outlast.feed import Seen
from outlast.job import Job
from outlast.web import query
from outlast.web.call import Call
from outlast.web.frames import Frame, Told, end, head
from outlast.web.lists import lite
from outlast.web.problems import Problem, shown
from outlast.web.streams import EVENT_STREAM, EventStream, accepted, cursor_text


async def feed(call: Call) -> Response:
    """The caller's live jobs, or what has changed since a cursor; then each job as it changes."""
    if accepted(call.request).isdisjoint({EVENT_STREAM, "text/*", "*/*", ""}):
        detail = f"the feed comes as {EVENT_STREAM}, not {shown(call.request.headers['accept'])}; or poll the list"
        raise Problem("not_acceptable", detail)
    return EventStream(call, told_of_owner(call, query.cursor(cursor_text(call.request))))


async def told_of_owner(call: Call, after: int | None) -> Told:
    """States from a cursor on, in milliseconds of the store's time. A frame without data ends the first of them."""
    since = None if after is None else after / 1000
    has_begun = False
    async with aclosing(call.app.feed(since, owner=call.sees)) as looks:
        async for seen in looks:
            frames = list(_states(call, seen))
            if not has_begun and seen.last != seen.cursor:
                has_begun = True
                frames.append(Frame({}, id=_milliseconds(seen.last)))
            yield frames
    yield [end("shutdown")]


def _states(call: Call, seen: Seen) -> Iterator[Frame]:
    for job in seen.jobs:
        cursor = _milliseconds(seen.last if job is seen.jobs[-1] else seen.cursor)
        yield Frame(_state_data(call, job, cursor), id=cursor)


def _state_data(call: Call, job: Job[Any], cursor: int | None) -> dict[str, Any]:
    return head("job.state", job) | {"cursor": cursor, "job": lite(call, job)}


def _milliseconds(time: float | None) -> int | None:
    return None if time is None else int(time * 1000)
