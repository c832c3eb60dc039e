"""An event loop in a thread of its own, for code that has none: a view of Flask or Django, a script, a shell."""

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable
from concurrent import futures
from typing import TypeVar

from outlast.errors import ConfigurationError, StoreUnavailable

T = TypeVar("T")


class Aside:
    """Runs what is awaited for callers that block, from any number of threads at once."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._begun: futures.Future[asyncio.AbstractEventLoop] = futures.Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="outlast-aside", daemon=True)
        self._thread.start()
        self.loop = self._begun.result()

    def result(self, awaitable: Awaitable[T]) -> T:
        """What the awaitable gives, or raises. Raises StoreUnavailable if the app is closed before it is done."""
        if os.getpid() != self._pid:
            raise ConfigurationError("app.sync was used before a fork; use it only in the process that goes on with it")
        call = asyncio.run_coroutine_threadsafe(_awaited(awaitable), self.loop)
        try:
            return call.result()
        except futures.CancelledError:
            raise StoreUnavailable("the app was closed before this was done; its outcome is unknown") from None
        except BaseException:
            # Ctrl-C ends the wait, and with it the call.
            call.cancel()
            raise

    def stop(self) -> None:
        """End the thread; what still runs is cancelled."""
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._until_over())

    async def _until_over(self) -> None:
        self._begun.set_result(asyncio.get_running_loop())
        await self._over.wait()


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def require_no_loop(awaitable: object) -> None:
    """Raise unless this is something to await, in a thread that may block for it."""
    if not inspect.isawaitable(awaitable):
        kind = type(awaitable).__name__
        raise TypeError(f"app.sync takes what you would await, such as app.get(id), and {kind} is none")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if inspect.iscoroutine(awaitable):
        awaitable.close()
    raise ConfigurationError("app.sync would block the event loop that runs here; await the call itself")
