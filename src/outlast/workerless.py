"""What an app does where no worker is at hand: sweep once, and run slices of jobs."""

from typing import Any

from outlast import calling, unused
from outlast.errors import StoreError
from outlast.job import Change, Job
from outlast.observe import Observe
from outlast.opened import Opened
from outlast.policy import Duration, seconds
from outlast.push import Publishes, Push
from outlast.push.deadline import granted
from outlast.sweep import recover
from outlast.verbs import ANY, Owner, Verbs, id_of

MOMENT = 1.0
"""Seconds after which a sweep on the way begins no further round, and waits no longer for what it has called for."""


class Workerless(Verbs):
    """The part of the app that runs jobs for whoever calls, for as long as the call may last."""

    concurrency: int
    observe: Observe
    push: Push | None
    _looking = False
    _meanwhiles = 0

    async def sweep(self) -> int:
        """Move all that is due now, and see the deliveries out; answers how many jobs were moved or removed.

        Attachments that no job names any more are removed too, if that was not done within the last hour.
        """
        moved, runtime = await self._recover(), await self._runtime()
        await unused.remove(runtime.store, self.observe)
        await runtime.called()
        if runtime.courier is not None:
            await runtime.courier.idle()
        return moved

    async def _recover(self, until: float | None = None) -> int:
        runtime = await self._runtime()
        return await recover(runtime.store, self.observe, runtime.hooks, runtime.courier, runtime.caller, until)

    async def settled(self) -> None:
        """Wait a while for hooks, calls and deliveries in flight: a process may be gone or frozen once it answered."""
        await (await self._open()).settled()

    async def run_slice(self, job: Job[Any] | str, *, budget: Duration) -> bool:
        """Run one slice of a job in this process, which needs no worker; for platforms that limit a process's time.

        It is handed back at a step's end, or at the next one's begin, before the time is over, and goes on with the
        next call; see `ctx.should_yield`. A call that comes twice, late or for a job that has moved on does nothing.

        Parameters
        ----------
        budget: how long it may take in all, 5 % of which (at most 5 s) are kept for the end.

        Result: whether a slice ran. False: the job has ended, waits, or is another's just now, or no time was left: it
        then stays as it is, and a sweep finds it.
        Raises JobNotFound; StoreError if the store failed on the way: the job then goes on once its lease is out.
        """
        opened, time = await self._open(), seconds(budget)
        until = opened.store.now() + time
        ran = await opened.slices.run(id_of(job), time)
        await opened.settled(until)
        return ran

    async def run_due(self, *, budget: Duration) -> int:
        """Move what is due, then run slices of claimable jobs while there is time; as many at once as a worker would.

        Parameters
        ----------
        budget: as in `run_slice`. No slice begins in its second half: it would cut off steps that another call has the
            time for. What is due may take half of the first.

        Result: how many slices ran.
        """
        opened, time = await self._open(), seconds(budget)
        began = opened.store.now()
        await self._recover(began + time / 4)
        ran = await opened.slices.run_all(self.concurrency, began + time / 2, began + time)
        await opened.settled(began + time)
        return ran

    async def _meanwhile(self, id: str, until: float | None, owner: Owner) -> None:
        if self.push is None or self._meanwhiles >= self.concurrency:
            return
        self._meanwhiles += 1
        try:
            await self._first_slice(await self.get(id, owner=owner), until, granted(self.push))
        finally:
            self._meanwhiles -= 1

    async def _first_slice(self, job: Job[Any], until: float | None, budget: float) -> None:
        opened = await self._open()
        now = opened.store.now()
        left = budget if until is None else max(min(until - now, budget), 0.0)
        try:
            if not await self._is_nobody_s(job) or await self._is_better_called(opened, job, left):
                return
            await opened.slices.run(job.id, max(now + left - opened.store.now(), 0.0), costs=False)
        except Exception as error:
            # The job was accepted, and is called for: whoever waits is to learn that.
            self.observe("slice.broke", job_id=job.id, error=error)
        await opened.settled(now + left)

    async def _is_nobody_s(self, job: Job[Any]) -> bool:
        """True for a job that has not begun, if no worker takes such jobs."""
        if job.tag is None or job.attempt > 0:
            return False
        return not any(job.type in worker.types for worker in await self.workers())

    async def _is_better_called(self, opened: Opened, job: Job[Any], left: float) -> bool:
        """True for a job of a kind that takes longer, if it is called for: what would be cut off is paid for twice."""
        if not isinstance(self.push, Publishes):
            return False
        usual = await self._estimates.of_type(opened.runtime.one, job.type, opened.store.now())
        return usual is not None and usual > left

    async def look_after(self, *jobs: Job[Any]) -> bool:
        """Sweep for a moment if one of these should have been moved by now, where a push is set; True if that was done.

        What was read can be shown although the store refuses to move it: that is in the log, and no error of who asks.

        Whoever asks for a job is often the only one who comes by, where nothing runs between two calls. One such sweep
        of a process is under way at a time.
        """
        if self.push is None:
            return False
        now = await self.now()
        if self._looking or not any(calling.stale(job, now) and self._is_ours(job, now) for job in jobs):
            return False
        self._looking = True
        try:
            await self._recover(now + MOMENT)
            caller = (await self._runtime()).caller
            if caller is not None:
                await caller.idle(MOMENT)
        except StoreError as error:
            self.observe("sweep.failed", error=error)
            return False
        finally:
            self._looking = False
        return True

    def _is_ours(self, job: Job[Any], now: float) -> bool:
        """False for a job that waits for a call which another app is to make: a sweep of this one would not help it."""
        calls = isinstance(self.push, Publishes) and job.type in self.handlers
        return calls or not calling.uncalled(job, now)

    async def dead_letter(self, job: Job[Any] | str, turn: int) -> bool:
        """A push service gave up calling for a job at this turn; True if that ended it, for it has not gone on since.

        Raises JobNotFound.
        """

        async def decide(job: Job[Any], now: float) -> Change | None:
            return calling.dead_lettered(job, turn, now)

        _, failed = await self._wish(id_of(job), ANY, decide)
        await self.settled()
        return failed
