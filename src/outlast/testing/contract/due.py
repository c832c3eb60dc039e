"""Due jobs: what the clock alone must move, the longest due first."""

from outlast import calling, lifecycle
from outlast.ends import Webhook
from outlast.job import Status
from outlast.stores.base import LEASE, Lease, Store
from outlast.testing.clock import FakeClock
from outlast.testing.contract.ground import (
    EVERYTHING,
    cancelled,
    claimed,
    completed,
    current,
    delayed,
    failed,
    lean,
    new_job,
    processing,
    queued,
    refused,
    retrying,
    waiting,
    wrote,
)

WITH_WEBHOOK = ((completed, 1_000.0), (failed, 1_000.0), (cancelled, 1_000.0), (completed, 1.0), (completed, 30.0))
"""How they ended, and for how long they are kept: some shorter than it takes to tell."""


class DueJobs:
    async def test_a_job_is_due_at_its_time_and_not_before(self, store: Store, clock: FakeClock) -> None:
        times = {
            (await delayed(store)).id: 60.0,
            (await retrying(store)).id: 60.0,
            (await waiting(store)).id: 600.0,
            (await processing(store)).id: LEASE,
            (await queued(store, deadline=store.now() + 100)).id: 100.0,
            (await queued(store, run_at=store.now() + 500, deadline=store.now() + 200)).id: 200.0,
            (await completed(store, keep=1_000.0)).id: 1_000.0,
            (await failed(store, keep=2_000.0)).id: 2_000.0,
            (await cancelled(store, keep=3_000.0)).id: 3_000.0,
        }
        await queued(store)
        passed = 0.0
        for time in sorted(set(times.values())):
            clock.advance(time - passed - 0.5)
            assert {job.id for job in await store.due(100)} == {id for id, at in times.items() if at < time}
            clock.advance(0.5)
            passed = time
            assert {job.id for job in await store.due(100)} == {id for id, at in times.items() if at <= time}

    async def test_the_longest_due_comes_first_and_no_more_than_asked_for(self, store: Store, clock: FakeClock) -> None:
        job = await processing(store)
        later = [await queued(store, run_at=store.now() + after) for after in (90, 10, 50)]
        clock.advance(100)
        by_time = [later[1].id, job.id, later[2].id, later[0].id]
        assert [one.id for one in await store.due(10)] == by_time
        assert [one.id for one in await store.due(2)] == by_time[:2]

    async def test_ended_jobs_come_behind_all_live_ones_and_without_results(
        self, store: Store, clock: FakeClock
    ) -> None:
        ended = [await completed(store, keep=keep) for keep in (20.0, 10.0)]
        live = [await queued(store, run_at=store.now() + after) for after in (90, 50)]
        clock.advance(100)
        found = await store.due(10)
        assert [job.id for job in found] == [live[1].id, live[0].id, ended[1].id, ended[0].id]
        assert [job.result_json for job in found] == [None] * 4
        assert [job.id for job in await store.due(1)] == [live[1].id]

    async def test_an_ended_job_that_owes_is_due_when_it_says_and_at_its_expiry_once_it_does_not(
        self, store: Store, clock: FakeClock
    ) -> None:
        told = (Webhook("https://hooks.example/"),)
        jobs = [await stage(store, webhooks=told, keep=keep) for stage, keep in WITH_WEBHOOK]
        assert all(lifecycle.owes(job) for job in jobs)
        clock.advance(lifecycle.HEAD_START + 1)
        assert {job.id for job in await store.due(10)} == {job.id for job in jobs}
        for job in await store.due(10):
            assert lifecycle.owes(job)
            await wrote(store, lifecycle.owing(job, store.now() + 90))
            await refused(store, lifecycle.owing(job, store.now() + 91))
        assert await store.due(10) == []
        clock.advance(90)
        for job in await store.due(10):
            assert lifecycle.owes(job)
            assert not lifecycle.owes(await wrote(store, lifecycle.owing(job, None)))
        kept = [job.id for job, (_, keep) in zip(jobs, WITH_WEBHOOK, strict=True) if keep > 200]
        assert [job.id for job in await store.due(10) if job.id in kept] == []
        clock.advance(1_000)
        assert {job.id for job in await store.due(10)} == {job.id for job in jobs}

    async def test_a_claimable_job_that_was_to_be_called_for_is_due_until_it_is_claimed(
        self, store: Store, clock: FakeClock
    ) -> None:
        [job] = await store.insert([calling.new_to_call(new_job(store), store.now())])
        clock.advance(calling.CALL_WITHIN)
        assert [found.id for found in await store.due(10)] == [job.id]
        assert calling.uncalled(job, store.now()) and lifecycle.due(job, store.now()) is None
        again = await wrote(store, calling.called_again(job, store.now()))
        assert (await store.due(10), again.tag) == ([], job.tag)
        clock.advance(60)
        assert [found.id for found in await store.due(10)] == [job.id]
        taken = await claimed(store, again)
        assert (await store.due(10), taken.next_at) == ([], None)
        back = await wrote(store, calling.to_call(lifecycle.hand_back(taken, "yield", store.now()), store.now()))
        clock.advance(calling.CALL_WITHIN)
        assert ([found.id for found in await store.due(10)], back.tag is not None) == ([job.id], True)

    async def test_a_due_job_is_answered_as_it_is(self, store: Store, clock: FakeClock) -> None:
        jobs = [await delayed(store, metadata={"a": 1}), await waiting(store), await processing(store)]
        clock.advance(600)
        assert {job.id: lean(job) for job in await store.due(10)} == {job.id: lean(job) for job in jobs}

    async def test_what_lifecycle_makes_of_due_jobs_leaves_none_due(self, store: Store, clock: FakeClock) -> None:
        jobs = [await stage(store) for stage in (delayed, retrying, waiting, processing)]
        jobs.append(await queued(store, deadline=store.now() + 300))
        clock.advance(600)
        for job in await store.due(10):
            await wrote(store, lifecycle.due(job, store.now()))
        assert await store.due(10) == []
        statuses = [(await current(store, job.id)).status for job in jobs]
        assert statuses == [Status.QUEUED, Status.RETRYING, Status.QUEUED, Status.QUEUED, Status.FAILED]
        claimable = (await store.claim(10, [jobs[0].type], "w")).jobs
        assert {job.id for job in claimable} == {job.id for job in jobs[:4]}

    async def test_a_job_decided_on_when_due_is_left_alone_if_it_moved_meanwhile(
        self, store: Store, clock: FakeClock
    ) -> None:
        job = await processing(store)
        clock.advance(LEASE)
        [found] = await store.due(1)
        takeover = lifecycle.due(found, store.now())
        assert takeover is not None
        await store.renew([Lease(job.id, job.lease or "")])
        assert [answer is None for answer in await store.apply([takeover])] == [False]
        assert await store.due(1) == []

    async def test_jobs_of_dead_workers_are_due_at_once(self, store: Store) -> None:
        jobs = {name: await claimed(store, await queued(store), worker=name) for name in ("one", "two", "three")}
        found = await store.due(10, dead={"one", "three", "unknown"})
        assert {job.id for job in found} == {jobs["one"].id, jobs["three"].id}
        assert await store.due(10) == []

    async def test_a_dead_workers_former_jobs_are_not_due(self, store: Store) -> None:
        job = await claimed(store, await queued(store), worker="one")
        await wrote(store, lifecycle.complete(job, "1", store.now()))
        back = await claimed(store, await queued(store), worker="one")
        await claimed(store, await wrote(store, lifecycle.hand_back(back, "deploy", store.now())), worker="two")
        assert await store.due(10, dead={"one"}) == []

    async def test_a_claimed_job_is_not_due_by_the_time_it_had_in_the_queue(
        self, store: Store, clock: FakeClock
    ) -> None:
        job = await queued(store, deadline=store.now() + 5)
        await store.claim(1, [job.type], "w", ttl=60)
        clock.advance(10)
        assert await store.due(10) == []

    async def test_many_due_jobs_are_taken_in_bounded_parts(self, store: Store, clock: FakeClock) -> None:
        await store.insert([new_job(store, run_at=store.now() + 1 + n / 8) for n in range(100)])
        clock.advance(60)
        seen: list[str] = []
        while part := await store.due(30):
            seen += [job.id for job in part]
            assert set(await store.apply([lifecycle.ready(job, store.now()) for job in part])) == {None}
        assert len(seen) == len(set(seen)) == 100
        assert len(await store.due(EVERYTHING)) == 0
