"""Signals: kept in the order in which they came, each taken once."""

import asyncio
from dataclasses import replace

from outlast import lifecycle
from outlast.job import Signal, Status
from outlast.stores.base import Store
from outlast.testing.contract.ground import claimed, delayed, processing, queued, refused, waiting, wrote


class Signals:
    async def test_signals_are_numbered_in_the_order_in_which_they_came(self, store: Store) -> None:
        job = await processing(store)
        left = [Signal(name="b", value="1"), Signal(name="a", value='"é 😀"', key="k"), Signal(name="b", value="{ }")]
        for one in left:
            job = await wrote(store, lifecycle.signal(job, one, store.now()))
        assert await store.signals(job.id) == [replace(one, number=n) for n, one in enumerate(left, 1)]
        assert job.inbox == ("b", "a", "b")

    async def test_a_signal_waits_for_a_job_that_does_not_wait_yet(self, store: Store) -> None:
        for stage in (queued, delayed, processing):
            job = await stage(store)
            after = await wrote(store, lifecycle.signal(job, Signal(name="go", value="1"), store.now()))
            assert (after.status, after.inbox) == (job.status, ("go",))

    async def test_the_signal_a_job_waits_for_makes_it_claimable(self, store: Store) -> None:
        job = await waiting(store)
        woken = await wrote(store, lifecycle.signal(job, Signal(name="approval", value="true"), store.now()))
        assert woken.status is Status.QUEUED
        assert (await claimed(store, woken)).inbox == ("approval",)

    async def test_another_signal_leaves_a_waiting_job_asleep(self, store: Store) -> None:
        job = await waiting(store)
        after = await wrote(store, lifecycle.signal(job, Signal(name="other", value="1"), store.now()))
        assert after.status is Status.WAITING

    async def test_a_signal_is_taken_once(self, store: Store) -> None:
        job = await processing(store)
        for value in ("1", "2"):
            job = await wrote(store, lifecycle.signal(job, Signal(name="go", value=value), store.now()))
        first, _ = await store.signals(job.id)
        take = lifecycle.append(job, consumed=[first])
        job = await wrote(store, take)
        assert [one.taken for one in await store.signals(job.id)] == [True, False]
        assert job.inbox == ("go",)
        await refused(store, take, "taking the same signal again")

    async def test_of_two_who_take_one_signal_at_once_one_gets_it(self, store: Store) -> None:
        job = await processing(store)
        job = await wrote(store, lifecycle.signal(job, Signal(name="go", value="1"), store.now()))
        take = lifecycle.append(job, consumed=await store.signals(job.id))
        answers = await asyncio.gather(store.apply([take]), store.apply([take]))
        assert [answer for [answer] in answers].count(None) == 1

    async def test_a_signal_that_came_before_the_job_parked_is_not_slept_through(self, store: Store) -> None:
        job = await processing(store)
        asleep = (await waiting(store)).waiting
        assert asleep is not None
        park = lifecycle.park(job, asleep, store.now())
        job = await wrote(store, lifecycle.signal(job, Signal(name="approval", value="1"), store.now()))
        await refused(store, park, "a park decided before the signal came")
        after = await wrote(store, lifecycle.park(job, asleep, store.now()))
        assert after.status is Status.QUEUED

    async def test_signals_sent_at_once_are_all_kept(self, store: Store) -> None:
        job = await processing(store)

        async def send(n: int) -> None:
            fresh = job
            while True:
                change = lifecycle.signal(fresh, Signal(name=f"s{n}", value=str(n)), store.now())
                assert change is not None
                [refusal] = await store.apply([change])
                if refusal is None:
                    return
                fresh = refusal

        await asyncio.gather(*(send(n) for n in range(20)))
        kept = await store.signals(job.id)
        assert [one.number for one in kept] == list(range(1, 21))
        assert {one.name for one in kept} == {f"s{n}" for n in range(20)}
