"""Many awaiting callers become one call, and so one commit, one round trip, one sync of the disk.

Idle, an item goes straight through. While a call is in flight, items gather and go together in the next one. There is
one call in flight per lane, and a job's items share a lane, so that one job's writes keep their order.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
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


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A get of one job."""

    id: str
    owner: Owner
    payload: bool


@dataclass(frozen=True, slots=True)
class _Page:
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
        self._finds = Batcher(self._find_all, job=_whose, size=_weightless, batch=QUERIES)
        self._counts = Batcher(self._count_all, job=_whose, size=_weightless, batch=QUERIES)
        self._pages = Batcher(self._read_all, job=lambda page: page.job_id, size=_weightless, batch=QUERIES)

    def insert(self, new: NewJob) -> Awaitable[Job[Any]]:
        return self._inserts.add(new)

    def apply(self, change: Change) -> Awaitable[Job[Any] | None]:
        return self._changes.add(change)

    def get(self, job_id: str, *, owner: Owner = ANY, payload: bool = False) -> Awaitable[Job[Any] | None]:
        return self._gets.add(_Wanted(job_id, owner, payload))

    def find(self, query: Query) -> Awaitable[Sequence[Job[Any]]]:
        return self._finds.add(query)

    def count(self, query: Query) -> Awaitable[Mapping[tuple[str, Status], int]]:
        return self._counts.add(query)

    def events(self, job_id: str, *, after: int, limit: int) -> Awaitable[Sequence[Event]]:
        return self._pages.add(_Page(job_id, after, limit))

    async def _get_all(self, wanted: Sequence[_Wanted]) -> list[Job[Any] | None]:
        alike: dict[tuple[Owner, bool], list[str]] = defaultdict(list)
        for one in wanted:
            alike[one.owner, one.payload].append(one.id)
        found: dict[_Wanted, Job[Any] | None] = {}
        for (owner, payload), ids in alike.items():
            jobs = await self._store.get(ids, owner=owner, payload=payload)
            found |= {_Wanted(id, owner, payload): job for id, job in zip(ids, jobs, strict=True)}
        return [found[one] for one in wanted]

    async def _find_all(self, queries: Sequence[Query]) -> list[list[Job[Any]]]:
        return await _each_once(queries, self._store.find)

    async def _count_all(self, queries: Sequence[Query]) -> list[dict[tuple[str, Status], int]]:
        return await _each_once(queries, self._store.count)

    async def _read_all(self, pages: Sequence[_Page]) -> list[list[Event]]:
        return await _each_once(pages, lambda page: self._store.events(page.job_id, after=page.after, limit=page.limit))


QUERIES = Batch(most=10_000, lanes=64)
"""Of the same owner, or job, those that wait for one in flight go together, and the same ones become one."""


async def _each_once(items: Sequence[Item], ask: Callable[[Item], Awaitable[Answer]]) -> list[Answer]:
    """The answers to items of which many may be the same."""
    distinct = list(dict.fromkeys(items))
    answers = dict(zip(distinct, await asyncio.gather(*map(ask, distinct)), strict=True))
    return [answers[item] for item in items]


def _whose(query: Query) -> str:
    return str(query.owner)


def _weightless(item: object) -> int:
    return 0


def _size_of_new(new: NewJob) -> int:
    return len(new.job.payload_json or "") + sum(len(step.value or "") for step in new.steps)


def _size_of_change(change: Change) -> int:
    size = len(change.set.get("result_json") or "") + 256 * len(change.events)
    if change.steps:
        size += sum(len(step.value or "") for step in change.steps)
    return size if change.report is None else size + change.report.size
