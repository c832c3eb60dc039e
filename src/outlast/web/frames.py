"""What a reader is told of a job, and in which order; how it travels is another file's matter.

Only what stands in the log carries an `id`, so that a reader's cursor is always a number of the log. What the reader is
told beside it (`job.reset`, `stream.end`, `stream.error`) has none. In the owner's feed the cursor is a time.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from outlast.errors import JobNotFound
from outlast.job import Event, Job
from outlast.notation import rfc3339
from outlast.web.call import Call
from outlast.web.lately import Lately
from outlast.web.problems import RETRY_SECONDS
from outlast.web.replies import job_in_event, to_bytes

RECONNECT = 2000
RECONNECT_SOON = 1000
RECONNECT_AT_ONCE = 100
"""Milliseconds until a reader comes back: after a break, a stop, and the end of a stream's time."""

PAGE = 500


@dataclass(frozen=True)
class Frame:
    """One thing a reader is told: `id` is its cursor from then on, `retry` the milliseconds until it comes back."""

    data: Mapping[str, Any]
    id: int | None = None
    retry: int | None = None

    @cached_property
    def json(self) -> bytes:
        """Its data on one line, made once however many are told."""
        return to_bytes(self.data)


Told = AsyncGenerator[Sequence[Frame], None]
"""What comes, and what is there already by the page."""


async def told_of_job(call: Call, job: Job[Any], after: int | None, *, lost: bool) -> Told:
    """The job's log from a cursor on, then what comes, to the job's end.

    Parameters
    ----------
    job: as it was just read.
    after: the reader's cursor; None: begin with a snapshot of the job.
    lost: the reader has a cursor that the log does not reach, and is told so.
    """
    if after is None:
        after = job.seq
        snapshot = Frame(await snapshot_data(call, job), id=job.seq)
        yield [Frame(reset_data(job)), snapshot] if lost else [snapshot]
        if job.ended:
            return
    try:
        async with aclosing(_from_log(call, after)) as log:
            async for frames in log:
                yield frames
    except JobNotFound:
        yield [end("removed", job.id)]


async def _from_log(call: Call, after: int) -> Told:
    while page := await call.app.events(call.id, after=after, limit=PAGE):
        yield [await _of_event(call, event) for event in page]
        after = page[-1].seq
        if page[-1].is_end:
            return
    async with aclosing(call.follow(after)) as feed:
        async for event in feed:
            yield [await _of_event(call, event)]
            if event.is_end:
                return
    yield [end("shutdown" if call.app.stopping else "removed", call.id)]


async def _of_event(call: Call, event: Event) -> Frame:
    """The same frame for all who follow the job and may know as much."""
    key = (call.id, event.seq, call.root, call.is_told_owners)
    frames: Lately[Frame] = call.shared.frames
    if event.is_end:
        return await frames.awaited(key, lambda: _of_end(call, event))
    return frames.made(key, lambda: Frame(call.told(event.wire(call.id)), id=event.seq))


async def _of_end(call: Call, event: Event) -> Frame:
    return Frame(await event_data(call, event), id=event.seq)


# -- what a frame says ----------------------------------------------------------------------------------------------


async def event_data(call: Call, event: Event) -> dict[str, Any]:
    """An event as it goes out: the last one brings the job as it has ended."""
    data = call.told(event.wire(call.id))
    if event.is_end:
        data["job"] = await job_in_event(call, await call.job())
    return data


async def snapshot_data(call: Call, job: Job[Any]) -> dict[str, Any]:
    """The job as it is at number `seq` of its log."""
    return head("job.snapshot", job) | {"job": await job_in_event(call, job)}


def reset_data(job: Job[Any]) -> dict[str, Any]:
    """What is said to a cursor that the log does not reach."""
    return head("job.reset", job) | {"reason": "cursor_unknown"}


def head(type: str, job: Job[Any]) -> dict[str, Any]:
    """What every event begins with, for those that are not of the log."""
    time = rfc3339(job.updated_at)
    return {"type": type, "jobId": job.id, "seq": job.seq, "time": time, "attempt": job.attempt}


def end(reason: str, job_id: str | None = None) -> Frame:
    """The stream ends, and its job does not; `job_id` is None where the stream is of more than one job."""
    retry = RECONNECT_AT_ONCE if reason == "deadline" else RECONNECT_SOON
    return Frame(_of_stream("stream.end", job_id) | {"reason": reason}, retry=retry)


def error(job_id: str | None = None) -> Frame:
    """The store does not answer."""
    return Frame(_of_stream("stream.error", job_id) | {"code": "store_unavailable"}, retry=RETRY_SECONDS * 1000)


def _of_stream(type: str, job_id: str | None) -> dict[str, Any]:
    return {"type": type} if job_id is None else {"type": type, "jobId": job_id}
