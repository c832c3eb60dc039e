"""Leases: equality with the lease is what lets an attempt write; a lease that nobody took stays good."""

from dataclasses import replace
from typing import Any

from outlast import lifecycle
from outlast.job import Change, Job
from outlast.stores.base import LEASE, Head, Lease, Store
from outlast.testing.clock import FakeClock
from outlast.testing.contract.ground import (
    ENDED_STAGES,
    Shot,
    completed,
    current,
    decisions,
    log,
    output,
    processing,
    refused,
    shot,
    step,
    taken_over,
    waiting,
    wrote,
)


class Leases:
    async def test_a_renewal_moves_the_end_of_the_lease_and_nothing_else(self, store: Store, clock: FakeClock) -> None:
        job = await processing(store)
        before = await shot(store, job.id)
        clock.advance(10.1)
        assert await _renew(store, job) == Head(job.seq, job.turn)
        lasts = store.now() + LEASE
        assert await shot(store, job.id) == before._replace(job=replace(job, lease_until=lasts))
        await store.renew([_lease(job)], ttl=5)
        assert (await current(store, job.id)).lease_until == store.now() + 5

    async def test_a_renewal_tells_what_came_meanwhile(self, store: Store) -> None:
        job = await processing(store)
        wished = await wrote(store, lifecycle.cancel(job, store.now()))
        assert await _renew(store, job) == Head(wished.seq, wished.turn) != Head(job.seq, job.turn)

    async def test_renewals_are_answered_in_order_and_only_for_the_jobs_own_lease(self, store: Store) -> None:
        first, second, lost = [await processing(store) for _ in range(3)]
        await taken_over(store, lost)
        parked = await waiting(store)
        ended = [await stage(store) for stage in ENDED_STAGES.values()]
        leases = [_lease(first), _lease(lost), Lease("job_absent", "0" * 32), _lease(second)]
        leases += [Lease(job.id, first.lease or "") for job in (parked, *ended)]
        leases += [Lease(first.id, second.lease or "")]
        answers = await store.renew(leases)
        assert [answer is not None for answer in answers] == [True, False, False, True] + [False] * 5

    async def test_a_lease_that_ran_out_and_nobody_took_is_still_good(self, store: Store, clock: FakeClock) -> None:
        job = await processing(store)
        clock.advance(10 * LEASE)
        await wrote(store, lifecycle.append(job, events=[output(store.now())], steps=[step("late")]))
        assert await _renew(store, job) is not None
        assert (await current(store, job.id)).lease_until == store.now() + LEASE
        clock.advance(10 * LEASE)
        await wrote(store, lifecycle.complete(job, "1", store.now()))

    async def test_a_takeover_decided_before_a_renewal_is_refused_after_it(
        self, store: Store, clock: FakeClock
    ) -> None:
        job = await processing(store)
        clock.advance(LEASE + 1)
        takeover = lifecycle.lease_out(job, store.now())
        assert await _renew(store, job) is not None
        await refused(store, takeover, "a takeover decided before the renewal")
        await wrote(store, lifecycle.complete(job, "1", store.now()))

    async def test_of_two_sweepers_one_takes_the_lease_away(self, store: Store, clock: FakeClock) -> None:
        job = await processing(store)
        clock.advance(LEASE + 1)
        takeover = lifecycle.lease_out(job, store.now())
        await wrote(store, takeover)
        await refused(store, takeover, "the same takeover again")

    async def test_an_old_lease_writes_nothing_once_it_was_taken_away(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, lifecycle.lease_out(job, store.now()))
        await _writes_nothing(store, job)

    async def test_an_old_lease_writes_nothing_after_the_next_claim(self, store: Store) -> None:
        job = await processing(store)
        successor = await taken_over(store, job)
        await _writes_nothing(store, job)
        await wrote(store, lifecycle.append(successor, events=[output(store.now())]))
        await _writes_nothing(store, job)

    async def test_a_lease_given_back_writes_nothing_any_more(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, lifecycle.hand_back(job, "deploy", store.now()))
        await _writes_nothing(store, job)

    async def test_a_lease_writes_nothing_after_the_end(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, lifecycle.complete(job, "1", store.now()))
        await _writes_nothing(store, job)
        assert await _renew(store, job) is None

    async def test_only_equality_with_the_lease_lets_a_write_pass(self, store: Store) -> None:
        job = await processing(store)
        assert job.lease is not None
        for other in _unequal(job.lease):
            await refused(store, replace(_append(store, job), lease=other), f"a write under {other!r}")
            assert await store.renew([Lease(job.id, other)]) == [None]
        await wrote(store, _append(store, job))

    async def test_the_lease_of_one_job_does_not_open_another(self, store: Store) -> None:
        one, other = await processing(store), await processing(store)
        await refused(store, replace(_append(store, one), lease=other.lease))

    async def test_a_takeover_passes_only_with_the_very_time_it_was_decided_on(self, store: Store) -> None:
        job = await processing(store)
        assert job.lease_until is not None
        for off in (-1e-3, 1e-3, -LEASE, LEASE):
            takeover = replace(lifecycle.lease_out(job, store.now()), lease_until=job.lease_until + off)
            await refused(store, takeover, f"a takeover decided on a lease that ends {off:+} s away")
        await wrote(store, lifecycle.lease_out(job, store.now()))

    async def test_a_refused_append_loses_all_its_parts(self, store: Store) -> None:
        job = await processing(store)
        await taken_over(store, job)
        everything = Change(
            id=job.id,
            lease=job.lease,
            set={"progress": 99.0, "message": "stale", "offsets": {"text": 9}, "usage": {"cost": 1.0}},
            events=(log(store.now()), output(store.now())),
            steps=(step("stale"),),
            place="front",
        )
        await refused(store, everything, "an append under a lost lease")

    async def test_a_job_that_ended_has_no_lease(self, store: Store) -> None:
        job = await completed(store)
        assert (job.lease, job.lease_until, job.worker) == (None, None, None)


def _lease(job: Job[Any]) -> Lease:
    assert job.lease is not None
    return Lease(job.id, job.lease)


async def _renew(store: Store, job: Job[Any]) -> Head | None:
    [head] = await store.renew([_lease(job)])
    return head


def _append(store: Store, job: Job[Any]) -> Change:
    return lifecycle.append(job, set={"progress": 50.0}, events=[output(store.now())], steps=[step("one")])


def _unequal(lease: str) -> list[str]:
    """Leases that sort below and above this one, and some that a loose comparison would take for it."""
    return ["0" * len(lease), "f" * len(lease), "~" * len(lease), lease[:-1], lease + "0", lease.swapcase(), ""]


async def _writes_nothing(store: Store, stale: Job[Any]) -> None:
    """Nothing decided on this job passes, not even where the lease alone stands guard."""
    before: Shot = await shot(store, stale.id)
    for name, change in decisions(store, stale).items():
        if change.lease is not None:
            await refused(store, change, f"{name} under an old lease")
            await refused(store, replace(change, turn=None, lease_until=None), f"{name} under an old lease, no turn")
            await refused(store, replace(change, turn=before.job.turn), f"{name} under an old lease on the right turn")
