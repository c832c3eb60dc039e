"""Pull: claim exactly the free slots, run each job as an attempt, stop gently."""

import asyncio
import math
import os
import secrets
from collections.abc import Mapping
from functools import partial
from random import uniform
from typing import Any

from outlast import presence
from outlast.attempt import Attempt
from outlast.calls import Threads
from outlast.errors import StoreError
from outlast.handler import Handler
from outlast.job import Job
from outlast.presence import HostLock, WorkerInfo
from outlast.renewer import Renewer
from outlast.runtime import Runtime
from outlast.stores.base import LEASE, Lease, News
from outlast.sweep import Sweeper, recover

POLL = 5.0
"""Seconds after which an idle worker looks even if it heard nothing, give or take a fifth."""

TELL = 300.0
"""Seconds between two lines of the log that say how the worker is."""

OVERTIME = 30.0
"""Seconds past an attempt's timeout until which its lease is still renewed."""

STUCK = 1 / 4
"""The part of its slots beyond which a worker gives up, if so many threads outlived their slices."""


class Worker:
    """Runs jobs of these handlers until `stop`.

    Parameters
    ----------
    handlers: by type; jobs of other types are left to others.
    slots: how many jobs may run at once.
    lease: seconds a lease is good for between two renewals.
    burst: end by itself once nothing is left to claim.
    """

    def __init__(
        self,
        runtime: Runtime,
        handlers: Mapping[str, Handler[Any, Any]],
        sweeper: Sweeper,
        *,
        slots: int = 10,
        lease: float = LEASE,
        burst: bool = False,
    ) -> None:
        # Random, for a host name or a pod name would come back after a restart.
        self.id = f"worker_{secrets.token_hex(8)}"
        self._runtime = runtime
        self._store = runtime.store
        self._handlers = handlers
        self._sweeper = sweeper
        self._slots = slots
        # Half of them run while the other half is on its way from the store or back.
        self._at_once = min(math.ceil(slots / 2), runtime.store.batch.most)
        self._ttl = lease
        self._burst = burst
        self._running: dict[Lease, Attempt] = {}
        self._ending: set[Lease] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._started_at = 0.0
        self._tell_at = 0.0
        self._aside: set[asyncio.Task[None]] = set()
        self._left: list[Threads] = []
        self._lock = HostLock(presence.folder(self._store), self.id)
        self.ended = asyncio.Event()
        self.stuck = False
        """True once it gave up: no thread can be stopped, so only a new process is rid of those it left behind."""

    _renewer: Renewer
    """Made as it begins to run, for it belongs to the event loop that runs then."""

    async def run(self) -> None:
        """Work until `stop` is called, or in a burst until nothing is left; then hand back and leave."""
        self._started_at = self._store.now()
        self._tell_at = self._started_at + TELL
        self._lock.acquire()
        await self._show()
        self._renewer = Renewer(self._store, self._ttl, self._beat, self._failed, self._blocked)
        self._renewer.start()
        deaf = self._store.listen(self._hear)
        types = ", ".join(sorted(self._handlers)) or "no type"
        self._runtime.observe("worker.started", worker=self.id, slots=self._slots, types=types)
        try:
            await self._work()
        finally:
            deaf()
            await self._leave()
            self.ended.set()

    def stop(self) -> None:
        """Claim nothing any more, and hand back what runs."""
        self._stopping = True
        self._wake.set()

    async def _work(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                if self._burst:
                    one = self._runtime
                    await recover(self._store, one.observe, one.hooks, one.courier, one.caller)
                await self._claim()
            except Exception as error:
                # Whatever it is, a worker that gave up would leave its jobs hanging.
                self._failed(error)
                await asyncio.sleep(uniform(0.5, 1.5))
                continue
            if self._burst and not self._running:
                return
            await self._store.clock.wait(self._wake, self._store.now() + POLL * uniform(0.8, 1.2))

    async def _claim(self) -> None:
        n = min(self._free, self._at_once)
        if n <= 0:
            return
        claimed = await self._store.claim(n, self._handlers.keys(), self.id, ttl=self._ttl)
        for job in claimed.jobs:
            self._begin(job)
        if len(claimed.jobs) == n:
            self._wake.set()
        self._sweeper.arm(claimed.next_at)

    @property
    def _free(self) -> int:
        """A slot is free once its handler is done: the next jobs are claimed while its move is on its way."""
        return min(self._slots - len(self._running) + len(self._ending), 2 * self._slots - len(self._running))

    def _begin(self, job: Job[Any]) -> None:
        attempt = Attempt(job, self._handlers[job.type], self._runtime, self)
        run_for = None if job.timeout is None else job.timeout - job.ran + OVERTIME
        self._renewer.hold(attempt, run_for)
        self._running[attempt.lease] = attempt
        attempt.begin()
        if self._stopping:
            attempt.hand_back()

    def ending(self, attempt: Attempt) -> None:
        """As `Keeper` has it."""
        self._ending.add(attempt.lease)
        self._wake.set()

    def over(self, attempt: Attempt) -> None:
        """As `Keeper` has it."""
        self._renewer.drop(attempt.lease)
        del self._running[attempt.lease]
        self._ending.discard(attempt.lease)
        self._wake.set()
        if attempt.guard is not None:
            self._keep(attempt.guard)
            if attempt.threads:
                attempt.guard.add_done_callback(partial(self._leave_behind, attempt.threads))

    def _leave_behind(self, threads: Threads, waited: "asyncio.Task[None]") -> None:
        """What still runs of these outlived its slice, and the time it had to end."""
        self._left = [left for left in (*self._left, threads) if left]
        names = [name for left in self._left for name in left.values()]
        if len(names) > STUCK * self._slots and not self._stopping:
            self.stuck = True
            threads_of = ", ".join(sorted(set(names)))
            self._runtime.observe(
                "worker.stuck", worker=self.id, count=len(names), threads_of=threads_of, slots=self._slots
            )
            self.stop()

    def _hear(self, news: News) -> None:
        if news.ready and self._free > 0:
            self._wake.set()

    async def _leave(self) -> None:
        self._stopping = True
        self._runtime.observe("worker.stopping", worker=self.id, running=len(self._running))
        for attempt in list(self._running.values()):
            attempt.hand_back()
        while self._running:
            self._wake.clear()
            await self._wake.wait()
        await self._renewer.stop()
        if self._aside:
            await asyncio.wait(self._aside)
        try:
            await presence.leave(self._store, self.id)
        except StoreError as error:
            self._failed(error)
        self._lock.release()
        self._runtime.observe("worker.stopped", worker=self.id)

    def _beat(self) -> None:
        self._keep(asyncio.create_task(self._show()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _show(self) -> None:
        info = WorkerInfo(
            id=self.id,
            host=presence.host(),
            pid=os.getpid(),
            types=tuple(sorted(self._handlers)),
            slots=self._slots,
            running=len(self._running) - len(self._ending),
            ended=self._runtime.observe.meter.ended,
            memory=presence.resident(),
            started_at=self._started_at,
            seen_at=self._store.now(),
        )
        self._tell(info)
        try:
            await presence.show(self._store, info)
        except StoreError as error:
            self._failed(error)

    def _tell(self, info: WorkerInfo) -> None:
        if info.seen_at < self._tell_at:
            return
        self._tell_at = info.seen_at + TELL
        memory = "?" if info.memory is None else info.memory >> 20
        self._runtime.observe(
            "worker.alive", worker=info.id, running=info.running, slots=info.slots, ended=info.ended, memory=memory
        )

    def _blocked(self, seconds: float) -> None:
        self._runtime.observe("worker.blocked", worker=self.id, seconds=round(seconds))

    def _failed(self, error: Exception) -> None:
        self._runtime.observe("worker.failed", worker=self.id, error=error)
