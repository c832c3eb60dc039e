"""What is due: delays, retries, wakes, deadlines, leases that ran out, dead workers, calls, deliveries, purges.

Any number of sweeps may run at once: each move holds only if nobody was faster. It goes in rounds of bounded work, live
jobs before ended ones: however much there is to remove, other writers get in between, and no lease waits for it.
"""

import asyncio
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from random import random, uniform
from typing import Any, NamedTuple

from outlast import calling, lifecycle, presence
from outlast.errors import JobNotFound, StoreUnavailable
from outlast.hooks import Hooks
from outlast.job import Change, Job, Status
from outlast.observe import Observe
from outlast.push import Caller
from outlast.stores.base import Store
from outlast.webhooks import TAKEN, Courier

BATCH = 500
"""Jobs that a round looks at."""

MOST_EVENTS = 5_000
"""Events that one write removes with their jobs, but for a single job that has more."""

LOOK_EVERY = 1.0
"""Seconds between two looks for workers of this host that died, give or take a quarter."""


async def recover(
    store: Store,
    observe: Observe,
    hooks: Hooks,
    courier: Courier | None,
    caller: Caller | None = None,
    until: float | None = None,
) -> int:
    """Move all that is due, and the jobs of workers of this host that died; answers how many were moved or removed.

    No round but the first begins after `until`, by the store's clock; what is left is for the next sweep.
    Raises StoreError if the store fails on the way; what was moved stays moved.
    """
    folder, sweep = presence.folder(store), Sweep(store, observe, hooks, courier, caller)
    moved, more = 0, True
    while more:
        dead = presence.gone(folder, await presence.present(store))
        done = await sweep.round(dead)
        moved, more = moved + done.moved, done.more and (until is None or store.now() < until)
        # Only now that its jobs are elsewhere may it be forgotten.
        for worker in dead if done.saw_all_live else ():
            observe("worker.died", worker=worker)
            await presence.leave(store, worker)
            presence.forget(folder, worker)
        # A store that never makes its caller wait would keep the event loop for as long as the sweep takes.
        await asyncio.sleep(0)
    return moved


class Done(NamedTuple):
    """What a round did: jobs moved or removed, whether it saw all live ones that are due, and whether more is due."""

    moved: int
    saw_all_live: bool
    more: bool


