"""MongoDB: the connection is cut at every operation of every write, before it and after it: nothing lost or doubled."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pymongo import MongoClient

from outlast import lifecycle
from outlast.errors import StoreUnavailable
from outlast.job import Change, Job, NewJob, Status
from outlast.stores import open_store
from outlast.stores.base import Lease, Query, Store
from outlast.stores.mongo_server import PARTS
from outlast.testing import FakeClock
from outlast.testing.contract.ground import (
    TYPE,
    WORKER,
    Shot,
    after_change,
    after_insert,
    completed,
    log,
    new_job,
    new_jobs,
    output,
    processing,
    queued,
    report,
    shot,
    step,
)
from tests.stores.mongo_proxy import Moment, Proxy, proxy_to
from tests.stores.mongo_server import MongoServer, leaves_sockets

DAY = 24 * 3600.0
MOMENTS: list[Moment] = ["before", "after"]
MANY_OPERATIONS = 20

each_moment = pytest.mark.parametrize("moment", MOMENTS)


@dataclass
class Ground:
    """Two stores on one database: the connection of the one is cut, the other tells what is there."""

    cut: Store
    sound: Store
    proxy: Proxy
    clock: FakeClock
    url: str

    async def failpoints(self, moment: Moment) -> AsyncIterator[int]:
        """Numbers of operations, until a call came through that has no more of them."""
        for number in range(1, MANY_OPERATIONS):
            self.proxy.cut_at(number, moment)
            yield number
            if not self.proxy.has_cut:
                assert number > 1, "no operation was cut"
                return
        raise AssertionError("a call that does not come to its end")

    def leftovers(self) -> list[str]:
        with MongoClient[dict[str, Any]](self.url) as client:
            return [part["_id"] for part in client.get_default_database()[PARTS].find()]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def ground(mongo: MongoServer, clock: FakeClock) -> AsyncIterator[Ground]:
    if mongo.port is None:
        pytest.skip("the proxy needs a server on loopback that tests started")
    url = mongo.fresh("retryReads=false&retryWrites=false&directConnection=true")
    async with proxy_to(mongo.port) as proxy:
        through = url.replace(f":{mongo.port}", f":{proxy.port}")
        async with open_store(url, clock=clock) as sound, open_store(through, clock=clock) as cut:
            yield Ground(cut, sound, proxy, clock, url)


@each_moment
@leaves_sockets
async def test_an_insert_that_is_cut_is_whole_for_each_job_and_safe_to_repeat(ground: Ground, moment: Moment) -> None:
    async for number in ground.failpoints(moment):
        keyed = new_job(ground.sound, idempotency_key=f"{number}")
        new = [keyed, new_job(ground.sound, steps=[step("a"), step("b", 1)]), new_job(ground.sound, owner="ada")]
        await _cut(ground.cut.insert(new))
        for one in new:
            if (await ground.sound.get([one.job.id]))[0] is not None:
                await _is_whole(ground.sound, one)
        assert [job.id for job in await ground.sound.insert(new)] == [one.job.id for one in new]
        for one in new:
            await _is_whole(ground.sound, one)
        assert (await queued(ground.sound, idempotency_key=f"{number}")).id == keyed.job.id


@each_moment
@leaves_sockets
async def test_a_key_that_ran_out_is_given_to_one_new_job(ground: Ground, moment: Moment) -> None:
    async for number in ground.failpoints(moment):
        old = await queued(ground.sound, idempotency_key=f"{number}")
        ground.clock.advance(DAY + 1)
        new = new_job(ground.sound, idempotency_key=f"{number}")
        await _cut(ground.cut.insert([new]))
        assert [job.id for job in await ground.sound.insert([new])] == [new.job.id]
        await _is_whole(ground.sound, new)
        assert (await ground.sound.get([old.id]))[0] is not None
        assert (await queued(ground.sound, idempotency_key=f"{number}")).id == new.job.id


@each_moment
@leaves_sockets
async def test_a_claim_that_is_cut_loses_no_job(ground: Ground, moment: Moment) -> None:
    async for _ in ground.failpoints(moment):
        ids = {job.id for job in await ground.sound.insert(new_jobs(ground.sound, 3))}
        await _cut(ground.cut.claim(3, [TYPE], WORKER))
        held = {job.id for job in await ground.sound.find(Query(status=frozenset({Status.PROCESSING}))) if job.lease}
        again = {job.id for job in (await ground.sound.claim(10, [TYPE], WORKER)).jobs}
        assert held & ids | again == ids
        assert not held & again
        for id in ids:
            assert [event.type for event in await ground.sound.events(id)] == ["job.created", "job.started"]
        await _end_all(ground.sound)


@each_moment
@leaves_sockets
async def test_moves_that_are_cut_are_whole_and_safe_to_repeat(ground: Ground, moment: Moment) -> None:
    async for _ in ground.failpoints(moment):
        jobs = [await processing(ground.sound) for _ in range(3)]
        changes = [_ended(ground.sound, job) for job in jobs]
        before = [await shot(ground.sound, job.id) for job in jobs]
        await _cut(ground.cut.apply(changes))
        for change, was in zip(changes, before, strict=True):
            await _is_one_of(ground.sound, was, after_change(was, change, None))
        for answer in await ground.sound.apply(changes):
            assert answer is None or answer.status is Status.COMPLETED
        for change, was in zip(changes, before, strict=True):
            await _is_one_of(ground.sound, after_change(was, change, None))


@each_moment
@leaves_sockets
async def test_an_append_that_empties_a_full_box_loses_and_doubles_nothing(ground: Ground, moment: Moment) -> None:
    async for _ in ground.failpoints(moment):
        job = await processing(ground.sound)
        much = [output(ground.sound.now(), "x" * 1_000, offset) for offset in range(100)]
        filled = lifecycle.append(job, events=much, steps=[step("first"), step("asleep", 1, None, status="waiting")])
        assert await ground.sound.apply([filled]) == [None]
        was = await shot(ground.sound, job.id)
        steps = [step("first", value='"late"'), step("asleep", 1, "null"), step("third", 2)]
        change = lifecycle.append(job, events=[log(ground.sound.now()), output(ground.sound.now())], steps=steps)
        await _cut(ground.cut.apply([change]))
        await _is_one_of(ground.sound, was, after_change(was, change, None))
        now = await shot(ground.sound, job.id)
        done = _ended(ground.sound, now.job)
        assert await ground.sound.apply([done]) == [None]
        await _is_one_of(ground.sound, after_change(now, done, None))


@each_moment
@leaves_sockets
async def test_a_renewal_that_is_cut_leaves_the_lease_good(ground: Ground, moment: Moment) -> None:
    async for _ in ground.failpoints(moment):
        job = await processing(ground.sound)
        ground.clock.advance(10)
        await _cut(ground.cut.renew([Lease(job.id, job.lease or "")]))
        assert await ground.sound.apply([_ended(ground.sound, job)]) == [None]
        assert (await ground.sound.claim(0, [TYPE], WORKER)).next_at is None


@each_moment
@leaves_sockets
async def test_a_purge_that_is_cut_shows_nobody_half_a_job(ground: Ground, moment: Moment) -> None:
    async for _ in ground.failpoints(moment):
        rich, plain = await _with_parts(ground.sound), await completed(ground.sound)
        before = [await shot(ground.sound, job.id) for job in (rich, plain)]
        await _cut(ground.cut.purge([rich.id, plain.id]))
        for was in before:
            if (await ground.sound.get([was.job.id]))[0] is not None:
                assert await shot(ground.sound, was.job.id) == was
            else:
                assert await ground.sound.events(was.job.id) == []
        # Whoever sweeps finds what is left, and the id is free again.
        await _sweep(ground.sound)
        if (await ground.sound.get([rich.id]))[0] is None:
            assert ground.leftovers() == []
        ground.clock.advance(8 * DAY)
        await _sweep(ground.sound)
        assert sum((await ground.sound.count(Query())).values()) == 0
        assert ground.leftovers() == []
        again = new_job(ground.sound, id=rich.id)
        await ground.sound.insert([again])
        await _is_whole(ground.sound, again)
        await _end_all(ground.sound)


@each_moment
@leaves_sockets
async def test_an_insert_under_the_id_of_a_half_purged_job_is_a_new_job(ground: Ground, moment: Moment) -> None:
    async for _ in ground.failpoints(moment):
        job = await _with_parts(ground.sound)
        await _cut(ground.cut.purge([job.id]))
        again = new_job(ground.sound, id=job.id, payload_json='"again"')
        there = (await ground.sound.get([job.id]))[0] is not None
        [stored] = await ground.sound.insert([again])
        assert (stored.status is Status.COMPLETED) == there
        if not there:
            await _is_whole(ground.sound, again)
        await _end_all(ground.sound)


@each_moment
@leaves_sockets
async def test_a_note_that_is_cut_is_the_old_or_the_new_one(ground: Ground, moment: Moment) -> None:
    async for number in ground.failpoints(moment):
        old = await ground.sound.put(f"k{number}", {"n": 1})
        assert old is not None
        await _cut(ground.cut.put(f"k{number}", {"n": 2}, version=old.version))
        now = await ground.sound.fetch(f"k{number}")
        assert now is not None
        assert (now.value["n"], now.version) in ((1, 1), (2, 2))


# -- what is there -----------------------------------------------------------------------------------------------------


async def _cut(call: Any) -> None:
    """The call fails as one whose outcome is unknown, or it has fewer operations than the one that is cut."""
    try:
        await call
    except StoreUnavailable:
        pass


async def _is_whole(store: Store, new: NewJob) -> None:
    stored = await shot(store, new.job.id)
    assert stored == after_insert(new, stored.job.tag)


async def _is_one_of(store: Store, *expected: Shot) -> None:
    assert await shot(store, expected[0].job.id) in expected


def _ended(store: Store, job: Job[Any]) -> Change:
    return replace(lifecycle.complete(job, '"done"', store.now()), report=report())


async def _end_all(store: Store) -> None:
    """So that the next round begins with an empty line."""
    live = [job for job in await store.find(Query(limit=1_000)) if not job.ended]
    changes = [
        lifecycle.complete(one, "1", store.now()) if one.lease else lifecycle.cancel(one, store.now()) for one in live
    ]
    await store.apply([change for change in changes if change is not None])
    await store.purge([job.id for job in await store.find(Query(limit=1_000))])


async def _sweep(store: Store) -> None:
    await store.purge([job.id for job in await store.due(100)])


async def _with_parts(store: Store) -> Job[Any]:
    """An ended job whose box was emptied."""
    job = await processing(store)
    for text in ("x" * 100_000, "y"):
        assert await store.apply(
            [lifecycle.append(job, events=[output(store.now(), text)], steps=[step(text[0])])]
        ) == [None]
    assert await store.apply([_ended(store, job)]) == [None]
    [ended] = await store.get([job.id])
    assert ended is not None
    return ended
