"""What is due: delays, retries, wakes, deadlines, leases that ran out, workers that died, purges.

Any number of sweeps may run at once: each move holds only if nobody was faster.
"""

import asyncio
from collections.abc import Sequence
from random import random, uniform
from typing import Any

from outlast import lifecycle, presence
from outlast.errors import JobNotFound
from outlast.hooks import Hooks
from outlast.job import Change, Job, Status
from outlast.observe import Observe
from outlast.stores.base import Store

BATCH = 500
LOOK_EVERY = 1.0
"""Seconds between two looks for workers of this host that died, give or take a quarter."""


async def sweep(store: Store, observe: Observe, hooks: Hooks, dead: frozenset[str] = frozenset()) -> int:
    """Move all that is due now; answers how many jobs were moved or removed.

    Raises StoreError if the store fails on the way; what was moved stays moved.
    """
    moved = 0
    while jobs := await store.due(BATCH, dead=dead):
        done = await _move(store, observe, hooks, jobs, dead) + await _purge(store, observe, jobs)
        moved += done
        if len(jobs) < BATCH or not done:
            break
    return moved


async def recover(store: Store, observe: Observe, hooks: Hooks) -> int:
    """Sweep, with the jobs of workers of this host that died; answers how many jobs were moved or removed."""
    folder = presence.folder(store)
    dead = presence.gone(folder, await presence.present(store))
    moved = await sweep(store, observe, hooks, dead)
    for worker in dead:
        # Only now that its jobs are elsewhere may it be forgotten.
        observe("worker.died", worker=worker)
        await presence.leave(store, worker)
        presence.forget(folder, worker)
    return moved


async def _move(store: Store, observe: Observe, hooks: Hooks, jobs: Sequence[Job[Any]], dead: frozenset[str]) -> int:
    now = store.now()
    decided = [(job, lifecycle.due(job, now, dead=dead, chance=random())) for job in jobs]
    changes = [(job, change) for job, change in decided if change is not None]
    refused = await _applied(store, [change for _, change in changes])
    for (job, change), held in zip(changes, refused, strict=True):
        if held:
            hooks.moved(job, change)
        if held and job.status is Status.PROCESSING:
            observe("lease.taken_over", job_id=job.id, attempt=job.attempt, status=str(change.set["status"]))
    return sum(refused)


async def _applied(store: Store, changes: Sequence[Change]) -> list[bool]:
    try:
        return [answer is None for answer in await store.apply(changes)]
    except JobNotFound:
        # One of them was removed in between; the next look no longer has it among the due.
        return [False] * len(changes)


async def _purge(store: Store, observe: Observe, jobs: Sequence[Job[Any]]) -> int:
    gone = await store.purge([job.id for job in jobs if job.ended])
    if gone:
        observe("purge.done", count=len(gone))
    return len(gone)


class Sweeper:
    """Sweeps when the clock says so, and looks each second for workers of this host that died."""

    def __init__(self, store: Store, observe: Observe, hooks: Hooks) -> None:
        self._store = store
        self._observe = observe
        self._hooks = hooks
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
        await recover(self._store, self._observe, self._hooks)
