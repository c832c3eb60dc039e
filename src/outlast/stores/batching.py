"""Many awaiting callers become one call, and so one commit, one round trip, one sync of the disk.

Idle, an item goes straight through. While a call is in flight, items gather and go together in the next one. There is
one call in flight per lane, and a job's items share a lane, so that one job's writes keep their order.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from outlast.errors import StoreUnavailable
from outlast.job import Change, Event, Job, NewJob, Status
from outlast.stores.base import ANY, Batch, Owner, Query, Store

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_BYTES = 4 * 1024 * 1024


class Batcher(Generic[Item, Answer]):
    """Gathers items and hands them on in batches; usable from any number of event loops.

    Parameters
    ----------
    call: takes a batch, sorted by job, and answers for each item in its order. StoreUnavailable is for all of the
        batch; with any other error the batch is halved until the bad item fails alone.
    job: the id of the job that an item is about.
    size: an item's weight in bytes, as near as it is cheap to tell.
    batch: the most items of one call, and how many calls may be in flight at once, each for other jobs.
    """

    def __init__(
        self,
        call: Callable[[list[Item]], Awaitable[Sequence[Answer]]],
        *,
        job: Callable[[Item], str],
        size: Callable[[Item], int],
        batch: Batch,
    ) -> None:
        self._call, self._job, self._size, (self._most, self._count) = call, job, size, batch
        self._lanes: WeakKeyDictionary[asyncio.AbstractEventLoop, list[_Lane[Item, Answer]]] = WeakKeyDictionary()
        self._last: tuple[asyncio.AbstractEventLoop | None, list[_Lane[Item, Answer]]] = None, []

    def add(self, item: Item) -> "asyncio.Future[Answer]":
        """The answer to this item. A caller that goes away does not stop it."""
        loop = asyncio.get_running_loop()
        lanes = self._lanes_of(loop)
        lane = lanes[0] if self._count == 1 else lanes[hash(self._job(item)) % self._count]
        future: asyncio.Future[Answer] = loop.create_future()
        lane.waiting.append((item, future))
        if lane.task is None:
            lane.task = loop.create_task(self._drain(lane))
        return future

    def _lanes_of(self, loop: asyncio.AbstractEventLoop) -> "list[_Lane[Item, Answer]]":
        last, lanes = self._last
        if last is loop:
            return lanes
        if loop not in self._lanes:
            self._lanes[loop] = [_Lane() for _ in range(self._count)]
        self._last = loop, self._lanes[loop]
        return self._lanes[loop]

    async def _drain(self, lane: "_Lane[Item, Answer]") -> None:
        try:
            while lane.waiting:
                await self._send(self._next(lane))
        finally:
            lane.task = None

    def _next(self, lane: "_Lane[Item, Answer]") -> "list[_Waiting[Item, Answer]]":
        """The longest waiting, as many as go into one call, by job; of one job, in the order they came."""
        taken, size = 0, 0
        for item, _ in lane.waiting[: self._most]:
            size += self._size(item)
            if taken and size > MOST_BYTES:
                break
            taken += 1
        batch, lane.waiting = lane.waiting[:taken], lane.waiting[taken:]
        batch.sort(key=lambda one: self._job(one[0]))
        return batch

    async def _send(self, batch: "list[_Waiting[Item, Answer]]") -> None:
        try:
            answers = await self._call([item for item, _ in batch])
            settled = list(zip(batch, answers, strict=True))
        except Exception as error:
            await self._refused(batch, error)
        except BaseException:
            for _, future in batch:
                future.cancel()
            raise
        else:
            for (_, future), answer in settled:
                if not future.done():
                    future.set_result(answer)

    async def _refused(self, batch: "list[_Waiting[Item, Answer]]", error: Exception) -> None:
        if isinstance(error, StoreUnavailable) or len(batch) == 1:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        middle = len(batch) // 2
        await self._send(batch[:middle])
        await self._send(batch[middle:])


_Waiting = tuple[Item, asyncio.Future[Answer]]


class _Lane(Generic[Item, Answer]):
    """Items that wait, and the task that hands them on while there are any."""

    def __init__(self) -> None:
        self.waiting: list[_Waiting[Item, Answer]] = []
        self.task: asyncio.Task[None] | None = None


class Alike(Generic[Item, Answer]):
    """Those who ask the same while it is being asked wait for one answer of their own, which nobody asked before them.

    Other questions go beside it. Usable from any number of event loops.

    Parameters
    ----------
    answer: to one item; an error is that of all who asked the same with it, and of nobody else.
    """

    def __init__(self, answer: Callable[[Item], Awaitable[Answer]]) -> None:
        self._answer = answer
        self._asked: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Item, list[asyncio.Future[Answer]]]]
        self._asked = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, item: Item) -> "asyncio.Future[Answer]":
        """The answer to this item. A caller that goes away does not stop it."""
        loop = asyncio.get_running_loop()
        asked = self._asked.setdefault(loop, {})
        future: asyncio.Future[Answer] = loop.create_future()
        if item in asked:
            asked[item].append(future)
        else:
            asked[item] = [future]
            task = loop.create_task(self._drain(asked, item))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    async def _drain(self, asked: dict[Item, list["asyncio.Future[Answer]"]], item: Item) -> None:
        futures: list[asyncio.Future[Answer]] = []
        try:
            while futures := asked[item]:
                asked[item] = []
                await self._settle(item, futures)
        finally:
            # Cancelled, nobody is left waiting.
            for future in (*futures, *asked.pop(item)):
                future.cancel()

    async def _settle(self, item: Item, futures: Sequence["asyncio.Future[Answer]"]) -> None:
        try:
            answer = await self._answer(item)
        except Exception as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
        else:
            for future in futures:
                if not future.done():
                    future.set_result(answer)


class _Wanted(NamedTuple):
    """A get of one job."""

    id: str
    owner: Owner
    payload: bool


class _Page(NamedTuple):
    """A page of a job's log."""

    job_id: str
    after: int
    limit: int


