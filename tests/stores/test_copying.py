"""A store copied into another: nothing is lost, whatever a job has been through, and wherever the copy broke off."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from outlast import lifecycle
from outlast.copying import UNDER_WAY, copy
from outlast.errors import JobConflict, StoreUnavailable
from outlast.job import Change, Event, Job, JobError, Signal, Status, Step, Waiting
from outlast.report import REPORTS, Report
from outlast.stores import open_store
from outlast.stores.base import Query, Store
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from tests.stores.mongo_server import MongoServer
from tests.stores.sqlite_ground import new
from tests.stores.urls import URL


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


MOVES = [
    ("memory", "sqlite"),
    ("sqlite", "memory"),
    ("sqlite", "sqlite"),
    ("sqlite", "postgres"),
    ("postgres", "valkey"),
    ("valkey", "mongo"),
    ("mongo", "postgres"),
]


@pytest.fixture(params=MOVES, ids=" to ".join)
async def stores(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[list[Store]]:
    source, target = (URL[kind](request) for kind in request.param)
    async with open_store(source, clock=clock) as one, open_store(target, clock=clock) as other:
        yield [one, other]


async def lived(store: Store, clock: FakeClock, times: int = 2) -> list[Job[Any]]:
    """Jobs of every status, with all that a job can have."""
    jobs = await store.insert([new(store, owner=owner, tags=("a",)) for owner in ("ann", "bob", None) * times * 2])
    clock.advance(1)
    claimed = (await store.claim(4 * times, ["report"], "worker_1")).jobs
    for number, job in enumerate(claimed):
        await wrote_much(store, job)
        job = (await store.get([job.id]))[0] or job
        await store.apply([END[number % len(END)](job, store.now())])
    waiting = lifecycle.cancel(jobs[-1], store.now(), by="ann", reason="enough")
    assert waiting is not None
    await store.apply([waiting])
    later = lifecycle.submit(new(store).job, store.now(), run_at=store.now() + 60)
    await store.insert([later])
    return await store.find(Query(oldest_first=True))


END = [
    lambda job, now: lifecycle.complete(job, '{"é": 1}', now),
    lambda job, now: lifecycle.park(job, Waiting(reason="signal", signals=("other",)), now),
    lambda job, now: lifecycle.hand_back(job, "deploy", now),
    lambda job, now: Change(id=job.id, lease=job.lease, events=(note(now),)),
    lambda job, now: lifecycle.fail(job, refused(now), now),
]


def refused(now: float) -> JobError:
    return JobError(code="refused", message="é", retryable=False, attempt=1, at=now)


def note(now: float) -> Event:
    return Event(type="job.log", time=now, attempt=1, data={"message": "é"})


async def wrote_much(store: Store, job: Job[Any]) -> None:
    now = store.now()
    text = Event(type="job.output.delta", time=now, attempt=1, data={"channel": "text", "offset": 0, "text": "é"})
    step = Step(key="/draft:1#0", name="draft", index=0, status="completed", value='"é"', attempt=1, duration_ms=5)
    shown = {"progress": 40.0, "message": "on", "offsets": {"text": 1}, "usage": {"inputTokens": 3}}
    await store.apply([lifecycle.append(job, set=shown, events=[text], steps=[step])])
    for number in range(3):
        [found] = await store.get([job.id])
        assert found is not None
        left = lifecycle.signal(found, Signal(name="go", value=f"{number}", key=f"key {number}"), now)
        assert left is not None
        await store.apply([left])
    [found] = await store.get([job.id])
    assert found is not None
    first = (await store.signals(job.id))[0]
    await store.apply([lifecycle.append(found, consumed=[first])])
    for number in range(REPORTS + 1):
        await store.apply([Change(id=job.id, report=Report(attempt=number, worker="worker_1"))])


async def all_of(store: Store) -> list[tuple[Any, ...]]:
    jobs = await store.find(Query(oldest_first=True, limit=1_000))
    whole = await store.get([job.id for job in jobs], payload=True)
    return [
        (
            # Its place in the line is the store's own.
            job and job.evolve(tag=None if job.tag is None else 0),
            await store.events(job.id, limit=10_000) if job else None,
            await store.steps(job.id) if job else None,
            await store.signals(job.id) if job else None,
            await store.reports(job.id) if job else None,
        )
        for job in whole
    ]


async def test_everything_is_there_afterwards_and_a_second_copy_changes_nothing(
    stores: Sequence[Store], clock: FakeClock
) -> None:
    source, target = stores
    jobs = await lived(source, clock)
    assert {job.status for job in jobs} >= {Status.QUEUED, Status.PROCESSING, Status.WAITING, Status.COMPLETED}
    copied = await copy(source, target)
    assert (copied.jobs, copied.there) == (len(jobs), 0)
    assert await all_of(target) == await all_of(source)
    again = await copy(source, target)
    assert (again.jobs, again.there) == (0, len(jobs))
    assert await all_of(target) == await all_of(source)


async def test_the_copied_jobs_go_on(stores: Sequence[Store], clock: FakeClock) -> None:
    source, target = stores
    await lived(source, clock)
    await copy(source, target)
    ready = {job.id for job in await source.find(Query()) if job.tag is not None}
    assert {job.id for job in (await target.claim(100, ["report"], "worker_2")).jobs} == ready
    clock.advance(61)
    assert {job.id for job in await target.due(100)} >= {
        job.id for job in await source.find(Query(status=frozenset({Status.PROCESSING})))
    }


async def test_a_job_that_went_on_in_the_target_is_left_as_it_is(stores: Sequence[Store]) -> None:
    source, target = stores
    await source.insert([new(source), new(source)])
    await copy(source, target)
    [job] = (await target.claim(1, ["report"], "worker_2")).jobs
    await target.apply([lifecycle.complete(job, "1", target.now())])
    before = await all_of(target)
    again = await copy(source, target)
    assert (again.jobs, again.there, again.moved) == (0, 2, 1)
    assert await all_of(target) == before


async def test_a_job_that_went_on_in_the_source_is_brought_up_to_date(
    stores: Sequence[Store], clock: FakeClock
) -> None:
    source, target = stores
    jobs = await lived(source, clock)
    await copy(source, target)
    clock.advance(1)
    ready = {job.id for job in jobs if job.tag is not None}
    again = (await source.claim(100, ["report"], "worker_2")).jobs
    for number, job in enumerate(again):
        await wrote_much(source, job)
        job = (await source.get([job.id]))[0] or job
        await source.apply([END[number % len(END)](job, source.now())])
    copied = await copy(source, target)
    assert (copied.jobs, copied.there, copied.moved) == (len(ready), len(jobs) - len(ready), 0)
    assert await all_of(target) == await all_of(source)
    claimable = {job.id for job in await source.find(Query()) if job.tag is not None}
    assert {job.id for job in (await target.claim(100, ["report"], "worker_3")).jobs} == claimable


async def test_a_job_that_went_on_in_both_is_left_as_it_is(stores: Sequence[Store], clock: FakeClock) -> None:
    source, target = stores
    await source.insert([new(source)])
    await copy(source, target)
    for store, worker in ((source, "worker_1"), (target, "worker_2")):
        [job] = (await store.claim(1, ["report"], worker)).jobs
        clock.advance(1)
        if store is source:
            await store.apply([lifecycle.complete(job, "1", store.now())])
    before = await all_of(target)
    again = await copy(source, target)
    assert (again.jobs, again.there, again.moved) == (0, 1, 1)
    assert await all_of(target) == before


class Breaks(MemoryStore):
    """Fails at one of its writes."""

    def __init__(self, clock: FakeClock, at: int) -> None:
        super().__init__(clock=clock)
        self.left = at

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        self.left -= 1
        if self.left == 0:
            raise StoreUnavailable("gone")
        return await super().apply(changes)


async def test_a_copy_that_breaks_off_anywhere_goes_on_and_nothing_half_copied_is_claimed(clock: FakeClock) -> None:
    source = MemoryStore(clock=clock)
    await lived(source, clock, times=1)
    whole = await all_of(source)
    whole_target = Breaks(clock, -1)
    await copy(source, whole_target)
    for at in range(1, -whole_target.left):
        target = Breaks(clock, at)
        with pytest.raises(StoreUnavailable):
            await copy(source, target)
        half = [job.id for job in await target.find(Query(limit=1_000)) if job.turn == UNDER_WAY]
        assert (await target.claim(100, ["report"], "worker_2", ids=half)).jobs == []
        await copy(source, target)
        assert await all_of(target) == whole, f"broken off at write {at}"


async def test_a_copy_that_breaks_off_while_it_brings_a_job_up_to_date_goes_on_too(clock: FakeClock) -> None:
    source = MemoryStore(clock=clock)
    await source.insert([new(source)])
    earlier = MemoryStore(clock=clock)
    await copy(source, earlier)
    [job] = (await source.claim(1, ["report"], "worker_1")).jobs
    await wrote_much(source, job)
    await source.apply([lifecycle.hand_back(job, "deploy", source.now())])
    at, broke = 1, True
    while broke:
        target = Breaks(clock, -1)
        await copy(earlier, target)
        target.left = at
        try:
            await copy(source, target)
        except StoreUnavailable:
            # The first of its writes takes the job out of the line.
            assert at == 1 or (await target.claim(1, ["report"], "worker_2")).jobs == []
            await copy(source, target)
        else:
            broke = False
        assert await all_of(target) == await all_of(source), f"broken off at write {at}"
        at += 1
    assert at > 10


async def test_a_job_that_is_longer_than_what_an_engine_takes_at_once_is_copied_in_parts(
    mongo: MongoServer, clock: FakeClock
) -> None:
    source = MemoryStore(clock=clock)
    await source.insert([new(source)])
    [job] = (await source.claim(1, ["report"], "worker_1")).jobs
    for number in range(40):
        data = {"channel": "text", "offset": number * 500_000, "text": "e" * 500_000}
        text = Event(type="job.output.delta", time=0.0, attempt=1, data=data)
        value = '"' + "s" * 500_000 + '"'
        step = Step(key=f"/{number}", name="s", index=number, status="completed", value=value, attempt=1, duration_ms=5)
        await source.apply([lifecycle.append(job, set={}, events=[text], steps=[step])])
    async with open_store(mongo.fresh(), clock=clock) as target:
        await copy(source, target)
        assert await all_of(target) == await all_of(source)


async def test_a_key_that_another_job_holds_in_the_target_is_told(clock: FakeClock) -> None:
    source, target = MemoryStore(clock=clock), MemoryStore(clock=clock)
    await source.insert([replace(new(source, idempotency_key="once"))])
    await target.insert([new(target, idempotency_key="once")])
    with pytest.raises(JobConflict, match="idempotency key"):
        await copy(source, target)
