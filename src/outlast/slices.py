"""Push: run slices of jobs in a process that may be gone once it has answered.

a call names a job ─▶ what is due of it is moved ─▶ a claim of this job alone ─▶ an attempt, as a worker runs it
                                                          │                          │
                                             lost: nothing is to be done      its window closes: handed back
"""

import asyncio
import secrets
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from outlast import calling
from outlast.attempt import UNWIND, Attempt
from outlast.capture import capturing
from outlast.errors import JobNotFound
from outlast.handler import Handler
from outlast.job import Job
from outlast.renewer import Renewer
from outlast.runtime import Runtime
from outlast.stores.base import LEASE
from outlast.sweep import Sweep
from outlast.window import RECENT, Window

EARLY = 2.0
"""Seconds by which a call may come before its job is due, and waits."""

LINGER = 1.0
"""Seconds that a handler whose slice is over has to unwind before the call is answered."""


class Run(Protocol):
    """Runs a slice of a claimed job, which must be over by a time of the store; answers the error that broke it off."""

    def __call__(self, job: Job[Any], until: float, *, costs: bool = True) -> Coroutine[Any, Any, Exception | None]: ...


class Slice(asyncio.Event):
    """Set once the slice is over."""

    def ending(self, attempt: Attempt) -> None:
        """Nobody counts slots here."""

    def over(self, attempt: Attempt) -> None:
        """As `Keeper` has it."""
        self.set()


