"""An owner's feed on each engine: what a reader holds in the end is what is true, however it came back."""

import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from outlast import lifecycle
from outlast.feed import FLOOR, LATE, OVERLAP, PAGE, Looks, Seen
from outlast.job import Job
from outlast.stores import open_store
from outlast.stores.base import ANY, Query, Store
from outlast.testing import FakeClock
from outlast.testing.contract.ground import (
    STAGES,
    completed,
    decisions,
    new_jobs,
    output,
    processing,
    queued,
    waiting,
    wrote,
)
from tests.stores.urls import URL


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "postgres", "valkey", "mongo"])
async def store(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[Store]:
    async with open_store(URL[request.param](request), clock=clock) as store:
        yield store


async def look(looks: Looks) -> list[Job[Any]]:
    async with aclosing(looks.look()) as parts:
        return [job async for seen in parts for job in seen.jobs]


async def seen(looks: Looks) -> list[Seen]:
    async with aclosing(looks.look()) as parts:
        return [seen async for seen in parts]


# -- one look ------------------------------------------------------------------------------------------------------


async def test_it_begins_with_what_is_live(store: Store, clock: FakeClock) -> None:
    jobs = [await make(store, owner="ada") for make in STAGES.values()]
    clock.advance(2 * OVERLAP)
    looks = Looks(store, "ada", None)
    assert await look(looks) == [await shown(store, job) for job in jobs if not job.ended]
    assert await look(looks) == []


async def test_each_change_is_told_once_and_output_is_none(store: Store, clock: FakeClock) -> None:
    job = await processing(store, owner="ada")
    looks = Looks(store, "ada", None)
    await look(looks)
    clock.advance(1)
    await store.apply([lifecycle.append(job, events=[output(store.now())])])
    assert await look(looks) == []
    job = await wrote(store, decisions(store, await shown(store, job))["complete"])
    assert await look(looks) == [await shown(store, job)]
    assert await look(looks) == []


async def shown(store: Store, job: Job[Any]) -> Job[Any]:
    [found] = await store.get([job.id])
    assert found is not None
    return found.evolve(payload_json=None, result_json=None)


async def test_what_was_submitted_and_ended_between_two_looks_is_told(store: Store, clock: FakeClock) -> None:
    looks = Looks(store, "ada", None)
    assert await look(looks) == []
    clock.advance(1)
    job = await completed(store, owner="ada")
    clock.advance(1)
    assert await look(looks) == [await shown(store, job)]


async def test_a_write_that_is_seen_later_than_its_time_is_told(store: Store, clock: FakeClock) -> None:
    [late] = new_jobs(store, 1, owner="ada")
    looks = Looks(store, "ada", None)
    clock.advance(LATE / 2)
    await look(looks)
    await store.insert([late])
    clock.advance(LATE / 4)
    assert [job.id for job in await look(looks)] == [late.job.id]


async def test_another_owners_jobs_are_not_in_it(store: Store) -> None:
    owners: list[str | None] = ["ada", "ben", None]
    jobs = {owner: await queued(store, owner=owner) for owner in owners}
    for owner in owners:
        assert [job.id for job in await look(Looks(store, owner, None))] == [jobs[owner].id]
        assert [job.id for job in await look(Looks(store, owner, 0.0))] == [jobs[owner].id]
    assert len(await look(Looks(store, ANY, None))) == 3


# -- a cursor ------------------------------------------------------------------------------------------------------


async def test_with_a_cursor_it_begins_with_what_changed_since_less_a_minute(store: Store, clock: FakeClock) -> None:
    await completed(store, owner="ada")
    clock.advance(OVERLAP)
    before = await completed(store, owner="ada")
    parked = await waiting(store, owner="ada")
    clock.advance(OVERLAP / 2)
    cursor = store.now()
    clock.advance(3600)
    after = await completed(store, owner="ada")
    assert [job.id for job in await look(Looks(store, "ada", cursor))] == [before.id, parked.id, after.id]
    assert [job.id for job in await look(Looks(store, "ada", store.now()))] == [after.id]


async def test_a_cursor_of_the_future_is_none(store: Store) -> None:
    ended, live = await completed(store, owner="ada"), await queued(store, owner="ada")
    assert [job.id for job in await look(Looks(store, "ada", store.now() + 1))] == [live.id]
    assert ended.id != live.id


async def test_until_all_of_a_look_is_told_the_cursor_is_that_of_the_look_before(
    store: Store, clock: FakeClock
) -> None:
    await store.insert(new_jobs(store, PAGE + 1, owner="ada"))
    clock.advance(1)
    began, looks = store.now(), Looks(store, "ada", None)
    assert [(len(one.jobs), one.cursor, one.last) for one in await seen(looks)] == [
        (PAGE, None, None),
        (1, None, began),
    ]
    clock.advance(1)
    await store.insert(new_jobs(store, PAGE, owner="ada"))
    first, *_ = await seen(looks)
    assert (first.cursor, first.last) == (began, began)


# -- what it costs -------------------------------------------------------------------------------------------------


class Asked:
    """A store that remembers what was looked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.queries: list[Query] = []
        self.now = store.now

    async def find(self, query: Query) -> list[Job[Any]]:
        self.queries.append(query)
        return await self._store.find(query)


async def test_no_look_but_the_first_walks_past_what_cannot_change(store: Store, clock: FakeClock) -> None:
    for _ in range(3):
        await completed(store, owner="ada")
    clock.advance(3600)
    parked = await waiting(store, owner="ada")
    clock.advance(3600)
    asked: Any = Asked(store)
    looks = Looks(asked, "ada", None)
    await look(looks)
    asked.queries.clear()
    await look(looks)
    floors = [query.before for query in asked.queries]
    assert all(floor is not None and parked.id[:-2] < floor < parked.id for floor in floors)
    await wrote(store, decisions(store, parked)["cancel"])
    clock.advance(FLOOR)
    await look(looks)
    asked.queries.clear()
    await look(looks)
    assert all(query.before is not None and query.before > parked.id for query in asked.queries)


# -- whatever happens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_keeps_the_higher_number_holds_the_truth(store: Store, clock: FakeClock, seed: int) -> None:
    """Jobs move at random; two readers look now and then, and one of them loses its connection."""
    chance = random.Random(seed)
    jobs: list[Job[Any]] = []
    steady, broken = Looks(store, "ada", None), Looks(store, "ada", None)
    held: dict[str, dict[str, Job[Any]]] = {"steady": {}, "broken": {}}
    await keep(held["steady"], steady)
    cursor = await keep(held["broken"], broken)
    for _ in range(120):
        clock.advance(chance.choice([0.01, 0.3, 5.0, 100.0]))
        if chance.random() < 0.4 or not jobs:
            jobs.append(await queued(store, owner=chance.choice(["ada", "ada", "ben"])))
        else:
            await move(store, jobs, chance)
        if chance.random() < 0.4:
            await keep(held["steady"], steady)
        if chance.random() < 0.2:
            broken = Looks(store, "ada", cursor)
        if chance.random() < 0.4:
            cursor = await keep(held["broken"], broken) or cursor
    clock.advance(1)
    await keep(held["steady"], steady)
    await keep(held["broken"], broken)
    truth = {job.id: await shown(store, job) for job in jobs if job.owner == "ada"}
    for kept in held.values():
        assert {id: (job.version, job.status) for id, job in kept.items()} == {
            id: (job.version, job.status) for id, job in truth.items() if id in kept
        }
        assert {id for id, job in truth.items() if not job.ended} <= kept.keys()
    assert held["steady"].keys() == held["broken"].keys()


async def move(store: Store, jobs: list[Job[Any]], chance: random.Random) -> None:
    """One of the jobs goes on, if it can."""
    [job] = await store.get([chance.choice(jobs).id])
    assert job is not None
    if job.tag is not None:
        await store.claim(1, [job.type], "w", ids=[job.id])
    elif possible := decisions(store, job):
        await store.apply([possible[chance.choice(sorted(possible))]])


async def keep(held: dict[str, Job[Any]], looks: Looks) -> float | None:
    """What a reader makes of a look; its cursor after it."""
    last = None
    for one in await seen(looks):
        last = one.last
        for job in one.jobs:
            if job.id not in held or held[job.id].seq <= job.seq:
                held[job.id] = job
    return last
