"""What a handler holds while it runs: step, attachment, progress, write, log, usage, sleep, wait_for, remaining.

One Context serves one slice. It remembers which recorded steps the handler has passed again, and stays silent until the
handler is where it was. When the slice is to end while the handler waits (a sleep, a signal, a yield, a deploy), the
call that waits never returns: the attempt sees `ending()`, commits the hand-back, and only then cancels the handler.
"""

import asyncio
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence, Set
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from math import inf, isfinite
from random import random
from time import monotonic
from typing import Any, Literal, NoReturn, ParamSpec, TypeVar, overload

from outlast import attachments, codec
from outlast.activity import Activity, Stirred
from outlast.attachments import Attachment
from outlast.calls import OutOfTime, Threads, called, not_callable, within
from outlast.errors import ContextClosed, Fail, HandlerError, LimitExceeded, SignalTimeout, StepTimeout
from outlast.job import Job, Step, Waiting
from outlast.notation import clean
from outlast.policy import Duration, Limits, seconds
from outlast.recorder import Recorder
from outlast.replay import NONE, TIMED_OUT, Frame, Replay, digest_of
from outlast.steps import Steps
from outlast.stores.base import Store
from outlast.tracing import Tracing
from outlast.tries import Tries, asked
from outlast.window import Window, pauses_by
from outlast.words import Lines

P = ParamSpec("P")
T = TypeVar("T")

IN_PLACE = 5.0
"""A sleep of up to so many seconds is slept where it is; a longer one parks the job."""

WORDS = 8192
"""Characters of a message or log line; what is longer is cut."""


_current: ContextVar["Context | None"] = ContextVar("outlast_context", default=None)
_frame: ContextVar[Frame | None] = ContextVar("outlast_step", default=None)


