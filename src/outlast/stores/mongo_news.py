"""News of what other processes wrote: by the server's change stream, or by a counter where it has none.

The counter is raised by every writer and looked at by every listener, both off the write path: however much is written,
a process raises it once at a time, and looks often only for a second after news. What a lost piece of news costs is a
moment: workers and feeds look by themselves every 5 s.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable, Mapping
from typing import Any

from pymongo import WriteConcern
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from outlast.stores.base import Listeners, News
from outlast.stores.mongo_server import JOBS, META, Database, Found

IDLE, AWAKE, AWAKE_FOR = 0.100, 0.010, 1.0
"""Seconds between two looks: at most, and for how long after news at least."""

GROWS = 1.5
GATHERED = 0.005
"""Seconds for which news of a change stream gathers."""

AWAITS = 0.250
"""Seconds for which the server may keep a change stream waiting; as long, the store may take to close."""

AGAIN = 1.0
"""Seconds until a change stream that broke is opened again."""

OWN = 10_000
COUNTER = {"_id": "news"}

_STREAMED = [
    {
        "$project": {
            "operationType": 1,
            "documentKey": 1,
            "fullDocument.rev": 1,
            "fullDocument.tag": 1,
            "updateDescription.updatedFields.rev": 1,
            "updateDescription.updatedFields.tag": 1,
        }
    }
]


class Newscast:
    """What the two have in common: our own listeners hear of our own writes at once."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self._over.set()
        await asyncio.gather(*self._tasks)

    def write(self, revs: Iterable[str]) -> None:
        """Called before these revisions are written."""

    def tell(self, news: News) -> None:
        """Called after a write."""
        self._listeners.tell(news)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()


def newscast(database: Database, listeners: Listeners, found: Found) -> Newscast:
    return Stream(database, listeners) if found.is_replicated else Counter(database, listeners)


class Stream(Newscast):
    """Names each job that others write to, a few milliseconds later."""

    def __init__(self, database: Database, listeners: Listeners) -> None:
        super().__init__(listeners)
        # A server streams only what a majority has.
        self._jobs = database[JOBS].with_options(read_concern=ReadConcern("majority"))
        self._own: dict[str, None] = {}
        self._ids: set[str] = set()
        self._ready = False

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._watch())]

    def write(self, revs: Iterable[str]) -> None:
        self._own.update(dict.fromkeys(revs))
        while len(self._own) > OWN:
            del self._own[next(iter(self._own))]

    async def _watch(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(PyMongoError):
                async with await self._jobs.watch(_STREAMED, max_await_time_ms=round(AWAITS * 1000)) as stream:
                    # Whatever came while nobody watched.
                    self._listeners.tell(News(None, ready=True))
                    while not self._over.is_set():
                        if (change := await stream.try_next()) is not None:
                            self._hear(change)
                        else:
                            await self._pause(GATHERED)
            await self._pause(AGAIN)

    def _hear(self, change: Mapping[str, Any]) -> None:
        described = change.get("updateDescription") or {}
        written = change.get("fullDocument") or described.get("updatedFields") or {}
        rev = written.get("rev")
        if rev in self._own:
            del self._own[rev]
        elif rev is not None or change["operationType"] == "delete":
            if not self._ids:
                asyncio.get_running_loop().call_later(GATHERED, self._flush)
            self._ids.add(change["documentKey"]["_id"])
            self._ready = self._ready or written.get("tag") is not None

    def _flush(self) -> None:
        news, self._ids, self._ready = News(frozenset(self._ids), self._ready), set(), False
        self._listeners.tell(news)


class Counter(Newscast):
    """Tells that others wrote, not what."""

    def __init__(self, database: Database, listeners: Listeners) -> None:
        super().__init__(listeners)
        # Lost with the server, it costs nothing: it need not be in anybody's journal.
        self._meta = database[META].with_options(write_concern=WriteConcern(1), read_concern=ReadConcern("local"))
        self._seen = 0
        self._at_once = asyncio.Lock()
        self._written = asyncio.Event()
        self._unannounced = False

    async def start(self) -> None:
        self._seen = await self._count()
        self._tasks = [asyncio.create_task(self._announce()), asyncio.create_task(self._look())]

    async def stop(self) -> None:
        """What was written and not announced yet is announced."""
        self._over.set()
        self._written.set()
        await super().stop()

    def tell(self, news: News) -> None:
        super().tell(news)
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

    async def _has_news(self) -> bool:
        async with self._at_once:
            before, self._seen = self._seen, await self._count()
        return self._seen != before

    async def _count(self) -> int:
        counter = await self._meta.find_one(COUNTER)
        return int(counter["n"]) if counter else 0
