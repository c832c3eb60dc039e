"""An event loop in a thread of its own, where the store's one client lives.

PyMongo's client belongs to the loop it was made on, while a store takes calls from any. So each call is carried over to
this loop; a caller that goes away does not stop its call.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from concurrent import futures
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from outlast.errors import ConfigurationError, StoreUnavailable

T = TypeVar("T")


class LoopThread:
    """The thread; it runs from the start until `stop`."""

    def __init__(self, name: str) -> None:
        self._pid = os.getpid()
        self._shut = False
        self._calls: set[asyncio.Task[Any] | None] = set()
        self._begun: futures.Future[asyncio.AbstractEventLoop] = futures.Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._until_over()), name=name, daemon=True)
        self._thread.start()
        self._loop = self._begun.result()

    async def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the coroutine gives or raises, run on the thread's loop."""
        if os.getpid() != self._pid:
            raise ConfigurationError("this store was opened before a fork; open one in the process that uses it")
        if self._shut:
            raise StoreUnavailable("the store is closed")
        return await self._carried(make)

    async def _carried(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        call = asyncio.run_coroutine_threadsafe(self._counted(make), self._loop)
        answer = asyncio.wrap_future(call)
        # The caller may go away; then its error is nobody's.
        answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if call.cancelled():
                raise StoreUnavailable("the store was closed before this was done; its outcome is unknown") from None
            raise

    async def _counted(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = asyncio.current_task()
        self._calls.add(task)
        try:
            return await make()
        finally:
            self._calls.discard(task)

    async def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let every call come to its end, run one last coroutine, end the thread."""
        if not self._shut:
            self._shut = True
            try:
                await self._carried(lambda: self._wind_up(last))
            finally:
                self._loop.call_soon_threadsafe(self._over.set)
        while self._thread.is_alive():
            await asyncio.sleep(0.001)

    async def _wind_up(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        others = [task for task in self._calls if task is not None and task is not asyncio.current_task()]
        await asyncio.gather(*others, return_exceptions=True)
        await last()

    async def _until_over(self) -> None:
        self._begun.set_result(asyncio.get_running_loop())
        await self._over.wait()


class Turnstile:
    """One call at a time for each job, in the order in which they came.

    Of several that change one job at once all but one would be decided anew, and one that nobody waits for any more
    would come through at some later time.
    """

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def alone(self, ids: Collection[str]) -> AsyncIterator[None]:
        # All in one order, so that no two calls wait for each other.
        held: list[str] = []
        for id in ids:
            self._users[id] = self._users.get(id, 0) + 1
        try:
            for id in sorted(ids):
                await self._locks.setdefault(id, asyncio.Lock()).acquire()
                held.append(id)
            yield
        finally:
            for id in held:
                self._locks[id].release()
            for id in ids:
                self._leave(id)

    def _leave(self, id: str) -> None:
        self._users[id] -= 1
        if not self._users[id]:
            del self._users[id]
            self._locks.pop(id, None)
