"""Run one slice: call the handler, judge what became of it, apply the move. The same for pull and push.

claimed job ─▶ call ─▶ outcome ─▶ judge (pure) ─▶ Change ─▶ store
                │
                └─ meanwhile: wishes, the time limit, parking, a deploy, a lost lease
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import random
from typing import Any, Protocol

from outlast.calling import soonest
from outlast.calls import Threads
from outlast.codec import Codec
from outlast.context import Context
from outlast.errors import (
    ContextClosed,
    Fail,
    HandlerError,
    InvalidRequest,
    LimitExceeded,
    NotJson,
    Retry,
    SignalTimeout,
    StepTimeout,
    StoreError,
    decisive,
)
from outlast.handler import Handler
from outlast.job import Change, Job, JobError, Status, Step
from outlast.outcome import Cancelled, HandedBack, Lost, Outcome, Parked, Raised, Returned, judge
from outlast.recorder import Recorder
from outlast.report import Report
from outlast.runtime import Runtime
from outlast.stores.base import Lease
from outlast.tracing import Attempting
from outlast.window import Window
from outlast.words import described, traceback_of

LOOK_AGAIN = 1.0
"""Seconds until a look at the job is tried again where the store did not answer."""

UNWIND, LEAST = 10.0, 1.0
"""Seconds a cancelled handler, or a thread whose slice is over, has to unwind; and at least, where a slice must end."""


class Keeper(Protocol):
    """Who runs attempts, and is told how far each is."""

    def ending(self, attempt: "Attempt") -> None:
        """The handler has returned or raised, and its move is about to be sent."""

    def over(self, attempt: "Attempt") -> None:
        """Called once: the slice is over and holds no slot any more, though its handler may still unwind."""


class Attempt:
    """One slice of one claimed job.

    The handler runs in a task of its own, and mostly that is all: it returns, and the same task makes the move. Once
    anything else happens (a wish, a wait, a deploy, the time limit, a lost lease), a guard is called: a task that from
    then on decides what becomes of the slice, whatever the handler does.

    Parameters
    ----------
    keeper: who runs it.
    window: the time of the slice, where that is limited; the job is handed back at a step's end before it is over.
    """

    def __init__(
        self,
        job: Job[Any],
        handler: Handler[Any, Any],
        runtime: Runtime,
        keeper: Keeper,
        window: Window | None = None,
    ) -> None:
        self.job = job
        # By the lease and not by the job: it may be claimed again while its last slice still unwinds.
        self.lease = Lease(job.id, job.lease or "")
        self.guard: asyncio.Task[None] | None = None
        self.threads: Threads | None = None
        """Those that still ran when the slice was over; the guard waits for them, a while."""
        self.too_long: str | None = None
        """What did not end within the slice, where that came to no step's end and so costs the attempt."""
        self._handler = handler
        self._runtime = runtime
        self._store = runtime.store
        self._keeper = keeper
        self._recorder = Recorder(job, runtime.store, runtime.one, runtime.limits, self)
        self._span = None if runtime.tracing is None else runtime.tracing.attempt(job)
        self._until = _ends_at(job)
        self._window = window
        self._cut_at = None if window is None else window.ends
        self._costs = window is None or window.costs
        self._task: asyncio.Task[None] | None = None
        self._context: Context | None = None
        self._outcome: Outcome | None = None
        self._stirred: asyncio.Event | None = None
        self._turned = self._hung = False
        self._look_at: float | None = None
        self._leave_by: float | None = None

    def begin(self) -> None:
        """Call the handler and make the move it leads to. What goes wrong on the way costs the attempt, not the job."""
        run = self._run() if self._span is None else self._traced(self._span)
        self._task = asyncio.create_task(run, name=self.job.id)

    def hand_back(self) -> None:
        """The worker goes: let the steps in flight end, within its grace, and give the job back."""
        self._leave_by = self._store.now() + self._runtime.grace
        if self._context is not None:
            self._context.end_soon()
        self.stir()

    def turned(self) -> None:
        """Others left something on the job: look before anything else is done."""
        self._turned = True
        self.stir()

    def lose(self) -> None:
        """The lease could not be renewed: somebody else has the job, or soon may."""
        self._recorder.lose(self.job)

    @property
    def broken(self) -> Exception | None:
        """The error after which nothing could be said of the job any more, and its lease is left to run out."""
        lost = self._recorder.lost
        return lost if isinstance(lost, Exception) else None

    # -- the call ---------------------------------------------------------------------------------------------------

    async def _traced(self, span: Attempting) -> None:
        with span.current():
            await self._run()

    async def _run(self) -> None:
        self._observe("attempt.started")
        self._runtime.hooks.fire("started", self.job)
        self._runtime.hub.hold(self.job, self)
        rings_at = self._until if self._cut_at is None else soonest(self._until, self._cut_at)
        if rings_at is not None:
            self._runtime.alarms.ring_at(rings_at, self)
        try:
            self._outcome = await self._call()
            if self.guard is None:
                self._keeper.ending(self)
                await self._end(self._outcome)
        except Exception as error:
            # Not the handler's: nothing can be said of the job, so its lease runs out.
            self._recorder.lose(error)
        finally:
            self._runtime.alarms.call_off(self)
            if self.guard is None:
                self._close()
            else:
                self.stir()

    async def _call(self) -> Outcome:
        try:
            arguments = self._handler.decode(self.job.payload_json or "{}")
        except InvalidRequest as error:
            return self._failed("payload_invalid", str(error))
        except Exception as error:
            # Out of a validator of the user's own.
            return self._raised(error)
        # Held here as well, for the handler may outlive its slice.
        context = self._context = self._context_of(await self._recorded() if _has_past(self.job) else ())
        try:
            result = await self._handler.call(context, **arguments)
            context.replayed()
            return Returned(_within(self._handler.result, result, self._runtime.limits.result))
        except asyncio.CancelledError:
            return self._failed("handler_error", "the handler cancelled itself")
        except SystemExit as error:
            context.raised = RuntimeError(f"the handler called sys.exit({error.code!r})")
        except (Exception, BaseExceptionGroup, ContextClosed) as error:
            context.raised = error
        return self._raised(context.raised)

    async def _recorded(self) -> Sequence[Step]:
        steps = await self._store.steps(self.job.id)
        if self._window is not None:
            self._window.recorded(step.duration_ms / 1000 for step in steps if step.duration_ms is not None)
        return steps

    def _context_of(self, steps: Sequence[Step]) -> Context:
        one = self._runtime
        context = one.context(
            self._recorder, self._store, steps, one.limits, one.state, self, self._until, one.tracing, self._window
        )
        if self._leave_by is not None:
            context.end_soon()
        context.begin()
        return context

    # -- the guard --------------------------------------------------------------------------------------------------

    def stir(self) -> None:
        """Something happened that the handler alone does not settle."""
        if self._stirred is not None:
            self._stirred.set()
        elif self._task is not None and self._outcome is None:
            self._stirred = asyncio.Event()
            self._stirred.set()
            self.guard = asyncio.create_task(self._watch_over(self._task, self._stirred), name=f"guard {self.job.id}")

    async def _watch_over(self, task: "asyncio.Task[None]", stirred: asyncio.Event) -> None:
        try:
            await self._end(await self._watch(task, stirred))
        finally:
            self._close()
        await self._unwind(task)
        if self.threads:
            await self._outlive(self.threads)

    async def _watch(self, task: "asyncio.Task[None]", stirred: asyncio.Event) -> Outcome:
        ask_at: float | None = None
        while True:
            until = soonest(self._until, self._cut_at, self._leave_by, ask_at, self._look_at)
            await self._store.clock.wait(stirred, until)
            stirred.clear()
            if self._turned or (self._look_at is not None and self._look_at <= self._store.now()):
                await self._look()
            if self._recorder.lost is not None:
                return Lost()
            if self._outcome is not None:
                return self._outcome
            if self.cancel_wanted:
                await self._unwind(task)
                return Cancelled()
            now = self._store.now()
            if self._until is not None and now >= self._until:
                await self._unwind(task)
                return self._failed(*_limit(self.job))
            context = self._context
            waiting, ask_at = (None, None) if context is None else context.parking(now)
            if context is not None and waiting is not None:
                context.end_soon()
                return Parked(waiting)
            if self._leave_by is not None and (context is None or not context.busy or now >= self._leave_by):
                return HandedBack("deploy")
            if self._cut_at is not None and (now >= self._cut_at or (context is not None and context.at_boundary)):
                return HandedBack("yield", self._recorder.progressed or not self._costs)

    @property
    def cancel_wanted(self) -> bool:
        return self._recorder.job.cancel_requested_at is not None

    async def _look(self) -> None:
        self._turned, self._look_at = False, None
        try:
            job = await self._runtime.one.get(self.job.id)
        except StoreError:
            # A read that fails takes nothing from the attempt; its writes are guarded by themselves.
            self._look_at = self._store.now() + LOOK_AGAIN
        else:
            self._recorder.refresh(job if job is not None else self.job.evolve(lease=None))
            if self._context is not None:
                self._context.turned()

    async def _unwind(self, task: "asyncio.Task[None]") -> None:
        if task.done() or self._hung:
            return
        task.cancel()
        left = UNWIND if self._cut_at is None else self._cut_at - self._store.now()
        grace = min(max(left, LEAST), UNWIND)
        done, _ = await asyncio.wait({task}, timeout=grace)
        self._hung = not done
        if self._hung:
            self._observe("handler.hung", grace=round(grace))

    async def _outlive(self, threads: Threads) -> None:
        # No thread can be stopped; where the worker goes, those that hold it up until the last are let go.
        stays = UNWIND if self._leave_by is None else min(UNWIND, max(self._leave_by - self._store.now(), 0.0))
        await asyncio.wait(set(threads), timeout=stays)
        if threads and self._leave_by is None:
            self._observe("handler.hung", grace=UNWIND)

    # -- what became of it ------------------------------------------------------------------------------------------

    def _raised(self, raised: BaseException) -> Raised:
        error = decisive(raised)
        after = error.after if isinstance(error, Retry) else None
        final = isinstance(error, Fail | NotJson | LimitExceeded | SignalTimeout)
        code = (
            error.code if isinstance(error, Fail | NotJson | LimitExceeded | Retry | StepTimeout) else "handler_error"
        )
        failure = JobError(
            code=code,
            message=described(error),
            retryable=not final,
            attempt=self.job.attempt,
            at=self._store.now(),
            advice=error.advice if isinstance(error, Fail) else None,
            details=error.details if isinstance(error, Fail) else None,
        )
        return Raised(failure, after, raised)

    def _failed(self, code: str, message: str) -> Raised:
        retryable = code in ("timeout", "handler_error")
        return Raised(
            JobError(code=code, message=message, retryable=retryable, attempt=self.job.attempt, at=self._store.now())
        )

    async def _end(self, outcome: Outcome) -> None:
        try:
            change = None if isinstance(outcome, Lost) else await self._recorder.finish(self, outcome)
            self._tell(outcome, change)
            cause = outcome.cause if isinstance(outcome, Raised) else None
            if change is not None:
                self._runtime.hooks.moved(self._recorder.job, change, cause)
            if self._span is not None:
                self._span.over(self._recorder.job, change, cause)
        except Exception as error:
            self._observe("attempt.broke", error=error)

    def decide(self, job: Job[Any], outcome: Outcome) -> Change:
        """The move that an outcome makes of the job as it now is, and all that goes with it."""
        caller, report = self._runtime.caller, self._report(outcome)
        change = judge(job, outcome, self._store.now(), random())
        change = change if caller is None else caller.owing(change)
        return change if report is None else replace(change, report=report)

    def _report(self, outcome: Outcome) -> Report | None:
        """What is kept for whoever operates; nothing of a slice that neither failed nor logged."""
        lines = None if self._context is None else self._context.lines
        if lines is None and not isinstance(outcome, Raised):
            return None
        cause = outcome.cause if isinstance(outcome, Raised) else None
        return Report(
            attempt=self.job.attempt,
            worker=self.job.worker,
            traceback=None if cause is None else traceback_of(cause),
            lines=() if lines is None else lines.kept(),
            dropped=0 if lines is None else lines.dropped,
        )

    def _close(self) -> None:
        self._recorder.close()
        self._runtime.hub.release(self.job.id, self)
        if self._span is not None:
            self._span.end()
        if self._context is not None and self._context.threads:
            self.threads = self._context.threads
            self.guard = self.guard or asyncio.create_task(self._outlive(self.threads), name=f"guard {self.job.id}")
        # What refers to each other in a circle would stay until the garbage collector comes.
        self._context = self._task = None
        self._keeper.over(self)

    def _tell(self, outcome: Outcome, change: Change | None) -> None:
        self._runtime.observe.meter.ran(self.job, change, self._store.now())
        status = None if change is None else change.set.get("status")
        if change is not None and isinstance(outcome, HandedBack) and not outcome.progressed:
            self.too_long = _at(self._recorder.job)
        match outcome:
            case _ if self.broken is not None:
                self._observe("attempt.broke", error=self.broken)
            case _ if status is None:
                self._observe("lease.lost")
            case _ if status is Status.CANCELLED:
                self._observe("attempt.cancelled")
            case Returned():
                self._observe("attempt.completed")
            case Raised(error, _, cause):
                # What a handler says on purpose needs no traceback.
                shown = None if cause is None or isinstance(decisive(cause), HandlerError) else cause
                self._observe("attempt.failed", error=shown, code=error.code, message=error.message)
            case Parked(waiting):
                self._observe("attempt.parked", reason=waiting.reason)
            case HandedBack() if change is not None and status is Status.FAILED:
                error = change.set["last_error"]
                self._observe("attempt.failed", code=error.code, message=error.message)
            case HandedBack(reason):
                self._observe("attempt.handed_back", reason=reason)

    def _observe(self, happening: str, **facts: Any) -> None:
        self._runtime.observe(happening, of=self.job, **facts)


