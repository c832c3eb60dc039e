"""A job's events as a Server-Sent Events stream (WHATWG HTML, 9.2).

Only what stands in the log carries an `id`, so that a reader's cursor is always a number of the log. What the stream
says for itself (`job.reset`, `stream.end`, `stream.error`, pings) has none.

A stream reads the log as its reader takes it, so a slow reader costs no memory: at most 256 KiB are on their way at a
time, and a reader that does not take them within 15 s is cut off. It loses nothing, for the log is kept.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from time import monotonic
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from outlast.errors import JobNotFound, StoreError
from outlast.job import Event, Job
from outlast.notation import rfc3339
from outlast.web.call import Call
from outlast.web.problems import RETRY_SECONDS
from outlast.web.replies import job_in_event, to_bytes

PING = 15.0
"""Seconds of silence after which a ping shows both ends, and what stands between, that the stream lives."""

PATIENCE = 15.0
"""Seconds a reader has to take what is on its way."""

LIFE = 3600.0
"""Seconds after which a stream ends and its reader connects anew."""

ON_ITS_WAY = 256 << 10
PAGE = 500

RECONNECT = 2000
RECONNECT_SOON = 1000

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Content-Encoding": "identity",
}

logger = logging.getLogger("outlast.web")


class EventStream(Response):
    """One reader's stream: the log from its cursor on, then what comes, to the job's end.

    Parameters
    ----------
    after: the reader's cursor; None: begin with a snapshot of the job.
    lost: the reader has a cursor that the log does not reach, and is told so.
    """

    def __init__(self, call: Call, job: Job[Any], *, after: int | None, lost: bool) -> None:
        super().__init__(None, 200, HEADERS)
        del self.headers["content-length"]
        self._call = call
        self._job = job
        self._after = after
        self._lost = lost

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        owner = self._call.principal.owner
        self._call.readers[owner] += 1
        try:
            if scope["method"] != "HEAD":
                await self._until_over(receive, send)
            await _sent(send, b"", more=False)
        except TooSlow:
            logger.warning("a reader of job %s did not take its events and was cut off", self._job.id)
        finally:
            self._call.readers[owner] -= 1

    async def _until_over(self, receive: Receive, send: Send) -> None:
        try:
            await self._stream(receive, send)
        except asyncio.CancelledError:
            # A host that goes down waits no longer. Raised on, this would be a traceback in its log, and no end here.
            await _sent(send, self._end("shutdown"))

    async def _stream(self, receive: Receive, send: Send) -> None:
        until = monotonic() + LIFE
        gone = asyncio.create_task(_disconnected(receive))
        try:
            async with aclosing(_with_pings(self._chunks(), gone)) as chunks:
                async for chunk in chunks:
                    await _sent(send, chunk)
                    if monotonic() > until:
                        await _sent(send, self._end("lifetime"))
                        return
        finally:
            gone.cancel()

    # -- what is said -----------------------------------------------------------------------------------------------

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        yield f"retry: {RECONNECT}\n\n".encode()
        try:
            after = self._after
            if after is None:
                after = self._job.seq
                yield await self._snapshot()
                if self._job.ended:
                    return
            async for chunk in self._from_log(after):
                yield chunk
        except JobNotFound:
            yield self._end("removed")
        except StoreError:
            data = {"type": "stream.error", "jobId": self._job.id, "code": "store_unavailable"}
            yield frame(data, retry=RETRY_SECONDS * 1000)

    async def _snapshot(self) -> bytes:
        snapshot = frame(await snapshot_data(self._call, self._job), id=self._job.seq)
        return frame(reset_data(self._job)) + snapshot if self._lost else snapshot

    async def _from_log(self, after: int) -> AsyncGenerator[bytes, None]:
        """What is in the log already by the page, what comes by the event."""
        page: list[Event] = []
        while page := await self._call.app.events(self._job.id, after=after, limit=PAGE):
            for chunk in _joined([await self._frame(event) for event in page]):
                yield chunk
            after = page[-1].seq
            if page[-1].is_end:
                return
        async with aclosing(self._call.follow(after)) as feed:
            async for event in feed:
                yield await self._frame(event)
                if event.is_end:
                    return
        yield self._end("shutdown" if self._call.app.stopping else "removed")

    async def _frame(self, event: Event) -> bytes:
        return frame(await event_data(self._call, event), id=event.seq)

    def _end(self, reason: str) -> bytes:
        return frame({"type": "stream.end", "jobId": self._job.id, "reason": reason}, retry=RECONNECT_SOON)


# -- frames ---------------------------------------------------------------------------------------------------------


def frame(data: Mapping[str, Any], *, id: int | None = None, retry: int | None = None) -> bytes:
    """One event of a stream; its data is one line of JSON, so nothing in it can begin a line of its own."""
    head = "" if id is None else f"id: {id}\n"
    head += "" if retry is None else f"retry: {retry}\n"
    return f"{head}event: {data['type']}\ndata: ".encode() + to_bytes(data) + b"\n\n"


async def event_data(call: Call, event: Event) -> dict[str, Any]:
    """An event as it goes out: the last one brings the job as it has ended."""
    data = call.told(event.wire(call.id))
    if event.is_end:
        data["job"] = await job_in_event(call, await call.job())
    return data


async def snapshot_data(call: Call, job: Job[Any]) -> dict[str, Any]:
    """The job as it is at number `seq` of its log."""
    return _head("job.snapshot", job) | {"job": await job_in_event(call, job)}


def reset_data(job: Job[Any]) -> dict[str, Any]:
    """What is said to a cursor that the log does not reach."""
    return _head("job.reset", job) | {"reason": "cursor_unknown"}


def _head(type: str, job: Job[Any]) -> dict[str, Any]:
    time = rfc3339(job.updated_at)
    return {"type": type, "jobId": job.id, "seq": job.seq, "time": time, "attempt": job.attempt}


def _joined(frames: Iterable[bytes]) -> Iterator[bytes]:
    """The frames in as few pieces as may be on their way at once."""
    piece = bytearray()
    for one in frames:
        if piece and len(piece) + len(one) > ON_ITS_WAY:
            yield bytes(piece)
            piece.clear()
        piece += one
    yield bytes(piece)


# -- the reader's side ----------------------------------------------------------------------------------------------


class TooSlow(Exception):
    """The reader does not take what is on its way."""


async def _sent(send: Send, body: bytes, *, more: bool = True) -> None:
    message: Message = {"type": "http.response.body", "body": body, "more_body": more}
    try:
        async with asyncio.timeout(PATIENCE):
            await send(message)
    except TimeoutError:
        raise TooSlow from None


async def _with_pings(chunks: AsyncGenerator[bytes, None], gone: "asyncio.Task[None]") -> AsyncGenerator[bytes, None]:
    """The chunks, and a ping after each silence, until the reader is gone."""
    upcoming: asyncio.Task[bytes] | None = None
    try:
        while not gone.done():
            upcoming = upcoming or asyncio.create_task(_next(chunks))
            done, _ = await asyncio.wait({upcoming, gone}, timeout=PING, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                yield b": ping\n\n"
            if upcoming in done:
                chunk, upcoming = upcoming.result(), None
                if not chunk:
                    return
                yield chunk
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.wait({upcoming})
        await chunks.aclose()


async def _next(chunks: AsyncGenerator[bytes, None]) -> bytes:
    """The next chunk; nothing at their end."""
    return await anext(chunks, b"")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