class Sweep:
    """One sweep. A job that could not be moved is passed over in its later rounds.

    `courier` delivers what ended jobs owe, `caller` has jobs called for that nobody claims; None: others do.
    """

    def __init__(
        self,
        store: Store,
        observe: Observe,
        hooks: Hooks,
        courier: Courier | None = None,
        caller: Caller | None = None,
    ) -> None:
        self._store = store
        self._observe = observe
        self._hooks = hooks
        self._courier = courier
        self._caller = caller
        self._stuck: set[str] = set()

    async def round(self, dead: frozenset[str] = frozenset()) -> Done:
        """Move the longest due live jobs, and remove some of those kept long enough; the jobs of the dead are due."""
        passed_over, limit = len(self._stuck), BATCH + len(self._stuck)
        found = await self._store.due(limit, dead=dead)
        jobs = [job for job in found if job.id not in self._stuck]
        owing = [job for job in jobs if lifecycle.owes(job)]
        ended = [job for job in jobs if job.ended and not lifecycle.owes(job)]
        going, now = light(ended), self._store.now()
        uncalled = {job.id: job for job in jobs if calling.uncalled(job, now)}
        moved = await self.move([job for job in jobs if not (job.ended or job.id in uncalled)], dead)
        moved += await self._call(list(uncalled.values()), now) + await self._deliver(owing) + await self._purge(going)
        is_full, went_on = len(found) == limit, moved > 0 or len(self._stuck) > passed_over
        return Done(moved, not is_full or bool(ended or owing), (is_full or len(going) < len(ended)) and went_on)

    async def move(self, jobs: Sequence[Job[Any]], dead: frozenset[str] = frozenset()) -> int:
        """Do to live jobs what the clock, or the death of their workers, does; answers how many were moved."""
        now = self._store.now()
        decided = [(job, lifecycle.due(job, now, dead=dead, chance=random())) for job in jobs]
        changes = [(job, self._owing(change)) for job, change in decided if change is not None]
        held = await self._applied([change for _, change in changes])
        for (job, change), holds in zip(changes, held, strict=True):
            if holds:
                self._tell(job, change)
        return sum(held)

    def _owing(self, change: Change) -> Change:
        return change if self._caller is None else self._caller.owing(change)

    def _tell(self, job: Job[Any], change: Change) -> None:
        self._observe.meter.moved(job, change)
        self._hooks.moved(job, change)
        if job.status is Status.PROCESSING:
            status = str(change.set["status"])
            self._observe("lease.taken_over", job_id=job.id, attempt=job.attempt, status=status)

    async def _applied(self, changes: Sequence[Change]) -> list[bool]:
        """Which of the changes hold. Where one makes the call fail, halves are tried until it fails alone."""
        try:
            return [answer is None for answer in await self._store.apply(changes)]
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(changes) == 1:
                self._pass_over(changes[0].id, error)
                return [False]
        half = len(changes) // 2
        return await self._applied(changes[:half]) + await self._applied(changes[half:])

    def _pass_over(self, job_id: str, error: Exception) -> None:
        self._stuck.add(job_id)
        # One that was removed in between needs no word.
        if not isinstance(error, JobNotFound):
            self._observe("sweep.stuck", job_id=job_id, error=error)

    async def _deliver(self, jobs: Sequence[Job[Any]]) -> int:
        """Begin to deliver what these owe, where it is this process's to do so and nobody was faster."""
        courier, until = self._courier, self._store.now() + TAKEN
        mine = [job for job in jobs if courier is not None and courier.delivers(job)]
        taken = await self._taken(jobs, [(job, lifecycle.owing(job, until)) for job in mine])
        if courier is not None:
            for job in taken:
                courier.begin(job)
        return len(taken)

    async def _call(self, jobs: Sequence[Job[Any]], now: float) -> int:
        """The same for the calls of claimable jobs that nobody has claimed."""
        caller = self._caller
        mine = [job for job in jobs if caller is not None and caller.calls(job)]
        taken = await self._taken(jobs, [(job, calling.called_again(job, now)) for job in mine])
        if caller is not None:
            for job in taken:
                caller.call(job)
            self._tell_of(taken, now)
        return len(taken)

    def _tell_of(self, called: Sequence[Job[Any]], now: float) -> None:
        """Once in a process: a call may get lost, but where job after job waits, none may arrive at all."""
        waited = max((now - job.queued_at for job in called), default=0.0)
        if waited >= calling.CALL_AGAIN[0] and not self._observe.counts["push.nobody_came"]:
            self._observe("push.nobody_came", count=len(called), seconds=round(waited))

    async def _taken(self, jobs: Sequence[Job[Any]], wanted: Sequence[tuple[Job[Any], Change]]) -> list[Job[Any]]:
        """The jobs whose change holds, after it; all others of these are passed over from now on."""
        held = await self._applied([change for _, change in wanted]) if wanted else []
        taken = [change.applied(job) for (job, change), holds in zip(wanted, held, strict=True) if holds]
        self._stuck |= {job.id for job in jobs} - {job.id for job in taken}
        return taken

    async def _purge(self, jobs: Sequence[Job[Any]]) -> int:
        gone = await self._store.purge([job.id for job in jobs])
        if gone:
            self._observe("purge.done", count=len(gone))
            self._observe.meter.removed(len(gone))
        return len(gone)


def light(ended: Sequence[Job[Any]]) -> Sequence[Job[Any]]:
    """Of ended jobs as many as may go in one write without keeping others from writing."""
    return ended[: max(bisect(list(accumulate(job.seq for job in ended)), MOST_EVENTS), 1)]


class Sweeper:
    """Sweeps when the clock says so, and looks each second for workers of this host that died."""

    def __init__(
        self, store: Store, observe: Observe, hooks: Hooks, courier: Courier | None, caller: Caller | None = None
    ) -> None:
        self._store = store
        self._observe = observe
        self._hooks = hooks
        self._courier = courier
        self._caller = caller
        self._armed = asyncio.Event()
        self._next_at: float | None = None

    def arm(self, at: float | None) -> None:
        """The soonest that anything in the store is due; None: nothing is."""
        sooner = at is not None and (self._next_at is None or at < self._next_at)
        self._next_at = at
        if sooner:
            self._armed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._sweep()
            except Exception as error:
                # Whatever it is, a sweep that gave up would leave jobs hanging.
                self._observe("sweep.failed", error=error)
            look_at = self._store.now() + LOOK_EVERY * uniform(0.75, 1.25)
            await self._store.clock.wait(self._armed, min(look_at, self._next_at or look_at))
            self._armed.clear()

    async def _sweep(self) -> None:
        if self._next_at is not None and self._next_at <= self._store.now():
            self._next_at = None
        await recover(self._store, self._observe, self._hooks, self._courier, self._caller)
