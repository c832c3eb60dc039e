"""What the tests of push stand on: an app that counts by steps, on a clock that stands still; a taker of calls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from outlast import Context, Outlast
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from torture.serverless.wire import Request, head_of, read_request

SECRET = "only-the-tests-know-this-one"


def make_app(store: Any = None, **settings: Any) -> Outlast:
    """An app with a handler whose steps take 3 s each by the clock of the store."""
    store = store or MemoryStore(clock=FakeClock())
    app = Outlast(store, **settings)

    async def one(number: int) -> int:
        store.clock.advance(3)
        return number

    @app.handler(retries=1)
    async def count(ctx: Context, to: int) -> list[int]:
        return [await ctx.step("one", one, number) for number in range(to)]

    @app.handler(retries=0)
    async def broken(ctx: Context) -> None:
        raise RuntimeError("no such luck")

    return app


class Taker:
    """A server that keeps what it is sent."""

    url = ""

    def __init__(self) -> None:
        self._calls: asyncio.Queue[Request] = asyncio.Queue()

    def keep(self, call: Request) -> None:
        self._calls.put_nowait(call)

    async def call(self) -> Request:
        """The next one."""
        async with asyncio.timeout(20):
            return await self._calls.get()


@asynccontextmanager
async def taking(*statuses: int) -> AsyncIterator[Taker]:
    """One that answers with these, one after the other, and with the last of them from then on."""
    taker, left = Taker(), list(statuses)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taker.keep(await read_request(reader))
        writer.write(head_of(left.pop(0) if len(left) > 1 else left[0], {"content-length": "0"}))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    taker.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield taker
    finally:
        server.close()
