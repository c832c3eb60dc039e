"""Has jobs called for: each that became claimable, and each that the clock will make so.

There is no outbox here either. The write that makes a job claimable sets its `next_at` to 10 s from then: a claim takes
it away again, and if none comes within that time, a sweep finds the job due and has it called for once more.

    commit ─▶ publish ─▶ answer      a crash in between leaves a job that is due 10 s later
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context as Variables
from typing import Any

from outlast import calling
from outlast.errors import OutlastError
from outlast.job import Change, Job, NewJob
from outlast.observe import Observe
from outlast.push.base import Named, Publishes

AT_ONCE = 16
"""Calls that one event loop publishes at the same time, but for those of new jobs, which their submits wait for."""

LINGER = 5.0
"""Seconds that whoever goes waits for what is being published."""


class Caller:
    """Publishes for one event loop of a process.

    Parameters
    ----------
    types: those that the app has handlers for; jobs of others are left to their apps. It may grow.
    now: the store's clock.
    """

    def __init__(self, push: Publishes, types: Collection[str], observe: Observe, now: Callable[[], float]) -> None:
        self._push = push
        self._types = types
        self._observe = observe
        self._now = now
        self._room = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._run_here: set[str] = set()

    def owing(self, change: Change) -> Change:
        """A change as it is to be committed."""
        return calling.to_call(change, self._now())

    def owing_new(self, new: NewJob) -> NewJob:
        """A new job as it is to be stored."""
        return calling.new_to_call(new, self._now())

    def moved(self, job: Job[Any], change: Change) -> None:
        """A change was committed to this job."""
        now, after = self._now(), change.applied(job)
        if change.place is not None and job.id not in self._run_here:
            self.call_at(after, now)
        elif change.place is None and "next_at" in change.set:
            self.call_at(after, calling.calls_at(after, now))

    def calls(self, job: Job[Any]) -> bool:
        """True if this job is for this process to have called for."""
        return job.type in self._types

    def call(self, job: Job[Any]) -> None:
        """Have this job called for as soon as there may be something to run. Returns at once."""
        self.call_at(job, calling.calls_at(job, self._now()))

    async def submitted(self, job: Job[Any]) -> None:
        """Have a new job called for. Returns once that is published, however long others take, or after a while."""
        at = calling.calls_at(job, self._now())
        if at is not None and self.calls(job):
            await asyncio.wait({self._begin(job, self._publish(job, at))}, timeout=LINGER)

    def call_at(self, job: Job[Any], at: float | None) -> None:
        """Have this job called for at a time of the store; None: not at all. Returns at once."""
        if at is not None and self.calls(job):
            self._begin(job, self._publish_in_turn(job, at))

    def _begin(self, job: Job[Any], publishing: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        name = f"outlast calls for {job.id}"
        task = asyncio.get_running_loop().create_task(publishing, name=name, context=Variables())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextmanager
    def run_here(self, job_id: str) -> Iterator[None]:
        """Within the block this job may become claimable, and nobody is called: this process is about to run it."""
        self._run_here.add(job_id)
        try:
            yield
        finally:
            self._run_here.discard(job_id)

    async def idle(self, patience: float = LINGER) -> None:
        """Wait for what is being published, so many seconds at most."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=patience)

    async def _publish_in_turn(self, job: Job[Any], at: float) -> None:
        """A sweep may find thousands."""
        async with self._room:
            await self._publish(job, at)

    async def _publish(self, job: Job[Any], at: float) -> None:
        try:
            await self._push.publish(Named(job.id, job.turn), at if at > self._now() else None)
        except OutlastError as error:
            self._observe("push.unpublished", of=job, why=str(error))
        except Exception as error:
            self._observe("push.broke", of=job, error=error)