class Batched:
    """A store for callers that each have one job, or one question, in hand. What many ask at once is asked once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._inserts = Batcher(store.insert, job=lambda new: new.job.id, size=_size_of_new, batch=store.batch)
        self._changes = Batcher(store.apply, job=lambda change: change.id, size=_size_of_change, batch=store.batch)
        self._gets = Batcher(self._get_all, job=lambda wanted: wanted.id, size=_weightless, batch=store.batch)
        self._finds: Alike[Query, Sequence[Job[Any]]] = Alike(store.find)
        self._counts: Alike[Query, Mapping[tuple[str, Status], int]] = Alike(store.count)
        self._pages: Alike[_Page, Sequence[Event]] = Alike(self._page)

    def insert(self, new: NewJob) -> Awaitable[Job[Any]]:
        return self._inserts.add(new)

    def apply(self, change: Change) -> Awaitable[Job[Any] | None]:
        return self._changes.add(change)

    def get(self, job_id: str, *, owner: Owner = ANY, payload: bool = False) -> Awaitable[Job[Any] | None]:
        return self._gets.add(_Wanted(job_id, owner, payload))

    def find(self, query: Query) -> Awaitable[Sequence[Job[Any]]]:
        return self._finds.ask(query)

    def count(self, query: Query) -> Awaitable[Mapping[tuple[str, Status], int]]:
        return self._counts.ask(query)

    def events(self, job_id: str, *, after: int, limit: int) -> Awaitable[Sequence[Event]]:
        return self._pages.ask(_Page(job_id, after, limit))

    async def _get_all(self, wanted: Sequence[_Wanted]) -> list[Job[Any] | None]:
        alike: dict[tuple[Owner, bool], list[str]] = defaultdict(list)
        for one in wanted:
            alike[one.owner, one.payload].append(one.id)
        found: dict[_Wanted, Job[Any] | None] = {}
        for (owner, payload), ids in alike.items():
            jobs = await self._store.get(ids, owner=owner, payload=payload)
            found |= {_Wanted(id, owner, payload): job for id, job in zip(ids, jobs, strict=True)}
        return [found[one] for one in wanted]

    async def _page(self, page: _Page) -> Sequence[Event]:
        return await self._store.events(page.job_id, after=page.after, limit=page.limit)


def _weightless(item: object) -> int:
    return 0


def _size_of_new(new: NewJob) -> int:
    return len(new.job.payload_json or "") + sum(len(step.value or "") for step in new.steps)


def _size_of_change(change: Change) -> int:
    size = len(change.set.get("result_json") or "") + 256 * len(change.events)
    if change.steps:
        size += sum(len(step.value or "") for step in change.steps)
    return size if change.report is None else size + change.report.size
