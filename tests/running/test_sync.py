"""`app.sync`: the verbs of the app from code without an event loop."""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from outlast import (
    ConfigurationError,
    Context,
    JobNotFound,
    Outlast,
    Status,
    StoreUnavailable,
    SyncContext,
    WaitTimeout,
)
from outlast.handler import Handler


def adder(app: Outlast) -> Handler[[int, int], int]:
    @app.handler
    async def add(ctx: Context, one: int, two: int) -> int:
        return one + two

    return add


def asides() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "outlast-aside"]


def test_a_script_submits_and_asks_without_an_event_loop(url: str) -> None:
    with Outlast(url) as app:
        add = adder(app)
        job = app.sync(add.options(owner="ada", tags=["sum"]).submit(1, 2))
        assert app.sync(app.get(job, owner="ada")).status is Status.QUEUED
        assert [one.id for one in app.sync(app.list(tag="sum"))] == [job.id]
        with pytest.raises(JobNotFound):
            app.sync(app.get(job, owner="bob"))
        with pytest.raises(WaitTimeout):
            app.sync(app.wait(job, timeout=0.01))
        assert app.sync(app.cancel(job)).status is Status.CANCELLED
    assert asides() == []


def test_many_threads_use_it_at_once_and_share_one_store(url: str) -> None:
    with Outlast(url) as app, ThreadPoolExecutor(16) as pool:
        add = adder(app)
        jobs = list(pool.map(lambda number: app.sync(add.submit(number, 1)), range(100)))
        assert len({job.id for job in jobs}) == 100
        assert sum(app.sync(app.count()).values()) == 100
        assert (app.observe.counts["store.opened"], len(asides())) == (1, 1)


async def test_it_works_beside_the_event_loop_of_a_worker(app: Outlast) -> None:
    add = adder(app)

    def view() -> int:
        return app.sync(app.wait(app.sync(add.submit(1, 2)), 10)).result

    before = await app._open()
    async with app.working():
        results = await asyncio.gather(*(asyncio.to_thread(view) for _ in range(5)))
        assert (await app.wait(await add.submit(3, 4), 10)).result == 7
    assert results == [3] * 5
    assert await app._open() is before, "the event loop keeps what it is connected by"
    assert app.observe.counts["store.opened"] == 1


async def test_a_blocking_handler_submits_another_job_by_it(app: Outlast) -> None:
    add = adder(app)

    @app.handler
    def asks(ctx: SyncContext) -> int:
        job = ctx.step("submit", lambda: app.sync(add.submit(1, 2)).id)
        return app.sync(app.wait(job, 10)).result

    async with app.working():
        assert (await app.wait(await asks.submit(), 10)).result == 3


async def test_where_an_event_loop_runs_it_says_to_await(app: Outlast) -> None:
    add = adder(app)
    with pytest.raises(ConfigurationError, match="await the call itself"):
        app.sync(add.submit(1, 2))
    assert await app.count() == {}


def test_what_cannot_be_awaited_is_named(url: str) -> None:
    app = Outlast(url)
    with pytest.raises(TypeError, match="async_generator is none"):
        app.sync(app.follow("job_1"))  # type: ignore[arg-type]
    assert asides() == []


async def test_closing_the_app_ends_what_still_waits_and_the_thread(app: Outlast) -> None:
    job = await adder(app).submit(1, 2)
    with ThreadPoolExecutor() as pool:
        waiting: Future[Any] = pool.submit(app.sync, app.wait(job))
        sleeping: Future[Any] = pool.submit(app.sync, asyncio.sleep(3600))
        while (opened := app._opened_aside) is None or not opened.runtime.hub._readers:
            await asyncio.sleep(0.005)
        await app.close()
        # The latter, where the disk is slower than the close.
        with pytest.raises((WaitTimeout, StoreUnavailable), match=r"as the app closes|closed before this"):
            await asyncio.wrap_future(waiting)
        with pytest.raises(StoreUnavailable, match="closed before this was done"):
            await asyncio.wrap_future(sleeping)
    assert asides() == []


async def test_closing_it_leaves_the_event_loop_connected(app: Outlast) -> None:
    add = adder(app)
    await asyncio.to_thread(app.sync, add.submit(1, 2))
    await asyncio.to_thread(app.close_sync)
    assert asides() == []
    await add.submit(1, 2)
    assert sum((await asyncio.to_thread(app.sync, app.count())).values()) == 2
    assert app.observe.counts["store.opened"] == 1


def test_a_store_that_cannot_be_opened_is_told_to_every_caller_and_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    with Outlast(f"sqlite:///{folder}/jobs.db") as app, ThreadPoolExecutor() as pool:
        add = adder(app)
        for call in [pool.submit(app.sync, add.submit(1, 2)) for _ in range(4)]:
            with pytest.raises(ConfigurationError):
                call.result()
        folder.mkdir()
        assert app.sync(add.submit(1, 2)).status is Status.QUEUED
