"""Server-Sent Events (WHATWG HTML, 9.2): how what a reader is told travels over HTTP, and when it ends.

A stream reads the log as its reader takes it, so a slow reader costs no memory: at most 256 KiB are on their way at a
time, and a reader that does not take them within 15 s is cut off. It loses nothing, for the log is kept.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from time import monotonic
from typing import Literal, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from outlast.errors import StoreError
from outlast.web.call import Call
from outlast.web.frames import RECONNECT, Frame, Told, end, error
from outlast.web.holder import Holder
from outlast.web.problems import Problem

PING = 15.0
"""Seconds of silence after which a ping shows both ends, and what stands between, that the stream lives."""

PATIENCE = 15.0
"""Seconds a reader has to take what is on its way."""

STREAMS_PER_OWNER = 100

ON_ITS_WAY = 256 << 10

EVENT_STREAM = "text/event-stream"
HEADERS = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Content-Encoding": "identity",
}

logger = logging.getLogger("outlast.web")


class EventStream(Response):
    """One reader's stream.

    Parameters
    ----------
    told: what the reader is told.
    job_id: whose log it is; None: it is of more than one job.

    Raises Problem if the owner has as many as there may be.
    """

    def __init__(self, call: Call, told: Told, job_id: str | None = None) -> None:
        require_room(call)
        super().__init__(None, 200, HEADERS)
        del self.headers["content-length"]
        self._call = call
        self._told = told
        self._job_id = job_id
        self._writes, self._since = 0, monotonic()
        self._is_slow = False
        self._ping: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        with reading(self._call):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                if scope["method"] != "HEAD":
                    await self._until_over(receive)
                await patiently(send, _body(b"", more=False))
            except TooSlow:
                logger.warning("a reader of %s did not take its events and was cut off", self._job_id or "the feed")

    async def _until_over(self, receive: Receive) -> None:
        """Until all is told, the reader is gone, or the time is over."""
        life, gone = await lifetime(self._call), asyncio.create_task(self._disconnected(receive))
        try:
            async with asyncio.timeout(life.seconds) as self._time:
                with self._call.shared.pacer.pacing(self, min(PING, PATIENCE) / 15):
                    await self._tell()
        except TimeoutError:
            if not self._time.expired():
                raise
            if self._is_slow:
                raise TooSlow from None
            if not gone.done():
                await patiently(self._send, _body(encoded(end(life.ends, self._job_id))))
        except asyncio.CancelledError:
            # A host that goes down waits no longer. Raised on, this would be a traceback in its log, and no end here.
            await patiently(self._send, _body(encoded(end("shutdown", self._job_id))))
        finally:
            gone.cancel()
            if self._ping is not None:
                self._ping.cancel()

    async def _tell(self) -> None:
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                await self._write(chunk)

    async def _write(self, chunk: bytes) -> None:
        self._writes += 1
        self._since = monotonic()
        try:
            await self._send(_body(chunk))
        finally:
            self._writes -= 1
            self._since = monotonic()

    def look(self, now: float) -> None:
        """Called now and then: a ping after silence, and an end where nothing is taken."""
        if self._writes and now - self._since > PATIENCE:
            self._is_slow = True
            self._stop()
        elif not self._writes and now - self._since >= PING:
            self._ping = asyncio.create_task(self._pinged())

    async def _pinged(self) -> None:
        with suppress(OSError):
            await self._write(b": ping\n\n")

    def _stop(self) -> None:
        with suppress(RuntimeError):  # it is ending already
            self._time.reschedule(asyncio.get_running_loop().time())

    async def _disconnected(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._stop()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        yield f"retry: {RECONNECT}\n\n".encode()
        try:
            async with aclosing(self._told) as told:
                async for frames in told:
                    for chunk in _joined(map(encoded, frames)):
                        yield chunk
        except StoreError:
            yield encoded(error(self._job_id))


# -- how many -------------------------------------------------------------------------------------------------------


def require_room(call: Call) -> None:
    """Raise Problem if the owner has as many streams and sockets open as there may be."""
    owner = call.principal.owner
    if owner is not None and call.shared.readers[owner] >= STREAMS_PER_OWNER:
        detail = f"at most {STREAMS_PER_OWNER} streams of one owner are open at once; close one or poll"
        raise Problem("quota_exceeded", detail, headers={"Retry-After": "5"}, more={"retryAfterMs": 5000})


@contextmanager
def reading(call: Call) -> Iterator[None]:
    """One more is open for as long as the block lasts."""
    owner = call.principal.owner
    call.shared.readers[owner] += 1
    try:
        yield
    finally:
        call.shared.readers[owner] -= 1


# -- how long -------------------------------------------------------------------------------------------------------


class Lifetime(NamedTuple):
    """For how long a caller may read, in seconds, and the reason they are given then."""

    seconds: float
    ends: Literal["deadline", "token_expired"]


async def lifetime(call: Call) -> Lifetime:
    """As long as any stream, no longer than the platform serves it, and no longer than the caller's token is good."""
    most = call.within(call.app.limits.stream)
    if isinstance(call.principal, Holder):
        left = call.principal.token.expires_at - await call.app.now()
        if left < most:
            return Lifetime(left, "token_expired")
    return Lifetime(most, "deadline")


# -- what a caller takes --------------------------------------------------------------------------------------------


def accepted(request: Request) -> frozenset[str]:
    """The media types a caller takes."""
    return frozenset(part.split(";")[0].strip().lower() for part in request.headers.get("accept", "*/*").split(","))


def cursor_text(request: Request) -> str | None:
    """The browser's own cursor is the newer one: on reconnecting it repeats the address it began with."""
    return request.headers.get("last-event-id", request.query_params.get("after"))


# -- frames as text -------------------------------------------------------------------------------------------------


def encoded(frame: Frame) -> bytes:
    """One event of a stream; its data is one line of JSON, so nothing in it can begin a line of its own.

    A frame without data gives the reader a cursor and is no event (WHATWG HTML, 9.2.6).
    """
    head = "" if frame.id is None else f"id: {frame.id}\n"
    head += "" if frame.retry is None else f"retry: {frame.retry}\n"
    if not frame.data:
        return f"{head}\n".encode()
    return f"{head}event: {frame.data['type']}\ndata: ".encode() + frame.json + b"\n\n"


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


def _body(chunk: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


async def patiently(send: Send, message: Message) -> None:
    """Send to a reader that may be slow. Raises TooSlow if it is too slow."""
    try:
        async with asyncio.timeout(PATIENCE):
            await send(message)
    except TimeoutError:
        raise TooSlow from None
