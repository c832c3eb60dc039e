"""What was made lately, kept for others who ask for the same a moment later."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Lately(Generic[T]):
    """The last so many things that were made, each under its key, and those that are being made."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    async def made(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What was made under the key, or is now. Who goes away leaves it to the others; an error is all of theirs."""
        task = self._tasks.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._tasks[key] = asyncio.get_running_loop().create_task(make())
            # Looked at here too, for all who waited for it may have gone.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            if len(self._tasks) > self._most:
                del self._tasks[next(iter(self._tasks))]
        return task.result() if task.done() else await asyncio.shield(task)
