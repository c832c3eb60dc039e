"""Many readers of one stream of events, with as little as can be between the socket and the clock."""

import asyncio
import re
import time
from typing import Self
from urllib.parse import urlsplit

AT_ONCE = 100
"""Connections that are being opened."""

BEAT = re.compile(rb'event: job\.progress\ndata: [^\n]*"message":"([0-9]+\.[0-9]{6})"')


class Readers:
    """So many connections, each of which asks for the same stream. Open once all have their first bytes.

    Parameters
    ----------
    url: of the events, such as `http://127.0.0.1:8000/jobs/job_.../events`.
    """

    def __init__(self, url: str, count: int) -> None:
        at = urlsplit(url)
        self._host, self._port, self._path = at.hostname or "", at.port or 80, at.path
        self._count = count
        self._readers: list[_Reader] = []
        self._heard: dict[bytes, list[float]] = {}

    async def __aenter__(self) -> Self:
        room = asyncio.Semaphore(AT_ONCE)
        self._readers = await asyncio.gather(*(self._open(room) for _ in range(self._count)))
        return self

    async def __aexit__(self, *exc: object) -> None:
        for reader in self._readers:
            reader.close()

    async def last_heard(self) -> list[float]:
        """Seconds from when the handler told each beat to when the last reader had it; to be asked once all is over.

        Raises RuntimeError if a reader has not heard one that others have.
        """
        await self.ended()
        if any(len(heard) != self._count for heard in self._heard.values()):
            raise RuntimeError(f"of {self._count} readers, beats were heard by {[*map(len, self._heard.values())]}")
        return [max(heard) for heard in self._heard.values()]

    async def ended(self) -> None:
        """Wait until the server has closed all of them."""
        await asyncio.gather(*(reader.over for reader in self._readers))

    async def _open(self, room: asyncio.Semaphore) -> "_Reader":
        async with room:
            loop = asyncio.get_running_loop()
            _, reader = await loop.create_connection(lambda: _Reader(loop, self._heard), self._host, self._port)
            reader.ask(self._path, f"{self._host}:{self._port}")
            await reader.open
            return reader


class _Reader(asyncio.Protocol):
    def __init__(self, loop: asyncio.AbstractEventLoop, heard: dict[bytes, list[float]]) -> None:
        self._heard = heard
        self._rest = b""
        self.open: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, path: str, host: str) -> None:
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self.open.done():
            self.open.set_result(None)
        frames, _, self._rest = (self._rest + data).rpartition(b"\n\n")
        for beat in BEAT.findall(frames):
            self._heard.setdefault(beat, []).append(now - float(beat))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def close(self) -> None:
        self._transport.abort()
