"""The one live feed: one reader per process tells all who follow jobs when to look again."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from random import uniform
from typing import Any, NamedTuple, Protocol

from outlast.errors import StoreError
from outlast.job import Event, Job
from outlast.stores.base import Head, News, Store
from outlast.stores.batching import Batched

BACKSTOP = 5.0
"""Seconds after which the reader looks even if it heard nothing, give or take a fifth."""

PAGE = 500


class Reader(asyncio.Event):
    """Set whenever the job's log has grown, or the job is gone. `after` is how far the log is read; None: it is not."""

    after: int | None = None


class Holder(Protocol):
    """Who holds a job, and is to hear when others leave something on it."""

    def turned(self) -> None: ...


class Tail(NamedTuple):
    """A page of a job's log that was read for all, and the number it begins behind."""

    after: int
    page: Sequence[Event]


class Hub:
    """Hears the store's news, and wakes those whose job changed.

    Where many read one job, the page that they all want is read before they are woken, once for all of them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readers: dict[str, set[Reader]] = defaultdict(set)
        self._tails: dict[str, Tail] = {}
        self._reads: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._holders: dict[str, Holder] = {}
        self._next_news = asyncio.Event()
        self._heads: dict[str, Head] = {}
        self._stale = asyncio.Event()
        self._deaf: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._deaf = self._store.listen(self._hear)
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def stop(self) -> None:
        """Wake everybody a last time and end."""
        self.drop()
        if self._task is not None:
            await asyncio.wait({self._task, *self._reads.values()})
        for id in list(self._readers):
            self._rouse(id)
        self._pass_on()

    def drop(self) -> None:
        """Hear and look no more; also once its event loop is closed."""
        if self._deaf is not None and self._task is not None:
            self._deaf()
            for task in (self._task, *self._reads.values()):
                task.cancel()

    @contextmanager
    def reading(self, job_id: str) -> Iterator[Reader]:
        """One more reads the job for as long as the block lasts."""
        reader = Reader()
        self._readers[job_id].add(reader)
        try:
            yield reader
        finally:
            self._readers[job_id].discard(reader)
            if not self._readers[job_id]:
                del self._readers[job_id]
                self._tails.pop(job_id, None)
            self._forget(job_id)

    def tail(self, job_id: str, after: int) -> Sequence[Event] | None:
        """The events from number `after` + 1 on, if they were read for all since the last news."""
        tail = self._tails.get(job_id)
        return tail.page if tail is not None and tail.after == after else None

    def heard(self) -> asyncio.Event:
        """An event that is set by the next news, of whichever job and process."""
        return self._next_news

    def hold(self, job: Job[Any], holder: Holder) -> None:
        """Tell it whenever others left something on the job since this state of it, until it is released."""
        self._holders[job.id] = holder
        self._heads[job.id] = Head(job.seq, job.turn)

    def release(self, job_id: str, holder: Holder) -> None:
        """No longer; a later slice that holds the job by now is left alone."""
        if self._holders.get(job_id) is holder:
            del self._holders[job_id]
            self._forget(job_id)

    def turned(self, job_id: str) -> None:
        """This process left something on the job."""
        holder = self._holders.get(job_id)
        if holder is not None:
            holder.turned()

    def _forget(self, job_id: str) -> None:
        if job_id not in self._readers and job_id not in self._holders:
            self._heads.pop(job_id, None)

    def _hear(self, news: News) -> None:
        self._pass_on()
        if news.ids is None:
            self._stale.set()
        else:
            for id in news.ids & self._readers.keys():
                self._wake(id)

    def _wake(self, job_id: str) -> None:
        """Now, or if many read the log, once the page that they want is there."""
        self._tails.pop(job_id, None)
        if job_id in self._reads:
            self._again.add(job_id)
        elif len(self._cursors(job_id)) > 1:
            self._reads[job_id] = asyncio.get_running_loop().create_task(self._read(job_id))
        else:
            self._rouse(job_id)

    def _rouse(self, job_id: str) -> None:
        for reader in self._readers.get(job_id, ()):
            reader.set()

    def _cursors(self, job_id: str) -> list[int]:
        return [reader.after for reader in self._readers.get(job_id, ()) if reader.after is not None]

    async def _read(self, job_id: str) -> None:
        try:
            while True:
                self._again.discard(job_id)
                with suppress(StoreError):  # each reader meets it, and has somebody to tell
                    await self._read_tail(job_id)
                if job_id not in self._again:
                    return
                # Who takes this page although there is news by now is roused again.
                self._rouse(job_id)
        finally:
            # In one turn with the last look at what came meanwhile; and whatever has happened, they look themselves.
            del self._reads[job_id]
            self._again.discard(job_id)
            self._rouse(job_id)

    async def _read_tail(self, job_id: str) -> None:
        """The page behind where those are who have read the most, which is where nearly all are."""
        after = max(self._cursors(job_id), default=None)
        page = [] if after is None else await self._store.events(job_id, after=after, limit=PAGE)
        if after is not None and page and job_id in self._readers:
            self._tails[job_id] = Tail(after, page)

    def _pass_on(self) -> None:
        # One event for all who wait, and a new one each time: many who are busy cost nothing.
        news, self._next_news = self._next_news, asyncio.Event()
        news.set()

    async def _look(self) -> None:
        while True:
            try:
                async with asyncio.timeout(BACKSTOP * uniform(0.8, 1.2)):
                    await self._stale.wait()
            except TimeoutError:
                pass
            self._stale.clear()
            try:
                await self._compare()
            except StoreError:
                self._stale.set()
                await asyncio.sleep(uniform(0.5, 1.0))

    async def _compare(self) -> None:
        watched = self._readers.keys() | self._holders.keys()
        if not watched:
            return
        seen = {id: self._heads.get(id, Head(-1, -1)) for id in watched}
        for id, head in (await self._store.changed(seen)).items():
            if head is not None and (id in self._readers or id in self._holders):
                self._heads[id] = head
            if head is None or head.turn != seen[id].turn:
                self.turned(id)
            self._wake(id)


async def follow(
    hub: Hub, store: Batched, job_id: str, after: int, stopping: asyncio.Event, heard: Callable[[float], None]
) -> AsyncGenerator[Event, None]:
    """The job's events from number `after` + 1 on, as they come, until its end, its removal, or `stopping`.

    Whoever sets `stopping` stops the hub too, which wakes the readers. `heard` is told, each time that events come
    after a wait for them, when the first of them was made, in seconds since 1970.
    """
    with hub.reading(job_id) as reader:
        waited = False
        while True:
            reader.clear()
            reader.after = after
            page = hub.tail(job_id, after) or await store.events(job_id, after=after, limit=PAGE)
            if page and waited:
                heard(page[0].time)
                waited = False
            for event in page:
                yield event
                after = event.seq
            if page and page[-1].is_end:
                return
            if stopping.is_set():
                return
            if not page:
                job = await store.get(job_id)
                if job is None or (job.ended and job.seq <= after):
                    return
            if len(page) < PAGE:
                reader.after = after
                await reader.wait()
                waited = True
