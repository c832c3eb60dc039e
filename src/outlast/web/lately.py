"""What was made lately, kept for others who ask for the same a moment later."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Lately(Generic[T]):
    """The last so many things that were made, each under its key, and those that are being made."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[Hashable, T] = {}
        self._coming: dict[Hashable, asyncio.Task[T]] = {}

    def made(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made under the key, or is now."""
        known = self._known.get(key)
        return self._kept(key, make()) if known is None else known

    async def awaited(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The same of what takes its time. Who goes away leaves it to the others; an error is all of theirs."""
        known = self._known.get(key)
        if known is not None:
            return known
        task = self._coming.get(key)
        if task is None:
            task = self._coming[key] = asyncio.get_running_loop().create_task(make())
            task.add_done_callback(lambda task: self._came(key, task))
        return await asyncio.shield(task)

    def _came(self, key: Hashable, task: "asyncio.Task[T]") -> None:
        del self._coming[key]
        # An error is looked at here too, for all who waited for it may have gone.
        if not task.cancelled() and task.exception() is None:
            self._kept(key, task.result())

    def _kept(self, key: Hashable, made: T) -> T:
        self._known[key] = made
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        return made
