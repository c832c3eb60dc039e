"""Calling a user's function: on the loop if it is `async def`, else in a thread of its own."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

from outlast.errors import Fail
from outlast.stores.base import Clock

Threads = dict[asyncio.Future[None], str]
"""The threads that still run, also those that nobody waits for any more: what tells the end of each, and its name."""


async def called(fn: Callable[..., Any], args: Any, kwargs: Any, threads: Threads | None = None) -> Any:
    """What the function returns. A `def` function sees the caller's context variables."""
    if is_async(fn):
        return await fn(*args, **kwargs)
    value = await in_thread(fn, args, kwargs, threads)
    return await value if inspect.isawaitable(value) else value


def is_async(fn: Callable[..., Any]) -> bool:
    """True for `async def`, also as the `__call__` of an object."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


async def in_thread(fn: Callable[..., Any], args: Any, kwargs: Any, threads: Threads | None = None) -> Any:
    """Run the function in a thread of its own, so that none waits for another's, and no exit waits for it.

    Whoever stops waiting does not stop the thread; it stays among `threads` until its end.
    """
    running: Threads = {} if threads is None else threads
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    ended: asyncio.Future[None] = loop.create_future()
    context = copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        del running[ended]
        ended.set_result(None)
        if not future.done():
            future.set_result(value) if error is None else future.set_exception(error)

    def run() -> None:
        value: Any = None
        failure: BaseException | None = None
        try:
            value = context.run(fn, *args, **kwargs)
        except StopIteration as error:  # no future takes it
            failure = RuntimeError("the function raised StopIteration")
            failure.__cause__ = error
        except BaseException as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, failure)

    running[ended] = getattr(fn, "__name__", "step")
    threading.Thread(target=run, name=f"outlast {running[ended]}", daemon=True).start()
    return await future


class OutOfTime(Exception):
    """A call took longer than it was given."""


async def within(timeout: float, calling: Coroutine[Any, Any, Any], clock: Clock) -> Any:
    """Await a call, at most for so many seconds of this clock; then cancel it, see it out, and raise OutOfTime."""
    over = asyncio.Event()
    body = asyncio.create_task(_settled(calling))
    body.add_done_callback(lambda done: over.set())
    try:
        in_time = await clock.wait(over, clock.now() + timeout)
    finally:
        body.cancel()
        await asyncio.wait({body})
    if not in_time:
        raise OutOfTime
    value, error = body.result()
    if error is not None:
        raise error
    return value


async def _settled(calling: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    """The outcome as a value: what leaves the interpreter would go past the caller of a task, into the event loop."""
    try:
        return await calling, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


def not_callable(name: str, thing: object) -> Fail:
    """What to say of a step that is no function: mostly it was called too early."""
    if inspect.iscoroutine(thing):
        thing.close()
        return Fail(
            f"step {name!r} was given a coroutine; pass the function and its arguments: ctx.step(name, fn, *args)"
        )
    return Fail(f"step {name!r} was given {type(thing).__name__}, which is no function")
