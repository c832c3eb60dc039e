"""Two machines whose clocks are ten minutes apart share a server: what is due is due by its clock."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from outlast import lifecycle
from outlast.stores import open_store
from outlast.stores.base import Store
from outlast.testing.contract.ground import new_job, processing
from tests.stores.urls import URL

OFF = 300.0
PATIENCE = 10.0


@pytest.fixture(params=["postgres", "pgbouncer", "valkey", "mongo"])
async def stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Store]]:
    """Of a machine that is five minutes ahead, and of one that is five minutes behind."""
    url, wall = URL[request.param](request), time.time
    async with AsyncExitStack() as opened:
        stores = []
        for off in (OFF, -OFF):
            monkeypatch.setattr(time, "time", lambda off=off: wall() + off)
            stores.append(await opened.enter_async_context(open_store(url)))
        monkeypatch.undo()
        yield stores


async def test_both_go_by_the_servers_clock(stores: list[Store]) -> None:
    for store in stores:
        assert abs(store.now() - time.time()) < 5


async def test_a_lease_that_one_has_taken_is_not_due_for_the_other(stores: list[Store]) -> None:
    for one, other in (stores, stores[::-1]):
        await processing(one)
        assert await other.due(10) == []


async def test_a_lease_that_runs_out_is_due_for_both_at_once(stores: list[Store]) -> None:
    ahead, behind = stores
    [job] = await ahead.insert([new_job(ahead)])
    [held] = (await behind.claim(1, [job.type], "worker_1", ttl=0.5)).jobs
    async with asyncio.timeout(PATIENCE):
        while not all([await store.due(10) for store in stores]):
            await asyncio.sleep(0.02)
    change = lifecycle.due(held, ahead.now())
    assert change is not None
    assert await ahead.apply([change]) == [None]


async def test_a_delay_counts_from_the_servers_now(stores: list[Store]) -> None:
    ahead, behind = stores
    later = lifecycle.submit(new_job(behind).job, behind.now(), run_at=behind.now() + 0.5)
    await behind.insert([later])
    assert (await ahead.claim(1, [later.job.type], "worker_1")).jobs == []
    assert await ahead.due(10) == []
    async with asyncio.timeout(PATIENCE):
        while not await ahead.due(10):
            await asyncio.sleep(0.02)
