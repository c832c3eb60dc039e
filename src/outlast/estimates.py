"""When a live job will probably have ended: from how long its like took, and what waits before it.

What is read for it is kept for some seconds, so that many who poll do not ask the store each. Of what waits only the
jobs of the same owner count: owners take turns, and none is to learn of another's jobs.
"""

from collections.abc import Hashable
from typing import Any, Generic, NamedTuple, TypeVar

from outlast import policy
from outlast.job import Job, Status
from outlast.stores.base import Query
from outlast.stores.batching import Batched

AGE, NOTHING_AGE = 10.0, 1.0
"""Seconds for which what was read is kept, and that there was nothing."""

LONGEST_WAIT = 30 * 86400.0
"""Seconds beyond which nobody can say."""

LOOKED_AT = 100
"""Queued jobs, the oldest, that stand for all: of those that were delayed until later none waits before another."""

MOST_KEPT = 1_000

T = TypeVar("T")


class History(NamedTuple):
    """Of the type's last completed jobs: how long each ran, and how many of them ended in a second; 0 if unknown."""

    durations: tuple[float, ...] = ()
    rate: float = 0.0


class Queue(NamedTuple):
    """About how many jobs of one type and owner are ready, and since when the oldest is there."""

    length: int = 0
    since: float = 0.0


class Estimates:
    """What one app knows."""

    def __init__(self) -> None:
        self._histories: _Kept[History] = _Kept(History())
        self._queues: _Kept[Queue] = _Kept(Queue())

    def clear(self) -> None:
        """Forget all: the app goes on with another store."""
        self._histories.clear()
        self._queues.clear()

    async def of_type(self, store: Batched, type: str, now: float) -> float | None:
        """Seconds that a job of this type usually takes; None if nobody can say."""
        return policy.remaining((await self._history(store, type, now)).durations, 0.0)

    async def remaining(self, store: Batched, job: Job[Any], now: float) -> float | None:
        """Seconds until the job has probably ended; None if nobody can say."""
        history = await self._history(store, job.type, now)
        elapsed = 0.0 if job.started_at is None else now - job.started_at
        left = policy.remaining(history.durations, elapsed)
        if left is None or job.status is not Status.QUEUED:
            return left
        if job.tag is None and job.next_at is not None and job.next_at > now:
            return left + job.next_at - now
        wait = await self._wait(store, job, history.rate, now)
        return left + wait if wait <= LONGEST_WAIT else None

    async def _history(self, store: Batched, type: str, now: float) -> History:
        known = self._histories.get(type, now)
        return known or self._histories.put(type, await _history(store, type), now)

    async def _wait(self, store: Batched, job: Job[Any], rate: float, now: float) -> float:
        key = job.type, job.owner
        queue = self._queues.get(key, now)
        if queue is None:
            queue = self._queues.put(key, await _queue(store, job), now)
        return policy.ahead(queue.length, now - queue.since, now - job.created_at) / rate if rate else 0.0


async def _history(store: Batched, type: str) -> History:
    jobs = await store.find(Query(type=type, status=frozenset({Status.COMPLETED}), limit=policy.HISTORY))
    times = [(job.started_at, job.completed_at) for job in jobs if job.started_at and job.completed_at]
    durations = tuple(ended - started for started, ended in times)
    return History(durations, policy.rate(times))


async def _queue(store: Batched, job: Job[Any]) -> Queue:
    waiting = Query(
        owner=job.owner, type=job.type, status=frozenset({Status.QUEUED}), oldest_first=True, limit=LOOKED_AT
    )
    found = await store.find(waiting)
    ready = [one for one in found if one.tag is not None]
    if not ready:
        return Queue()
    length = sum((await store.count(waiting)).values()) if len(found) == LOOKED_AT else len(found)
    return Queue(round(length * len(ready) / len(found)), ready[0].created_at)


class _Kept(Generic[T]):
    def __init__(self, nothing: T) -> None:
        self._nothing = nothing
        self._known: dict[Hashable, tuple[float, T]] = {}

    def get(self, key: Hashable, now: float) -> T | None:
        """What is known and not too old."""
        read_at, value = self._known.get(key, (0.0, self._nothing))
        age = NOTHING_AGE if value == self._nothing else AGE
        # Not either, if the clock went back.
        return value if key in self._known and 0 <= now - read_at <= age else None

    def put(self, key: Hashable, value: T, now: float) -> T:
        if len(self._known) >= MOST_KEPT:
            self._known.clear()
        self._known[key] = now, value
        return value

    def clear(self) -> None:
        self._known.clear()