class Context:
    """The handler's first argument; also `Context.current()` within the handler, its steps and their threads.

    A `def` handler gets the same with verbs that block: `SyncContext`.
    """

    def __init__(
        self,
        recorder: Recorder,
        store: Store,
        steps: Sequence[Step],
        limits: Limits,
        state: Any,
        stirred: Stirred,
        until: float | None,
        tracing: Tracing | None = None,
        window: Window | None = None,
    ) -> None:
        self.state = state
        self.lines: Lines | None = None
        self.threads: Threads = {}
        self._recorder = recorder
        self._store = store
        self._limits = limits
        self._stirred = stirred
        self._until = until
        self._tracing = tracing
        self._window = window
        self._replay = Replay(steps, recorder, limits.steps)
        self._activity = Activity(store.clock, stirred)
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._main = 0
        self._no_more_steps = self._at_boundary = False
        self.raised: BaseException | None = None
        """What the handler raised, once it has."""
        self._blocking: Context | None = None
        self._pauses: Set[asyncio.Event] = NONE
        self._abandoned: Set[Frame] = NONE

    @staticmethod
    def current() -> "Context | None":
        """The Context of the handler or step this code runs in; None outside of any.

        In the threads of a `def` handler it is the one that blocks, in its `async def` steps the one to await.
        """
        context = _current.get()
        if context is None or context._blocking is None or threading.get_ident() == context._thread:
            return context
        return context._blocking

    @staticmethod
    def of_slice() -> "Context | None":
        """The one Context of the slice this code runs in, in its threads too; None outside of any."""
        return _current.get()

    @property
    def job(self) -> Job[Any]:
        """The job as this slice knows it."""
        return self._recorder.job

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1 on."""
        return self._recorder.job.attempt

    @property
    def key(self) -> str:
        """Job and current step in one word, to pass to a provider as its idempotency key.

        It is the same in every attempt, and in a retry by hand that of the first job. 64 characters of hex at most.
        """
        frame = _frame.get()
        job = self.job.origin or self.job.id
        return hashlib.sha256(f"{job}/{frame.key if frame else ''}".encode()).hexdigest()

    # -- steps ------------------------------------------------------------------------------------------------------

    @overload
    async def step(self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    async def step(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call `fn(*args, **kwargs)` once in the life of the job, and remember what it returns.

        A later attempt or slice that comes here with equal arguments gets the remembered value without a call. The
        value passes through JSON and the return annotation of `fn` on the first run too. What raises is not
        remembered. A `def` function runs in a thread.

        Parameters
        ----------
        name: shown to people; 1 to 128 characters.
        fn: `async def` or `def`.
        args, kwargs: JSON values, models, dataclasses; a Context among them is not compared.

        Raises NotJson if arguments or result cannot be written as JSON, LimitExceeded beyond the caps.
        """
        return await self._step(name, fn, args, kwargs, None)

    def options(
        self,
        *,
        retries: int = 0,
        timeout: Duration | None = None,
        backoff: Duration | tuple[Duration, Duration] = 1.0,
    ) -> Steps:
        """How the steps that follow are tried: `await ctx.options(retries=2, timeout="30s").step("name", fn, *args)`.

        A step is remembered under the same key with and without options. `Fail` and what Outlast itself raises are not
        tried again; `Retry(after=...)` says when. What a failed try wrote is taken back.

        Parameters
        ----------
        retries: tries after the first, within this attempt, 0 to 100.
        timeout: of one try, a duration. An `async def` is cancelled; the thread of a `def` is left behind, and what it
            still does changes nothing.
        backoff: the pause before the first retry, doubled each time, with chance in it; or a pair of that and the
            longest pause (otherwise 1 min).

        Raises ValueError for what cannot be meant. The step raises StepTimeout when its last try ran out of time, and
        what a try raised if the pause after it would outlast the attempt, or a slice that nothing else was recorded in.
        """
        return Steps(self, asked(retries, timeout, backoff, self._limits))

    async def _step(self, name: str, fn: Callable[..., Any], args: Any, kwargs: Any, tries: Tries | None) -> Any:
        self._require_open(name)
        if not callable(fn):
            raise not_callable(name, fn)
        await self._recorder.room()
        frame = self._enter(name, digest_of(name, (args, kwargs), Context))
        result = codec.returned(fn, f"the result of step {name!r}")
        remembered = self._replay.known(frame)
        if remembered is not None and remembered.status == "completed":
            return result.decode(remembered.value or "null")
        if frame.parent is None and self.should_yield():
            self.end_soon()
            await self._never()
        if tries is not None:
            return await self._tried(frame, fn, args, kwargs, result, tries)
        return await self._run(frame, fn, args, kwargs, result, None)

    async def _tried(
        self, frame: Frame, fn: Callable[..., Any], args: Any, kwargs: Any, result: codec.Codec, tries: Tries
    ) -> Any:
        with self._activity:
            while True:
                try:
                    return await self._run(frame, fn, args, kwargs, result, tries.timeout)
                except Exception as error:
                    pause = tries.pause(frame.number, error, random())
                    latest = pauses_by(self._until, self._window, self._recorder.progressed)
                    if pause is None or self._store.now() + pause >= latest:
                        raise
                await self._recorder.take_back(frame.index, self._replay.again(frame))
                if not await self._paused(pause, frame):
                    break
                frame = replace(frame, number=frame.number + 1)
        return await self._never()

    async def _paused(self, pause: float, frame: Frame) -> bool:
        """False if the slice is to end instead. A step within another goes on with that one, which has its grace."""
        cut = asyncio.Event()
        if frame.parent is None:
            self._pauses |= {cut}
        try:
            if frame.parent is not None or not self._no_more_steps:
                await self._store.clock.wait(cut, self._store.now() + pause)
        finally:
            self._pauses -= {cut}
        return frame.parent is not None or not self._no_more_steps

    async def _run(
        self, frame: Frame, fn: Callable[..., Any], args: Any, kwargs: Any, result: codec.Codec, timeout: float | None
    ) -> Any:
        parent = frame.parent.index if frame.parent else None
        step = Step(key=frame.key, name=frame.name, index=frame.index, status="running", attempt=self.attempt)
        began, begins = monotonic(), self._store.now()
        self._recorder.opened(step, parent)
        with self._activity:
            inside = _frame.set(frame)
            try:
                calling = called(fn, args, kwargs, self.threads)
                if self._tracing:
                    calling = self._tracing.step(self.job, frame.name, calling)
                value = await (calling if timeout is None else self._in_time(calling, timeout, frame))
                text = self._measured(result.encode(value), frame.name)
            except SystemExit as error:
                self._recorder.broke(step, parent)
                raise RuntimeError(f"step {frame.name!r} called sys.exit({error.code!r})") from error
            except BaseException:
                self._recorder.broke(step, parent)
                raise
            finally:
                _frame.reset(inside)
            done = replace(step, status="completed", value=text, duration_ms=round((monotonic() - began) * 1000))
            await self._recorder.record(done, parent)
            if frame.parent is not None:
                self._replay.remember(done)
            elif self._window is not None:
                self._window.took(self._store.now() - begins)
        return result.decode(text)

    async def _in_time(self, calling: Coroutine[Any, Any, Any], timeout: float, frame: Frame) -> Any:
        try:
            return await within(timeout, calling, self._store.clock)
        except OutOfTime:
            self._abandoned |= {frame}
            raise StepTimeout(frame.name, timeout) from None

    def _enter(self, name: str, arguments: str) -> Frame:
        if not isinstance(name, str) or not 1 <= len(name) <= self._limits.name:
            raise ValueError(f"a step's name is text of 1 to {self._limits.name} characters")
        return self._replay.enter(name, arguments, _frame.get())

    def _measured(self, text: str, name: str) -> str:
        if len(text.encode()) > self._limits.step:
            detail = (
                f"step {name!r} returned more than {self._limits.step} bytes; keep it elsewhere, return its address"
            )
            raise LimitExceeded(detail, code="result_too_large")
        return text

    async def attachment(self, reference: str) -> Attachment:
        """The bytes that a string of the payload names, `attachment:sha256:...`, and their media type.

        Raises Fail with code `payload_invalid` if the job's owner has no such attachment.
        """
        self._require_open("attachment")
        with self._activity:
            found = await attachments.read(self._store, self.job.owner, reference)
        if found is None:
            raise Fail(f"there is no attachment {reference[:90]!r} of this owner", code="payload_invalid")
        return found

    # -- what is shown while it runs --------------------------------------------------------------------------------

    def progress(self, percent: float, message: str | None = None) -> None:
        """How far the job is.

        Parameters
        ----------
        percent: 0 to 100; within an attempt it never goes back.
        message: what is being done; None keeps the last one.

        Raises ValueError for anything else.
        """
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
            raise ValueError(f"progress is a number from 0 to 100, not {percent!r}")
        shown = None if message is None else clean(message, WORDS)
        self._on_loop(lambda: self._recorder.progress(percent, shown))

    def write(self, text: str, channel: str = "text") -> None:
        """Append text to a channel that readers follow live. Returns at once; it is sent within 50 ms or 4 KB."""
        if not isinstance(text, str):
            raise TypeError(f"write takes text, not {type(text).__name__}")
        self._limits.require_name(channel, "a channel")
        if not text:
            return
        frame = _frame.get()
        shown = clean(text, len(text))
        self._on_loop(lambda: self._recorder.write(shown, channel, frame.index if frame else None))

    def log(self, message: str, level: Literal["debug", "info", "warning", "error"] = "info") -> None:
        """Add a line to the job's log, for whoever may read the job."""
        shown = clean(message, WORDS)
        self._on_loop(lambda: self._recorder.log(shown, level))

    def usage(self, *, input_tokens: int = 0, output_tokens: int = 0, cost: float = 0.0) -> None:
        """Add what was really spent; `cost` in US dollars. All attempts are summed up.

        Call it within the step that spent it: what the handler itself reports is reported again after each wait.
        """
        spent = {"inputTokens": int(input_tokens), "outputTokens": int(output_tokens), "costUsd": float(cost)}
        if not all(isfinite(amount) and amount >= 0 for amount in spent.values()):
            raise ValueError("usage is finite and not negative")
        self._on_loop(lambda: self._recorder.usage({name: n for name, n in spent.items() if n}))

    # -- waiting ----------------------------------------------------------------------------------------------------

    async def sleep(self, duration: str | float | timedelta) -> None:
        """Sleep; beyond 5 s the job parks and holds no worker. A duration is seconds, a timedelta or `2h`.

        What was slept before a step that is remembered is not slept again by another slice or attempt, up to the time
        since the job first began.

        Raises ValueError beyond 365 days, and HandlerError within a step, beyond 5 s.
        """
        time = self._duration(duration)
        self._require_open("sleep")
        if time <= IN_PLACE:
            with self._activity:
                await self._sleep_here(await self._replay.pause(time))
            return
        step = await self._begun("sleep", time)
        while step.status != "completed" and self._store.now() < (step.due or 0.0):
            await self._wait(step, Waiting(reason="sleep", until=step.due))
        if step.status != "completed":
            await self._recorder.record(replace(step, status="completed", value="null"))

    async def _sleep_here(self, seconds: float) -> None:
        await self._store.clock.wait(asyncio.Event(), self._store.now() + seconds)

    async def wait_for(self, signal: str, timeout: str | float | timedelta | None = None) -> Any:
        """Wait for a signal and take its value out of the job's inbox; meanwhile the job parks and holds no worker.

        Parameters
        ----------
        signal: its name; signals of one name are taken first in, first out.
        timeout: seconds, a timedelta or `2d`; None waits for ever. An `asyncio.timeout` around the call is no use, for
            the call does not return before the job has parked.

        Raises SignalTimeout when the time is over, in every later attempt too; HandlerError within a step; ValueError
        for a name that no signal can have.
        """
        self._require_open("wait_for")
        self._limits.require_name(signal, "a signal")
        step = await self._begun(f"wait_for {signal}", None if timeout is None else self._duration(timeout))
        while step.status != "completed":
            step = await self._signal_or_due(step, signal)
        outcome = json.loads(step.value or TIMED_OUT)
        if "value" not in outcome:
            raise SignalTimeout(signal)
        return outcome["value"]

    async def _signal_or_due(self, step: Step, signal: str) -> Step:
        self._activity.changed.clear()
        taken = await self._recorder.take(signal, step) if signal in self.job.inbox else None
        if taken is not None:
            return taken
        if step.due is not None and step.due <= self._store.now():
            done = replace(step, status="completed", value=TIMED_OUT)
            await self._recorder.record(done)
            return done
        await self._wait(step, Waiting(reason="signal", until=step.due, signals=(signal,)))
        return step

    async def _begun(self, name: str, time: float | None) -> Step:
        if _frame.get() is not None:
            raise HandlerError(f"{name}: a step cannot wait, for it holds its worker; wait in the handler itself")
        frame = self._enter(name, "-")
        step = self._replay.known(frame)
        if step is None:
            due = None if time is None else self._store.now() + time
            step = Step(key=frame.key, name=name, index=frame.index, status="waiting", due=due, attempt=self.attempt)
            await self._recorder.record(step)
        return step

    async def _wait(self, step: Step, waiting: Waiting) -> None:
        self._activity.begins(step.key, waiting, alone=id(asyncio.current_task()) == self._main)
        try:
            await self._store.clock.wait(self._activity.changed, waiting.until)
            self._activity.changed.clear()
        finally:
            self._activity.ends(step.key)
        if self._no_more_steps:
            # The park is being committed: what came in this moment is for the next slice.
            await self._never()

    # -- time -------------------------------------------------------------------------------------------------------

    def remaining(self) -> float | None:
        """Seconds this attempt, or this slice of it, may still run; None without a limit of either."""
        ends = self._until if self._window is None else min(self._until or inf, self._window.ends)
        return None if ends is None else max(ends - self._store.now(), 0.0)

    def should_yield(self) -> bool:
        """True once the slice should end; the next `ctx.step` then hands the job back by itself."""
        closed = self._window is not None and self._store.now() >= self._window.closes
        return self._no_more_steps or closed

    # -- for the attempt --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The task that calls this is the handler's own, and sees this Context as the current one."""
        _current.set(self)
        if _frame.get() is not None:
            _frame.set(None)
        # Not the task itself: it holds its variables, and they this, which would be a circle.
        self._main = id(asyncio.current_task())

    def end_soon(self) -> None:
        """No step begins any more, and none is tried again."""
        self._no_more_steps = True
        self._activity.end_soon()
        for cut in self._pauses:
            cut.set()

    def turned(self) -> None:
        """Something was left on the job: whoever waits looks again, and nothing parks before they have."""
        self._activity.turned()

    def replayed(self) -> None:
        """The handler has returned: what it did not write again is taken back."""
        for name in self._replay.called_otherwise():
            self.log(f"step {name!r} was called with other arguments than before, so it ran again", "warning")
        self._replay.over()

    def is_of(self, store: Store) -> bool:
        """True if the job lies in this very store."""
        return self._store is store

    @property
    def busy(self) -> bool:
        """True while a step runs or is being recorded."""
        return self._activity.busy

    @property
    def at_boundary(self) -> bool:
        """True once the handler wants a step that is not to begin any more, and those in flight are recorded."""
        return self._at_boundary and not self.busy

    def parking(self, now: float) -> tuple[Waiting | None, float | None]:
        """What the job should park for now, if it should; else when to ask again."""
        return self._activity.parking(now)

    def _duration(self, duration: str | float | timedelta) -> float:
        time = seconds(duration)
        if time > self._limits.delay:
            raise ValueError(f"{duration!r} is longer than {self._limits.delay / 86400:g} days")
        return time

    def _require_open(self, name: str) -> None:
        if self._recorder.closed or self._recorder.lost is not None:
            raise ContextClosed(f"{name}: the slice is over; nothing is recorded any more")
        if self._is_late():
            raise ContextClosed(f"{name}: its step ran out of time; nothing that it still does is recorded")

    def _is_late(self) -> bool:
        """True in a step that was given up, and in what it called."""
        frame = _frame.get() if self._abandoned else None
        return frame is not None and frame.is_within(self._abandoned)

    async def _never(self) -> NoReturn:
        self._at_boundary = True
        self._stirred.stir()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    def _on_loop(self, call: Callable[[], None]) -> None:
        if threading.get_ident() == self._thread:
            call()
        elif self._is_late():
            self._require_open("a thread")
        else:
            # With the variables of the thread, whose step may run out of time before this is called.
            self._loop.call_soon_threadsafe(lambda: None if self._is_late() else call())
