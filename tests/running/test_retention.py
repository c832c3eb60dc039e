"""Retention: what is kept long enough goes in small parts, and nothing else waits for it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from outlast import Outlast, Status, lifecycle
from outlast.errors import StoreError
from outlast.job import Change, Event, Job
from outlast.stores.base import LEASE, Lease, Query, Store
from outlast.sweep import BATCH, MOST_EVENTS
from outlast.testing import FakeClock
from outlast.testing.contract.ground import new_job, processing

LONG = 30 * 86400.0


async def ended_jobs(store: Store, count: int, events: int = 0) -> None:
    """So many jobs that have ended, each with so many events beside its first and last."""
    jobs = await store.insert([new_job(store) for _ in range(count)])
    claimed = (await store.claim(count, [jobs[0].type], "worker_gone")).jobs
    for job in claimed if events else ():
        note = Event(type="job.log", time=store.now(), attempt=1, data={"level": "info", "message": "on"})
        await store.apply([lifecycle.append(job, events=[note] * events)])
    await store.apply([lifecycle.complete(job, "1", store.now()) for job in claimed])


async def store_of(app: Outlast) -> Store:
    return (await app._open()).store


class Parts:
    """Purges as they come, each with what is true when it begins."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.leased: list[bool] = []
        self.meanwhile: list[Any] = []
        self._store, self._purge = store, store.purge
        monkeypatch.setattr(store, "purge", self)

    async def __call__(self, ids: Sequence[str], **how: Any) -> list[str]:
        if ids:
            self.sizes.append(len(ids))
            self.leased.append(bool(await self._store.count(Query(status=frozenset({Status.PROCESSING})))))
        if self.meanwhile and ids:
            self.meanwhile.pop(0)()
        return await self._purge(ids, **how)


async def test_all_that_was_kept_long_enough_goes_in_parts(
    timeless: Outlast, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await store_of(timeless)
    await ended_jobs(store, 2 * BATCH + 1)
    parts = Parts(store, monkeypatch)
    assert await timeless.sweep() == 0
    clock.advance(LONG)
    assert await timeless.sweep() == 2 * BATCH + 1
    assert parts.sizes == [BATCH, BATCH, 1]
    assert await timeless.count() == {}


async def test_jobs_with_long_logs_go_in_smaller_parts(
    timeless: Outlast, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await store_of(timeless)
    await ended_jobs(store, 5, events=MOST_EVENTS // 2 - 10)
    await ended_jobs(store, 1, events=MOST_EVENTS)
    parts = Parts(store, monkeypatch)
    clock.advance(LONG)
    assert await timeless.sweep() == 6
    assert max(parts.sizes) == 2
    assert await timeless.count() == {}


async def test_no_lease_waits_for_a_purge(timeless: Outlast, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that had run out before, nor one that runs out while the purge goes on."""
    store = await store_of(timeless)
    await ended_jobs(store, 4 * BATCH)
    clock.advance(LONG)
    before = await processing(store)
    clock.advance(LEASE)
    during = await processing(store)
    parts = Parts(store, monkeypatch)
    parts.meanwhile = [lambda: None, lambda: clock.advance(LEASE)]
    await timeless.sweep()
    assert parts.leased == [True, True, False, False, False]
    for job in (before, during):
        assert (await timeless.get(job.id)).status is Status.QUEUED
    assert sum(parts.sizes) == 4 * BATCH


async def test_other_writers_get_in_between(app: Outlast, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await store_of(app)
    jobs = await store.insert([new_job(store, keep=0.0) for _ in range(4 * BATCH)])
    await store.apply([change for job in jobs if (change := lifecycle.cancel(job, store.now()))])
    told: list[str] = []
    parts = Parts(store, monkeypatch)
    parts.meanwhile = [lambda: told.append("purge")] * 4

    sweeping = asyncio.create_task(app.sweep())
    while not sweeping.done():
        await store.insert([new_job(store)])
        told.append("write")
        await asyncio.sleep(0)
    # Between any two parts somebody else has written.
    assert "".join(word[0] for word in told).count("pp") == 0, told
    assert parts.sizes == [BATCH] * 4


async def test_jobs_that_cannot_be_moved_keep_nobody_else_from_it(
    timeless: Outlast, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = await store_of(timeless)
    await ended_jobs(store, 3)
    at = store.now() + 10
    broken = {job.id for job in await store.insert([new_job(store, run_at=at) for _ in range(BATCH + 3)])}
    sound = await store.insert([new_job(store, run_at=at + 1) for _ in range(5)])
    apply = store.apply

    async def failing(changes: Sequence[Change]) -> list[Job[Any] | None]:
        if broken & {change.id for change in changes}:
            raise StoreError("no such row")
        return await apply(changes)

    monkeypatch.setattr(store, "apply", failing)
    clock.advance(LONG)
    assert await timeless.sweep() == 8
    moved = await store.get([job.id for job in sound])
    assert all(job is not None and job.tag is not None for job in moved)
    assert await timeless.count(Query(status=frozenset({Status.COMPLETED}))) == {}
    stuck = [record.message for record in caplog.records if "cannot be moved" in record.message]
    assert len(stuck) == len(broken)
    monkeypatch.setattr(store, "apply", apply)
    assert await timeless.sweep() == len(broken)


async def test_a_lease_that_is_renewed_is_not_taken_however_long_the_purge(
    timeless: Outlast, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await store_of(timeless)
    await ended_jobs(store, 2 * BATCH)
    clock.advance(LONG)
    job = await processing(store)
    assert job.lease is not None
    parts = Parts(store, monkeypatch)
    parts.meanwhile = [lambda: clock.advance(LEASE - 1)]
    await store.renew([Lease(job.id, job.lease)])
    await timeless.sweep()
    assert (await timeless.get(job.id)).lease == job.lease
    assert parts.sizes == [BATCH, BATCH]
