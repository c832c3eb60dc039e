"""What a `def` handler holds: the verbs of Context, each of which blocks its thread until the event loop has done it.

There is no second core: a call goes to the loop as a task of the one Context, with the caller's context variables, and
the thread waits for it. Once the slice is over, every call raises ContextClosed, also one that is waiting then, so that
the thread unwinds; nothing that it does meanwhile changes anything.
"""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent import futures
from functools import wraps
from typing import Any, ParamSpec, TypeVar, overload

from outlast.attachments import Attachment
from outlast.calls import in_thread
from outlast.context import Context
from outlast.errors import ContextClosed, Fail, HandlerError
from outlast.policy import Duration
from outlast.tries import Tries, asked

P = ParamSpec("P")
T = TypeVar("T")


class SyncContext(Context):
    """The first argument of a `def` handler, and `Context.current()` in its threads: Context, with verbs that block.

    Its verbs may be called from several threads at once. After a timeout, a cancel, a lost lease or a hand-back each
    raises ContextClosed.
    """

    def __init__(self, context: Context) -> None:
        self.state = context.state
        self.threads = context.threads
        self._recorder = context._recorder
        self._limits = context._limits
        self._context = context
        self._own: int | None = None
        self._calls: set[asyncio.Task[Any]] = set()
        self._over = False
        context._blocking = self

    @staticmethod
    def current() -> "SyncContext | None":
        """The Context of the `def` handler this code runs in; None outside of any, and in an `async def` step."""
        context = Context.current()
        return context if isinstance(context, SyncContext) else None

    @overload  # type: ignore[override]  # the same verbs, which block
    def step(self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    def step(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """`Context.step`, blocking. An `async def` step runs on the worker's event loop."""
        return self._done(self._context.step, name, fn, *args, **kwargs)

    def options(  # type: ignore[override]
        self,
        *,
        retries: int = 0,
        timeout: Duration | None = None,
        backoff: Duration | tuple[Duration, Duration] = 1.0,
    ) -> "SyncSteps":
        """`Context.options`, for steps that block."""
        return SyncSteps(self, asked(retries, timeout, backoff, self._limits))

    def attachment(self, reference: str) -> Attachment:  # type: ignore[override]
        """`Context.attachment`, blocking."""
        return self._done(self._context.attachment, reference)

    def sleep(self, duration: Duration) -> None:  # type: ignore[override]
        """`Context.sleep`, blocking: beyond 5 s the job parks, and its handler is called anew afterwards."""
        self._done(self._context.sleep, duration)

    def wait_for(self, signal: str, timeout: Duration | None = None) -> Any:
        """`Context.wait_for`, blocking: meanwhile the job parks, and its handler is called anew afterwards."""
        return self._done(self._context.wait_for, signal, timeout)

    def remaining(self) -> float | None:
        """Seconds this attempt, or this slice of it, may still run; None without a limit of either."""
        return self._open().remaining()

    def should_yield(self) -> bool:
        """True once the slice should end; the next `ctx.step` then hands the job back by itself."""
        return self._open().should_yield()

    # -- the way to the loop ----------------------------------------------------------------------------------------

    def _on_loop(self, call: Callable[[], None]) -> None:
        self._open()._on_loop(call)

    def _done(self, verb: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        context, thread = self._open(), threading.get_ident()
        if thread == context._thread:
            raise HandlerError("this Context blocks, which an `async def` must not; in it, use Context.current()")
        task = self._call(thread == self._own, verb, args, kwargs)
        try:
            return asyncio.run_coroutine_threadsafe(task, context._loop).result()
        except futures.CancelledError:
            raise _closed() if self._over else asyncio.CancelledError from None

    async def _call(self, own: bool, verb: Callable[..., Awaitable[T]], args: Any, kwargs: Any) -> T:
        context, task = self._open(), asyncio.current_task()
        assert task is not None
        if own:
            # The handler itself waits, so the job may park at once.
            context._main = id(task)
        self._calls.add(task)
        try:
            return await verb(*args, **kwargs)
        finally:
            self._calls.discard(task)
            if own:
                context._main = 0

    def _open(self) -> Context:
        if self._over:
            raise _closed()
        self._context._require_open("a thread")
        return self._context

    async def close(self) -> None:
        """The handler has returned, or the slice is over: what still waits for the loop hears of it."""
        self._over = True
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)


class SyncSteps:
    """What `ctx.options(...)` gives in a `def` handler: steps that are tried so often, and for so long."""

    def __init__(self, context: SyncContext, tries: Tries) -> None:
        self._context = context
        self._tries = tries

    @overload
    def step(self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    def step(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    def step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function once in the life of the job; see `Context.step` and `Context.options`."""
        return self._context._done(self._context._context._step, name, fn, args, kwargs, self._tries)


def blocking(fn: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A `def` handler as one to await: each call in a thread of its own, left behind when it is cancelled."""

    async def call(context: Context, /, **arguments: Any) -> Any:
        ctx = SyncContext(context)

        @wraps(fn)
        def begun(**arguments: Any) -> Any:
            ctx._own = threading.get_ident()
            return fn(ctx, **arguments)

        try:
            return _plain(await in_thread(begun, (), arguments, context.threads))
        finally:
            await ctx.close()

    return call


def _plain(result: Any) -> Any:
    if inspect.iscoroutine(result):
        result.close()
        raise Fail("the `def` handler returned a coroutine; a handler that awaits is an `async def`")
    return result


def _closed() -> ContextClosed:
    return ContextClosed("the slice is over; nothing that this handler still does is recorded")
