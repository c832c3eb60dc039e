"""Your app in a test: jobs run when the test says so, by the worker of production, and time passes when it says so."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar, overload

from outlast.app import Outlast
from outlast.handler import Bound, Handler
from outlast.job import Job, Status
from outlast.policy import Duration, seconds
from outlast.stores.base import ANY, Owner
from outlast.testing import submitted
from outlast.testing.clock import FakeClock
from outlast.testing.faults import FailAt
from outlast.testing.store import WatchedStore
from outlast.testing.stuck import Stuck, described
from outlast.testing.watch import Watch, WatchedContext
from outlast.worker import Worker

# pytest then shows the line of the test, and none of this file.
__tracebackhide__ = True

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 10.0
"""Real seconds that one call may take, unless a test says otherwise."""


@contextmanager
def using(app: Outlast) -> "Iterator[Jobs]":
    """The app on a fresh store in memory, with a clock that stands still, for as long as the block lasts.

    Raises AssertionError at the end of a block whose planned failures did not all come about.
    """
    watch = Watch()
    store = WatchedStore(watch.clock)
    watch.clock.renew = watch.keeping(store)
    jobs = Jobs(app, store, watch)
    with app.swapped(store, partial(WatchedContext, watch)):
        yield jobs
    jobs.require_no_fault_left()


class Jobs:
    """What a test does with the jobs of an app; `using` makes it.

    Between two calls nothing runs. Each call starts a worker on the app's handlers, and returns when that worker finds
    nothing more to do. The verbs of the app itself (`submit`, `get`, `signal`, `cancel`, ...) work as ever.

    app:      the app under test.
    clock:    the time of its jobs. `clock.advance("2h")` moves it and runs nothing.
    patience: real seconds that one call may take, before it gives up and raises Stuck.
    """

    def __init__(self, app: Outlast, store: WatchedStore, watch: Watch) -> None:
        self.app = app
        self.clock: FakeClock = watch.clock
        self.patience = PATIENCE
        self._store = store
        self._watch = watch

    # -- run --------------------------------------------------------------------------------------------------------

    @overload
    async def run_now(self, what: Job[T], /) -> Job[T]: ...

    @overload
    async def run_now(self, what: str, /, **payload: Any) -> Job[Any]: ...

    @overload
    async def run_now(self, what: Handler[P, T] | Bound[P, T], /, *args: P.args, **payload: P.kwargs) -> Job[T]: ...

    async def run_now(self, what: Any, /, *args: Any, **payload: Any) -> Job[Any]:
        """Submit a job and run it, and no other, until it ends, waits or is to be tried again.

        Parameters
        ----------
        what: a handler, with options (`handler.options(owner="ada")`) or without; a type's name; or a submitted job.
        payload: as in `handler.submit`.

        Result: the job as it then is, its result decoded. Raises Stuck if the job cannot be claimed now.
        """
        job = what if isinstance(what, Job) else await self._submit(what, args, payload)
        if not await self._work(self._until(), only=job.id):
            raise Stuck(f"it cannot run now; advance the clock, or finish it:\n{self._told([self._store.now_is(job)])}")
        return await self.app.get(job.id)

    async def call(self, handler: Handler[P, T] | Bound[P, T], /, *args: P.args, **payload: P.kwargs) -> T:
        """Submit a job, run it as `finish` does, and give what the handler returns or raises.

        Raises the handler's own exception as soon as one attempt fails; Stuck if it waits for a signal, or ends
        in any other way.
        """
        job: Job[T] = await self._submit(handler, args, payload)
        ended = await self._finished(job, lambda job: job.ended or self._watch.raised(job) is not None)
        if ended.status is Status.COMPLETED:
            return ended.result
        error = self._watch.raised(ended)
        if error is None:
            said = "" if ended.last_error is None else f": {ended.last_error.message}"
            raise Stuck(f"{ended.id} ({ended.type}) has {ended.status}{said}")
        raise error

    async def drain(self) -> list[Job[Any]]:
        """Run all that is claimable until nothing is; time stands still. Answers the jobs that ran, as they now are."""
        return self._as_they_are(await self._work(self._until()))

    async def advance(self, duration: Duration) -> list[Job[Any]]:
        """Let time pass, and run all that becomes due when it does. Answers the jobs that ran, as they now are."""
        until, end = self._until(), self.clock.now() + seconds(duration)
        ran = await self._work(until)
        while (due := self._store.next_due()) is not None and due <= end:
            self.clock.move_to(due)
            ran += await self._work(until)
        self.clock.move_to(end)
        return self._as_they_are(ran)

    async def finish(self, job: Job[T]) -> Job[T]:
        """Run all jobs until this one has ended; the clock jumps over sleeps, delays, pauses and leases of the dead.

        Result: the ended job, its result decoded. Raises Stuck if it waits for what does not come by itself.
        """
        return await self._finished(job, lambda job: job.ended)

    async def _finished(self, job: Job[T], enough: Callable[[Job[T]], bool]) -> Job[T]:
        until = self._until()
        while True:
            await self._work(until)
            now_is: Job[T] = await self.app.get(job.id)
            if enough(now_is):
                return now_is
            due = self._store.next_due()
            if due is None:
                raise Stuck(f"nothing goes on by itself any more:\n{self._told(self._store.live())}")
            self.clock.move_to(due)

    async def _submit(self, what: Any, args: Any, payload: Any) -> Job[Any]:
        if isinstance(what, str):
            return await self.app.submit(what, payload)
        handler = what._handler if isinstance(what, Bound) else what
        if self.app.handlers.get(handler.name) is not handler:
            raise ValueError(f"the handler {handler.name!r} belongs to another app than the one under test")
        job: Job[Any] = await what.submit(*args, **payload)
        return job

    def _until(self) -> float:
        return asyncio.get_running_loop().time() + self.patience

    async def _work(self, until: float, *, only: str | None = None) -> list[str]:
        """Let a worker run until nothing is claimable; answers the ids of what it claimed."""
        begun = len(self._store.claimed)
        self._store.only = only
        try:
            async with self.app.working(burst=True) as worker:
                await self._ended(worker, until)
        finally:
            self._store.only = None
        return self._store.claimed[begun:]

    async def _ended(self, worker: Worker, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await worker.ended.wait()
        except TimeoutError:
            live = self._told(self._store.live())
            for slice in self._watch.running():
                # Else the worker, as it stops, would wait for them.
                slice.die()
            advice = "if it may take so long, raise `jobs.patience`"
            raise Stuck(f"it has not come to an end within {self.patience:g} s; {advice}:\n{live}") from None

    def _as_they_are(self, ids: list[str]) -> list[Job[Any]]:
        return [self.app._decoded(self._store.now_is(self._store.submitted[id])) for id in dict.fromkeys(ids)]

    def _told(self, jobs: list[Job[Any]]) -> str:
        return described(jobs, self.clock.now())

    # -- steps ------------------------------------------------------------------------------------------------------

    def inject(self, fault: FailAt) -> None:
        """Plan a failure. A test whose planned failures do not all come about has failed."""
        self._watch.faults.left.append(fault)

    def calls(self, job: Job[Any] | None = None) -> list[str]:
        """The names of the steps whose functions were really called, in order: of this job, or of all."""
        return [name for id, name in self._watch.calls if job is None or id == job.id]

    def require_no_fault_left(self) -> None:
        left = self._watch.faults.left
        if left:
            came = ", ".join(repr(name) for name in self.calls()) or "none"
            raise AssertionError(f"{', '.join(map(str, left))} did not come about; steps that were called: {came}")

    # -- what was submitted -----------------------------------------------------------------------------------------

    def assert_submitted(
        self, handler: Handler[Any, Any] | str, /, *, owner: Owner = ANY, times: int | None = None, **payload: Any
    ) -> list[Job[Any]]:
        """Assert that jobs were submitted with at least these fields in their payload; answers them as they now are.

        Parameters
        ----------
        handler: or the name of a type.
        owner: whose jobs; left out, anybody's.
        times: how many there must be; None: one or more.

        Raises AssertionError that lists what was submitted instead, TypeError for a field that the handler has not.
        """
        found = submitted.matching(self._store, handler, owner, payload)
        if len(found) != times if times is not None else not found:
            raise AssertionError(submitted.refusal(self._store, handler, owner, payload, len(found)))
        return found

    # -- without an event loop --------------------------------------------------------------------------------------

    def sync(self, awaitable: Awaitable[T]) -> T:
        """For plain `def` tests: run one of the calls above, or of the app, and give its result; it is `app.sync`."""
        return self.app.sync(awaitable)