def _within(codec: Codec, result: Any, limit: int) -> str:
    text = codec.encode(result)
    if len(text.encode()) > limit:
        message = f"the result is larger than {limit} bytes; keep it elsewhere and return its address"
        raise LimitExceeded(message, code="result_too_large")
    return text


def _at(job: Job[Any]) -> str:
    """What a slice of the job was at."""
    steps = [step.name for step in job.open_steps if step.status == "running"]
    return f"step {steps[0]!r}" if steps else "what its handler does outside of steps"


def _ends_at(job: Job[Any]) -> float | None:
    """When the slice must be over."""
    timeout = _times_out_at(job)
    return timeout if job.deadline is None else job.deadline if timeout is None else min(timeout, job.deadline)


def _limit(job: Job[Any]) -> tuple[str, str]:
    """Which limit that was: its code, and in words."""
    if job.deadline is not None and job.deadline == _ends_at(job) != _times_out_at(job):
        return "deadline_exceeded", "the job's deadline passed before it ended"
    return "timeout", f"attempt {job.attempt} ran longer than its timeout of {job.timeout or 0:g} s"


def _times_out_at(job: Job[Any]) -> float | None:
    return None if job.timeout is None else (job.claimed_at or 0.0) + job.timeout - job.ran


def _has_past(job: Job[Any]) -> bool:
    return job.started_at != job.claimed_at or job.retry_of is not None
