"""News of what other processes wrote, by a counter that every writer raises and every listener looks at.

Both are off the write path: however much is written, a process raises the counter once at a time, and a listener looks
often only for a second after news. What is lost with them is a moment: workers and feeds look by themselves every 5 s.
"""

import asyncio
import contextlib
import random
import time

from pymongo.errors import PyMongoError

from outlast.stores.base import Listeners, News
from outlast.stores.mongo_server import META, Database

IDLE, AWAKE, AWAKE_FOR = 0.250, 0.010, 1.0
"""Seconds between two looks: at most, and for how long after news at least."""

GROWS = 1.5
COUNTER = {"_id": "news"}


class Newscast:
    """Raises the counter for this store's writes, and looks at it for its listeners."""

    def __init__(self, database: Database, listeners: Listeners) -> None:
        self._meta, self._listeners = database[META], listeners
        self._seen = 0
        self._at_once = asyncio.Lock()
        self._written, self._over = asyncio.Event(), asyncio.Event()
        self._unannounced = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._seen = await self._count()
        self._tasks = [asyncio.create_task(self._announce()), asyncio.create_task(self._look())]

    async def stop(self) -> None:
        """What was written and not announced yet is announced."""
        self._over.set()
        self._written.set()
        await asyncio.gather(*self._tasks)

    def tell(self, news: News) -> None:
        """To our own listeners now, to other processes in a moment."""
        self._listeners.tell(news)
        self._unannounced = True
        self._written.set()

    async def _announce(self) -> None:
        while not self._over.is_set():
            await self._written.wait()
            self._written.clear()
            with contextlib.suppress(PyMongoError):
                await self._raise()
            await self._pause(AWAKE)

    async def _raise(self) -> None:
        if not self._unannounced:
            return
        self._unannounced = False
        async with self._at_once:
            after = await self._meta.find_one_and_update(COUNTER, {"$inc": {"n": 1}}, upsert=True, return_document=True)
            # Any other number holds news of others, which the next look will tell.
            if after is not None and after["n"] == self._seen + 1:
                self._seen += 1

    async def _look(self) -> None:
        pause, heard = IDLE, float("-inf")
        while not self._over.is_set():
            if self._listeners:
                with contextlib.suppress(PyMongoError):
                    if await self._has_news():
                        heard = time.monotonic()
                        self._listeners.tell(News(None, ready=True))
            pause = AWAKE if time.monotonic() - heard < AWAKE_FOR else min(pause * GROWS, IDLE)
            await self._pause(pause * random.uniform(0.8, 1.2))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()

    async def _has_news(self) -> bool:
        async with self._at_once:
            before, self._seen = self._seen, await self._count()
        return self._seen != before

    async def _count(self) -> int:
        counter = await self._meta.find_one(COUNTER)
        return int(counter["n"]) if counter else 0
