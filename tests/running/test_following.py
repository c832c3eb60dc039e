"""Many who follow one job: each is told all of it, and the store is asked once for all of them."""

import asyncio
from collections import Counter
from typing import Any

import anyio
import pytest

from outlast import Context, Event, Outlast
from outlast.stores.base import Store
from outlast.stores.memory import MemoryStore
from outlast.stores.sqlite import SqliteStore

READERS = 50


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the store was asked for a page of each job's log."""
    asked: Counter[str] = Counter()

    def counting(kind: type[Store]) -> None:
        events = kind.events

        async def counted(self: Any, job_id: str, **how: Any) -> Any:
            asked[job_id] += 1
            return await events(self, job_id, **how)

        monkeypatch.setattr(kind, "events", counted)

    for kind in (MemoryStore, SqliteStore):
        counting(kind)
    return asked


async def followed(app: Outlast, id: str, after: int = 0) -> list[Event]:
    return [event async for event in app.follow(id, after)]


async def test_each_of_many_is_told_all_and_the_store_is_asked_for_a_few_pages(
    app: Outlast, asked: Counter[str]
) -> None:
    @app.handler
    async def tells(ctx: Context) -> None:
        await ctx.wait_for("go")
        for number in range(10):
            ctx.progress(number, message=f"number {number}")
            await asyncio.sleep(0.06)

    async with app.working():
        job = await tells.submit()
        readers = [asyncio.create_task(followed(app, job.id)) for _ in range(READERS)]
        await app.signal(job.id, "go")
        with anyio.fail_after(20):
            told = await asyncio.gather(*readers)
    assert all(events == told[0] for events in told)
    assert told[0] == await app.log(job.id)
    assert len(told[0]) > 10
    assert asked[job.id] < 3 * len(told[0]) + 20 < READERS * len(told[0]) / 5


async def test_those_who_are_behind_catch_up_and_lose_nothing(app: Outlast) -> None:
    @app.handler
    async def tells(ctx: Context) -> None:
        for number in range(40):
            ctx.progress(number, message=f"number {number}")
            await asyncio.sleep(0.01)

    async def slowly(id: str) -> list[Event]:
        events = []
        async for event in app.follow(id):
            events.append(event)
            await asyncio.sleep(0.03)
        return events

    async with app.working():
        job = await tells.submit()
        with anyio.fail_after(30):
            quick, slow, late = await asyncio.gather(
                asyncio.gather(*(followed(app, job.id) for _ in range(5))),
                asyncio.gather(*(slowly(job.id) for _ in range(5))),
                asyncio.gather(*(followed(app, job.id, after=3) for _ in range(5))),
            )
    log = await app.log(job.id)
    assert [*quick, *slow] == [log] * 10
    assert late == [log[3:]] * 5


async def test_a_reader_that_goes_away_leaves_the_others_what_was_read(app: Outlast) -> None:
    @app.handler
    async def tells(ctx: Context) -> None:
        await ctx.wait_for("go")

    async with app.working():
        job = await tells.submit()
        readers = [asyncio.create_task(followed(app, job.id)) for _ in range(READERS)]
        await asyncio.sleep(0)
        for reader in readers[::2]:
            reader.cancel()
        await app.signal(job.id, "go")
        with anyio.fail_after(20):
            told = await asyncio.gather(*readers, return_exceptions=True)
    log = await app.log(job.id)
    assert all(isinstance(one, asyncio.CancelledError) for one in told[::2])
    assert told[1::2] == [log] * (READERS // 2)


async def test_a_job_that_is_removed_ends_the_streams_of_all_its_readers(app: Outlast) -> None:
    @app.handler
    async def parked(ctx: Context) -> None: ...

    job = await parked.options(delay="1h").submit()
    readers = [asyncio.create_task(followed(app, job.id, after=job.seq)) for _ in range(READERS)]
    await asyncio.sleep(0)
    await app.cancel(job.id)
    await app.delete(job.id)
    with anyio.fail_after(20):
        told = await asyncio.gather(*readers)
    assert {tuple(event.type for event in events) for events in told} <= {("job.cancelled",), ()}
