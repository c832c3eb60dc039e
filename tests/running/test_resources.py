"""What a worker opens once, and which types it takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from outlast import Context, Outlast, Status


async def test_resources_are_opened_once_for_each_worker_and_let_go_at_its_end(url: str) -> None:
    told: list[str] = []

    @asynccontextmanager
    async def resources(app: Outlast) -> AsyncIterator[dict[str, str]]:
        told.append("open")
        yield {"model": "small"}
        told.append("close")

    async with Outlast(url, lifespan=resources) as app:

        @app.handler
        async def asks(ctx: Context) -> str:
            told.append("used")
            return str(ctx.state["model"])

        async with app.working():
            jobs = [await asks.submit() for _ in range(2)]
            assert [(await app.wait(job, 10)).result for job in jobs] == ["small", "small"]
    assert told == ["open", "used", "used", "close"]


async def test_a_worker_whose_resources_cannot_be_opened_claims_nothing(url: str) -> None:
    @asynccontextmanager
    async def resources(app: Outlast) -> AsyncIterator[None]:
        raise OSError("no such model")
        yield

    async with Outlast(url, lifespan=resources) as app:

        @app.handler
        async def asks(ctx: Context) -> None: ...

        job = await asks.submit()
        with pytest.raises(OSError, match="no such model"):
            async with app.working():
                pass
        assert (await app.get(job)).status is Status.QUEUED


async def test_a_worker_takes_the_types_it_is_told_to(app: Outlast) -> None:
    @app.handler
    async def small(ctx: Context) -> None: ...

    @app.handler
    async def large(ctx: Context) -> None: ...

    left, taken = await large.submit(), await small.submit()
    async with app.working(types=["small"]):
        await app.wait(taken, 10)
        assert [worker.types for worker in await app.workers()] == [("small",)]
        assert (await app.get(left)).status is Status.QUEUED
