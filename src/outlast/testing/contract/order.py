"""The order of claims: priority, then the fair tag, then id."""

from collections.abc import Sequence
from typing import Any

from outlast import lifecycle
from outlast.job import Job, Waiting
from outlast.stores.base import Store
from outlast.testing.contract.ground import (
    TYPE,
    WORKER,
    current,
    delayed,
    error,
    new_job,
    new_jobs,
    queued,
    wrote,
)


class OrderOfClaims:
    async def test_a_higher_priority_is_claimed_first(self, store: Store) -> None:
        await queued(store, priority="low", metadata={"name": "low"})
        await queued(store, priority="normal", metadata={"name": "normal"})
        await queued(store, priority="high", metadata={"name": "high"})
        assert await _line(store) == ["high", "normal", "low"]

    async def test_jobs_of_one_owner_are_claimed_in_the_order_of_their_submit(self, store: Store) -> None:
        names = [f"job {n}" for n in range(20)]
        for name in names:
            await queued(store, owner="ada", metadata={"name": name})
        assert await _line(store) == names

    async def test_jobs_with_equal_tags_are_claimed_by_id(self, store: Store) -> None:
        new = [new_job(store, owner=owner, metadata={"name": owner}) for owner in ("ada", "ben", "cyd")]
        await store.insert(new[::-1])
        assert await _line(store) == ["ada", "ben", "cyd"]

    async def test_a_thousand_jobs_of_one_owner_do_not_delay_the_one_of_another(self, store: Store) -> None:
        await store.insert(new_jobs(store, 1_000, owner="ada"))
        ben = await queued(store, owner="ben")
        assert ben.id in await _next(store, 2)

    async def test_who_comes_while_the_line_moves_is_served_next(self, store: Store) -> None:
        await store.insert(new_jobs(store, 100, owner="ada"))
        await store.claim(50, [TYPE], WORKER)
        jobs = [await queued(store, owner="ben"), await queued(store, owner=None)]
        assert {job.id for job in jobs} <= set(await _next(store, 3))

    async def test_owners_take_turns(self, store: Store) -> None:
        for owner, n in (("ada", 4), ("ben", 2), (None, 3)):
            await store.insert(new_jobs(store, n, owner=owner, metadata={"name": str(owner)}))
        assert await _line(store) == ["ada", "ben", "None", "ada", "ben", "None", "ada", "None", "ada"]

    async def test_an_owners_urgent_jobs_do_not_push_back_the_others(self, store: Store) -> None:
        await store.insert(new_jobs(store, 10, owner="ada", priority="high"))
        first = await queued(store, owner="ada")
        await store.insert(new_jobs(store, 2, owner="ben"))
        await store.claim(10, [TYPE], WORKER)
        assert await _next(store, 1) == [first.id]

    async def test_what_comes_back_goes_to_the_front(self, store: Store) -> None:
        for back in (_handed_back, _woken, _tried_again, _recovered):
            await _claim_all(store)
            line = await store.insert(new_jobs(store, 5, owner="ada"))
            first, second = (await store.claim(2, [TYPE], WORKER)).jobs
            returned = await back(store, second)
            assert (await _next(store, 1)) == [returned.id], back.__name__
            await wrote(store, lifecycle.complete(first, "1", store.now()))
            assert await _next(store, 3) == [job.id for job in line[2:]]

    async def test_a_delayed_job_gets_its_place_when_its_time_has_come(self, store: Store) -> None:
        late = await delayed(store, owner="ada")
        assert (late.tag, (await current(store, late.id)).tag) == (None, None)
        line = await store.insert(new_jobs(store, 3, owner="ada"))
        await wrote(store, lifecycle.ready(late, store.now()))
        assert await _next(store, 4) == [*[job.id for job in line], late.id]

    async def test_an_empty_line_begins_anew(self, store: Store) -> None:
        await store.insert(new_jobs(store, 3, owner="ada"))
        await _claim_all(store)
        jobs = [await queued(store, owner=owner) for owner in ("ada", "ada", "ben")]
        assert [job.tag for job in jobs] == [0, 1, 0]


async def _line(store: Store) -> list[Any]:
    """The names of all jobs that wait in line, as they are claimed one by one."""
    names: list[Any] = []
    while jobs := (await store.claim(1, [TYPE], WORKER)).jobs:
        names += [job.metadata["name"] for job in jobs]
    return names


async def _next(store: Store, n: int) -> Sequence[str]:
    return [job.id for job in (await store.claim(n, [TYPE], WORKER)).jobs]


async def _claim_all(store: Store) -> None:
    await store.claim(10_000, [TYPE], WORKER)


async def _handed_back(store: Store, job: Job[Any]) -> Job[Any]:
    return await wrote(store, lifecycle.hand_back(job, "yield", store.now()))


async def _woken(store: Store, job: Job[Any]) -> Job[Any]:
    parked = await wrote(store, lifecycle.park(job, Waiting(reason="signal", signals=("go",)), store.now()))
    return await wrote(store, lifecycle.wake(parked, store.now()))


async def _tried_again(store: Store, job: Job[Any]) -> Job[Any]:
    later = await wrote(store, lifecycle.raised(job, error(store), store.now(), chance=0.0))
    return await wrote(store, lifecycle.ready(later, store.now()))


async def _recovered(store: Store, job: Job[Any]) -> Job[Any]:
    return await wrote(store, lifecycle.lease_out(job, store.now()))
