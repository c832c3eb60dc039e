"""A connection to MongoDB that is cut at one operation: before the server gets it, or before its answer comes back."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

from outlast.stores.mongo_server import JOBS, PARTS, RECORDS

Moment = Literal["before", "after"]
HEADER = 16
OP_MSG = 2013


class Proxy:
    """Counts operations on jobs, parts and records, and cuts the connection at one of them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = 0
        self._left = 0
        self._moment: Moment = "before"

    def cut_at(self, number: int, moment: Moment) -> None:
        self._left, self._moment = number, moment

    @property
    def has_cut(self) -> bool:
        return self._left <= 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                message = await read(reader)
                cut = self._is_it(message)
                if cut and self._moment == "before":
                    break
                back.write(message)
                answer = await read(there)
                if cut:
                    break
                writer.write(answer)
        for one in (writer, back):
            one.close()

    def _is_it(self, message: bytes) -> bool:
        if collection_of(message) not in (JOBS, PARTS, RECORDS):
            return False
        self._left -= 1
        return self._left == 0


async def read(stream: asyncio.StreamReader) -> bytes:
    header = await stream.readexactly(HEADER)
    [length] = struct.unpack_from("<i", header)
    return header + await stream.readexactly(length - HEADER)


def collection_of(message: bytes) -> str | None:
    """What the first field of the command names: {"update": "outlast_jobs", ...}."""
    [code] = struct.unpack_from("<i", message, 12)
    body = HEADER + 4 + 1 + 4
    if code != OP_MSG or message[HEADER + 4] != 0 or message[body] != 2:
        return None
    value = message.index(b"\0", body + 1) + 1
    [length] = struct.unpack_from("<i", message, value)
    return message[value + 4 : value + 4 + length - 1].decode()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