class Slices:
    """Runs slices on one event loop.

    Parameters
    ----------
    handlers: by type; may grow.
    resources: opened for each call; what its `async with` gives is `ctx.state` in the handlers.
    lease: seconds a lease is good for between two renewals.
    """

    def __init__(
        self,
        runtime: Runtime,
        handlers: Mapping[str, Handler[Any, Any]],
        resources: Callable[[], AbstractAsyncContextManager[Any]],
        lease: float = LEASE,
    ) -> None:
        self.id = f"push_{secrets.token_hex(8)}"
        self._runtime = runtime
        self._store = runtime.store
        self._handlers = handlers
        self._resources = resources
        self._ttl = lease
        self._took: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        self._unwinding: set[asyncio.Task[None]] = set()
        self._told_of: set[str] = set()

    async def run(self, id: str, budget: float, *, costs: bool = True) -> bool:
        """Run a slice of this job, in so many seconds; False if there is none to run, or no time is left to run it in.

        `costs`: an attempt is used up if it records no step.
        Raises JobNotFound; and what broke the slice off, such as StoreUnavailable: its lease is then left to run out.
        """
        until, job = self._store.now() + budget, await self._readied(id)
        if job.type not in self._handlers and not job.ended:
            self._runtime.observe("slice.no_handler", of=job)
        if job.tag is None or job.type not in self._handlers:
            self._put_off(job)
            return False
        async with self._running() as run:
            if self._store.now() >= until:
                # A claim would cost an attempt; a job that is left unclaimed is found by a sweep.
                return False
            jobs = await self._claim(1, [job.type], [id])
            for job in jobs:
                broken = await run(job, until, costs=costs)
                if broken is not None:
                    raise broken
        return bool(jobs)

    async def run_all(self, at_once: int, begin_by: float, until: float) -> int:
        """Run slices of whatever is claimable, each begun before `begin_by` and over by `until`; answers how many."""
        ran = 0
        slices: set[asyncio.Task[Exception | None]] = set()
        async with self._running() as run:
            try:
                while self._store.now() < begin_by:
                    free = at_once - len(slices)
                    jobs = await self._claim(free, self._handlers.keys())
                    slices |= {asyncio.create_task(run(job, until)) for job in jobs}
                    ran += len(jobs)
                    if not slices:
                        break
                    _, slices = await asyncio.wait(slices, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*slices)
            finally:
                # What still runs as this call is called off hands its job back.
                for slice in slices:
                    slice.cancel()
                await asyncio.gather(*slices, return_exceptions=True)
        return ran

    async def _readied(self, id: str) -> Job[Any]:
        """The job, once what the clock does to it is done; the clocks of those who call may be a little ahead."""
        job, caller = await self._found(id), self._runtime.caller
        now = self._store.now()
        soon = calling.calls_at(job, now)
        if soon is not None and now < soon <= now + EARLY:
            await self._store.clock.wait(asyncio.Event(), soon)
        if not calling.stale(job, self._store.now()):
            return job
        sweep = Sweep(self._store, self._runtime.observe, self._runtime.hooks, caller=caller)
        with caller.run_here(id) if caller is not None else nullcontext():
            # Whoever was faster may have made it claimable as well, and had nobody called for it.
            await sweep.move([job])
            return await self._found(id)

    async def _claim(self, n: int, types: Collection[str], ids: Sequence[str] | None = None) -> Sequence[Job[Any]]:
        """Claim jobs. A call that is called off meanwhile is so once it has begun them, and hands them back."""
        claiming = asyncio.ensure_future(self._store.claim(n, types, self.id, ids=ids, ttl=self._ttl))
        try:
            return (await asyncio.shield(claiming)).jobs
        except asyncio.CancelledError:
            await asyncio.wait({claiming})
            task = asyncio.current_task()
            if task is None or claiming.cancelled() or claiming.exception() or not claiming.result().jobs:
                raise
            task.cancel()
            return claiming.result().jobs

    def _put_off(self, job: Job[Any]) -> None:
        """Another call is to come when there may be something to run: the job is due, or its holder may be dead."""
        if self._runtime.caller is not None and job.tag is None:
            at = job.lease_until if job.lease is not None else calling.calls_at(job, self._store.now())
            self._runtime.caller.call_at(job, at)

    async def _found(self, id: str) -> Job[Any]:
        job = await self._runtime.one.get(id)
        if job is None:
            raise JobNotFound(id)
        return job

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[Run]:
        """What all slices of a call share."""
        renewer = Renewer(self._store, self._ttl, _nothing, self._failed, self._blocked)
        with capturing(self._store):
            async with self._resources() as state:
                renewer.start()
                try:
                    yield partial(self._run, replace(self._runtime, state=state), renewer)
                finally:
                    await renewer.stop()

    async def _run(
        self, runtime: Runtime, renewer: Renewer, job: Job[Any], until: float, *, costs: bool = True
    ) -> Exception | None:
        slice, now = Slice(), self._store.now()
        budget = until - now
        window = Window(now, budget, self._took[job.type], costs=costs)
        attempt = Attempt(job, self._handlers[job.type], runtime, slice, window)
        renewer.hold(attempt, window.ends - now + UNWIND)
        attempt.begin()
        try:
            await slice.wait()
        except asyncio.CancelledError:
            # The process goes before the slice's time is over.
            attempt.hand_back()
            await slice.wait()
            raise
        finally:
            renewer.drop(attempt.lease)
        self._tell(attempt, budget)
        await self._unwound(attempt)
        return attempt.broken

    def _tell(self, attempt: Attempt, budget: float) -> None:
        """Of each type once: it comes again with every try, and with every job of the kind."""
        job = attempt.job
        if attempt.too_long is not None and job.type not in self._told_of:
            self._told_of.add(job.type)
            self._runtime.observe("slice.step_too_long", of=job, what=attempt.too_long, seconds=f"{budget:.3g}")

    async def _unwound(self, attempt: Attempt) -> None:
        guard = attempt.guard
        if guard is not None:
            self._unwinding.add(guard)
            guard.add_done_callback(self._unwinding.discard)
            await asyncio.wait({guard}, timeout=LINGER)

    def _blocked(self, seconds: float) -> None:
        self._runtime.observe("worker.blocked", worker=self.id, seconds=round(seconds))

    def _failed(self, error: Exception) -> None:
        self._runtime.observe("worker.failed", worker=self.id, error=error)


def _nothing() -> None:
    """A call gives no sign of life."""
