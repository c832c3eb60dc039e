"""An owner's feed as an app has it: how often it looks, and when it ends."""

import asyncio
from contextlib import aclosing

from outlast import Context, Outlast
from outlast.feed import BETWEEN


async def test_news_without_end_make_four_looks_a_second_and_no_more(app: Outlast) -> None:
    @app.handler
    async def never(ctx: Context) -> None: ...

    async def submit_without_end() -> None:
        while True:
            await never.submit()
            await asyncio.sleep(0.005)

    busy = asyncio.create_task(submit_without_end())
    loop, times = asyncio.get_running_loop(), list[float]()
    async with aclosing(app.feed()) as looks:
        async for one in looks:
            if one.last != one.cursor:
                times.append(loop.time())
            if len(times) == 6:
                break
    busy.cancel()
    assert times[-1] - times[0] >= 4.5 * BETWEEN


async def test_a_feed_ends_as_the_app_stops(app: Outlast) -> None:
    began = asyncio.Event()

    async def read() -> None:
        async with aclosing(app.feed()) as looks:
            async for _ in looks:
                began.set()

    reader = asyncio.create_task(read())
    await began.wait()
    await app.stop()
    async with asyncio.timeout(1):
        await reader
