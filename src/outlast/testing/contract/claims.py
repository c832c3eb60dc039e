"""Claims: one job to one worker, of what is claimable and nothing else."""

import asyncio
from collections import Counter
from typing import Any

from outlast import lifecycle
from outlast.job import Change, Job, Status, numbered
from outlast.stores.base import LEASE, Store
from outlast.testing.clock import FakeClock
from outlast.testing.contract.ground import (
    STAGES,
    TYPE,
    WORKER,
    claimed,
    completed,
    current,
    delayed,
    error,
    in_threads,
    new_jobs,
    processing,
    queued,
    ready_again,
    shot,
    waiting,
    wrote,
)


class Claims:
    async def test_a_claim_changes_the_job_as_lifecycle_says(self, store: Store, clock: FakeClock) -> None:
        for stage in (queued, ready_again):
            clock.advance(1)
            before = await shot(store, (await stage(store)).id)
            taken = await claimed(store, before.job, ttl=12.5)
            assert taken.lease is not None
            now = store.now()
            change = lifecycle.claim(before.job, taken.lease, WORKER, now + 12.5, now)
            job, events = change.applied(before.job), [*before.events, *numbered(change.events, before.job.seq)]
            assert taken == job, "a claim answers with the whole job, its payload too"
            assert await shot(store, job.id) == before._replace(job=job, events=events)

    async def test_only_ready_jobs_are_claimed(self, store: Store) -> None:
        jobs = {status: await stage(store) for status, stage in STAGES.items()}
        taken = (await store.claim(100, [TYPE], WORKER)).jobs
        assert {job.id for job in taken} == {jobs["queued"].id, jobs["ready again"].id}

    async def test_a_claim_takes_at_most_what_it_asks_for(self, store: Store) -> None:
        await store.insert(new_jobs(store, 5))
        assert [len((await store.claim(n, [TYPE], WORKER)).jobs) for n in (0, 2, 2, 2, 2)] == [0, 2, 2, 1, 0]

    async def test_a_claim_skips_types_it_does_not_know(self, store: Store) -> None:
        jobs = {type: await queued(store, type=type) for type in ("report", "report.long", "image", "Report")}
        taken = (await store.claim(10, ["report", "image", "other"], WORKER)).jobs
        assert {job.id for job in taken} == {jobs["report"].id, jobs["image"].id}

    async def test_a_claim_by_ids_takes_these_alone(self, store: Store) -> None:
        jobs = await store.insert(new_jobs(store, 4))
        asleep, foreign = await delayed(store), await queued(store, type="image")
        ids = [jobs[3].id, jobs[1].id, asleep.id, foreign.id, "job_absent"]
        taken = (await store.claim(10, [TYPE], WORKER, ids=ids)).jobs
        assert {job.id for job in taken} == {jobs[1].id, jobs[3].id}

    async def test_a_job_claimed_twice_goes_to_the_first_alone(self, store: Store) -> None:
        job = await processing(store)
        assert (await store.claim(1, [TYPE], "worker-2", ids=[job.id])).jobs == []
        assert await current(store, job.id) == job

    async def test_many_claimers_at_once_never_get_one_job_twice(self, store: Store) -> None:
        ids = {job.id for job in await store.insert(new_jobs(store, 60))}
        answers = await asyncio.gather(*(store.claim(7, [TYPE], f"worker-{n}") for n in range(20)))
        taken = Counter(job.id for answer in answers for job in answer.jobs)
        assert taken == dict.fromkeys(ids, 1)

    async def test_many_threads_at_once_never_get_one_job_twice(self, store: Store) -> None:
        ids = {job.id for job in await store.insert(new_jobs(store, 100))}

        async def claim_all() -> list[Job[Any]]:
            taken = []
            while jobs := (await store.claim(3, [TYPE], WORKER)).jobs:
                taken += jobs
            return taken

        taken = Counter(job.id for jobs in await in_threads(4, claim_all) for job in jobs)
        assert taken == dict.fromkeys(ids, 1)

    async def test_each_claim_gets_a_fresh_random_lease(self, store: Store) -> None:
        await store.insert(new_jobs(store, 200))
        leases = [job.lease for job in (await store.claim(200, [TYPE], WORKER)).jobs]
        assert len(set(leases)) == 200
        assert all(lease is not None and len(lease) >= 22 for lease in leases), "128 bits take 22 characters or more"

    async def test_a_job_that_comes_back_gets_another_lease(self, store: Store) -> None:
        first = await processing(store)
        second = await claimed(store, await wrote(store, lifecycle.hand_back(first, "deploy", store.now())))
        assert second.lease != first.lease

    async def test_a_clean_hand_back_costs_no_attempt(self, store: Store) -> None:
        job = await processing(store)
        for reason in ("deploy", "yield"):
            back = await wrote(store, lifecycle.hand_back(job, reason, store.now()))
            job = await claimed(store, back)
            assert (job.attempt, job.resumes) == (1, False)

    async def test_a_job_that_waited_goes_on_with_its_attempt(self, store: Store) -> None:
        woken = await wrote(store, lifecycle.wake(await waiting(store), store.now()))
        assert (await claimed(store, woken)).attempt == 1

    async def test_a_new_attempt_has_all_its_time_though_slices_of_the_last_one_took_some(
        self, store: Store, clock: FakeClock
    ) -> None:
        job = await processing(store)
        clock.advance(5)
        resumed = await claimed(store, await wrote(store, lifecycle.hand_back(job, "deploy", store.now())))
        assert 4.9 < resumed.ran < 5.1
        failed = await wrote(store, lifecycle.raised(resumed, error(store), store.now(), chance=0.5, after=0))
        again = await claimed(store, await wrote(store, lifecycle.ready(failed, store.now())))
        assert (again.attempt, again.ran) == (2, 0.0)

    async def test_a_failed_attempt_and_a_dead_worker_cost_one_each(self, store: Store) -> None:
        job = await claimed(store, await ready_again(store))
        assert job.attempt == 2
        job = await claimed(store, await wrote(store, lifecycle.lease_out(job, store.now())))
        assert job.attempt == 3

    async def test_a_job_with_a_wish_to_cancel_is_never_handed_out(self, store: Store) -> None:
        job = await queued(store)
        await wrote(store, Change(id=job.id, turn=job.turn, set={"cancel_requested_at": store.now(), "turn": 1}))
        assert (await store.claim(1, [TYPE], WORKER)).jobs == []
        ended, events, *_ = await shot(store, job.id)
        assert (ended.status, ended.lease, ended.tag) == (Status.CANCELLED, None, None)
        assert [event.type for event in events] == ["job.created", "job.cancelled"]

    async def test_a_job_cancelled_in_the_queue_is_never_claimed(self, store: Store) -> None:
        job = await queued(store)
        await wrote(store, lifecycle.cancel(job, store.now()))
        assert (await store.claim(1, [TYPE], WORKER)).jobs == []

    async def test_of_a_cancel_and_a_claim_at_once_the_store_makes_one_history(self, store: Store) -> None:
        for job in await store.insert(new_jobs(store, 20)):
            wish = lifecycle.cancel(job, store.now())
            assert wish is not None
            claim, [refusal] = await asyncio.gather(store.claim(1, [TYPE], WORKER, ids=[job.id]), store.apply([wish]))
            assert bool(claim.jobs) == (refusal is not None), "either the claim came first, or the cancel"

    async def test_a_claim_tells_when_the_clock_will_next_move_a_job(self, store: Store) -> None:
        now = store.now()
        assert (await store.claim(1, [TYPE], WORKER)).next_at is None
        await completed(store)
        assert (await store.claim(1, [TYPE], WORKER)).next_at is None, "an ended job is moved no more"
        await waiting(store)
        assert (await store.claim(1, [TYPE], WORKER)).next_at == now + 600
        await queued(store, type="image", deadline=now + 300)
        assert (await store.claim(1, [TYPE], WORKER)).next_at == now + 300, "jobs of other types count"
        await delayed(store)
        assert (await store.claim(1, [TYPE], WORKER)).next_at == now + 60
        await processing(store)
        assert (await store.claim(1, [TYPE], WORKER)).next_at == now + LEASE
