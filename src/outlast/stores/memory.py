"""The shortest true store: dictionaries and one lock. Read it first; nothing in it outlives the process."""

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from outlast import lifecycle
from outlast.errors import JobNotFound
from outlast.job import LIVE, RANK, Change, Event, Job, NewJob, Signal, Status, Step, numbered
from outlast.report import REPORTS, Report
from outlast.stores.base import (
    ANY,
    IDEMPOTENCY,
    LEASE,
    Batch,
    Claimed,
    Clock,
    Description,
    Head,
    Lease,
    Listeners,
    News,
    Owner,
    Query,
    Record,
)


@dataclass(slots=True)
class State:
    """All that a store keeps, by the ids of jobs and the keys of records."""

    jobs: dict[str, Job[Any]] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    steps: dict[str, dict[str, Step]] = field(default_factory=dict)
    signals: dict[str, list[Signal]] = field(default_factory=dict)
    reports: dict[str, list[Report]] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)


class MemoryStore:
    """Implements Store and Records; every method's promise stands in stores/base.py.

    `state` is all it keeps; a store of your own may take it from elsewhere and put it there.
    """

    batch = Batch()
    locks: Path | None = None

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._lock = threading.RLock()
        self._listeners = Listeners()
        self.state = State()

    @property
    def state(self) -> State:
        return State(self._jobs, self._events, self._steps, self._signals, self._reports, self._records)

    @state.setter
    def state(self, state: State) -> None:
        self._jobs, self._events, self._steps = state.jobs, state.events, state.steps
        self._signals, self._reports, self._records = state.signals, state.reports, state.records
        self._keys = {(job.owner, job.idempotency_key): job.id for job in self._jobs.values() if job.idempotency_key}

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def describe(self) -> Description:
        warning = "memory:// keeps nothing once this process ends, and no other process sees it"
        return Description("memory://", "memory", "1", "none", (warning,))

    def now(self) -> float:
        return self.clock.now()

    def listen(self, hear: Callable[[News], None]) -> Callable[[], None]:
        return self._listeners.add(hear)

    # -- jobs in and out --------------------------------------------------------------------------------------------

    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        with self._lock:
            stored = [self._insert(one) for one in new]
        self._listeners.tell(News(frozenset(job.id for job in stored), ready=True))
        return stored

    def _insert(self, new: NewJob) -> Job[Any]:
        job = new.job
        holder = self._jobs.get(job.id) or self._holder_of_key(job)
        if holder is not None:
            return holder
        self._jobs[job.id] = job
        self._events[job.id], self._signals[job.id], self._reports[job.id] = [], [], []
        self._steps[job.id] = {step.key: step for step in new.steps}
        if job.idempotency_key is not None:
            self._keys[job.owner, job.idempotency_key] = job.id
        self._write(job, Change(id=job.id, events=new.events, place=new.place))
        return self._jobs[job.id]

    def _holder_of_key(self, job: Job[Any]) -> Job[Any] | None:
        if job.idempotency_key is None:
            return None
        holder = self._jobs.get(self._keys.get((job.owner, job.idempotency_key), ""))
        return holder if holder is not None and holder.created_at > self.now() - IDEMPOTENCY else None

    async def get(self, ids: Sequence[str], *, owner: Owner = ANY, payload: bool = False) -> list[Job[Any] | None]:
        with self._lock:
            found = [self._jobs.get(id) for id in ids]
        seen = [job if job is not None and owner in (ANY, job.owner) else None for job in found]
        return seen if payload else [job and job.evolve(payload_json=None) for job in seen]

    async def find(self, query: Query) -> list[Job[Any]]:
        with self._lock:
            jobs = [job for job in self._jobs.values() if _matches(query, job)]
        if query.before is not None:
            jobs = [job for job in jobs if (job.id > query.before if query.oldest_first else job.id < query.before)]
        jobs.sort(key=lambda job: job.id, reverse=not query.oldest_first)
        return [job.evolve(payload_json=None, result_json=None) for job in jobs[: query.limit]]

    async def count(self, query: Query) -> dict[tuple[str, Status], int]:
        with self._lock:
            return Counter((job.type, job.status) for job in self._jobs.values() if _matches(query, job))

    # -- moves ------------------------------------------------------------------------------------------------------

    async def claim(
        self, n: int, types: Collection[str], worker: str, *, ids: Sequence[str] | None = None, ttl: float = LEASE
    ) -> Claimed:
        with self._lock:
            ready = [job for job in self._jobs.values() if job.tag is not None and job.type in types]
            ready = [job for job in ready if ids is None or job.id in ids]
            ready.sort(key=lambda job: (RANK[job.priority], job.tag, job.id))
            taken = [self._claim(job, worker, ttl) for job in ready[:n]]
            times = [t for job in self._jobs.values() if job.status in LIVE for t in (job.next_at, job.lease_until)]
        self._tell(taken)
        soonest = min((time for time in times if time is not None), default=None)
        return Claimed([job for job in taken if job.status is Status.PROCESSING], soonest)

    def _claim(self, job: Job[Any], worker: str, ttl: float) -> Job[Any]:
        now = self.now()
        self._write(job, lifecycle.claim(job, secrets.token_hex(16), worker, now + ttl, now))
        return self._jobs[job.id]

    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE) -> list[Head | None]:
        with self._lock:
            return [self._renew(lease, self.now() + ttl) for lease in leases]

    def _renew(self, lease: Lease, until: float) -> Head | None:
        job = self._jobs.get(lease.job_id)
        if job is None or job.lease != lease.lease:
            return None
        self._jobs[job.id] = job.evolve(lease_until=until)
        return Head(job.seq, job.turn)

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        with self._lock:
            for change in changes:
                if change.id not in self._jobs:
                    raise JobNotFound(change.id)
            answers = [self._apply(change) for change in changes]
        ready = any(change.place is not None for change in changes)
        self._listeners.tell(News(frozenset(change.id for change in changes), ready))
        return answers

    def _apply(self, change: Change) -> Job[Any] | None:
        job = self._jobs[change.id]
        if not change.holds(job):
            return job
        self._write(job, change)
        return None

    def _write(self, job: Job[Any], change: Change) -> None:
        self._events[job.id] += numbered(change.events, job.seq)
        job = change.applied(job)
        if change.place is not None:
            job = job.evolve(tag=self._tag(job, change.place))
        self._jobs[job.id] = job
        steps = self._steps[job.id]
        for step in change.steps:
            if step.key not in steps or steps[step.key].status != "completed":
                steps[step.key] = step
        self._write_signals(self._signals[job.id], change)
        if change.report is not None:
            self._reports[job.id] = [*self._reports[job.id], change.report][-REPORTS:]

    def _write_signals(self, inbox: list[Signal], change: Change) -> None:
        for number in change.consumed:
            inbox[number - 1] = replace(inbox[number - 1], taken=True)
        if change.signal is not None:
            inbox.append(replace(change.signal, number=len(inbox) + 1))

    def _tag(self, job: Job[Any], place: Literal["back", "front"]) -> int:
        ready = [(other.tag, other.owner) for other in self._jobs.values() if other.priority == job.priority]
        front = min((tag for tag, _ in ready if tag is not None), default=0)
        own = max((tag for tag, owner in ready if tag is not None and owner == job.owner), default=front - 1)
        return front if place == "front" else max(front, own + 1)

    # -- what a sweep, a slice and a reader ask ---------------------------------------------------------------------

    async def due(self, limit: int, *, dead: Collection[str] = ()) -> list[Job[Any]]:
        now = self.now()
        with self._lock:
            jobs = [job for job in self._jobs.values() if _due_at(job) <= now or job.worker in dead]
        jobs.sort(key=lambda job: (job.ended, _due_at(job)))
        return [job.evolve(payload_json=None, result_json=None) for job in jobs[:limit]]

    async def events(self, job_id: str, *, after: int = 0, limit: int = 500, output: bool = True) -> list[Event]:
        with self._lock:
            later = self._events.get(job_id, [])[after:]
        return [event for event in later if output or not event.is_output][:limit]

    async def steps(self, job_id: str) -> list[Step]:
        with self._lock:
            return sorted(self._steps.get(job_id, {}).values(), key=lambda step: step.index)

    async def signals(self, job_id: str) -> list[Signal]:
        with self._lock:
            return list(self._signals.get(job_id, []))

    async def reports(self, job_id: str) -> list[Report]:
        with self._lock:
            return list(self._reports.get(job_id, []))

    async def changed(self, seen: Mapping[str, Head]) -> dict[str, Head | None]:
        with self._lock:
            jobs = {id: self._jobs.get(id) for id in seen}
        heads = {id: None if job is None else Head(job.seq, job.turn) for id, job in jobs.items()}
        return {id: head for id, head in heads.items() if head != seen[id]}

    async def purge(self, ids: Sequence[str], *, owner: Owner = ANY) -> list[str]:
        with self._lock:
            jobs = [self._jobs[id] for id in dict.fromkeys(ids) if id in self._jobs]
            gone = [job.id for job in jobs if job.ended and owner in (ANY, job.owner)]
            for id in gone:
                for table in (self._jobs, self._events, self._steps, self._signals, self._reports):
                    table.pop(id)
            self._keys = {key: id for key, id in self._keys.items() if id in self._jobs}
        self._listeners.tell(News(frozenset(gone), ready=False))
        return gone

    def _tell(self, jobs: Sequence[Job[Any]]) -> None:
        if jobs:
            self._listeners.tell(News(frozenset(job.id for job in jobs), ready=False))

    # -- records ----------------------------------------------------------------------------------------------------

    async def put(
        self, key: str, value: Mapping[str, Any], *, version: int | None = None, ttl: float | None = None
    ) -> Record | None:
        with self._lock:
            old = self._live_record(key)
            current = 0 if old is None else old.version
            if version is not None and version != current:
                return None
            expires = None if ttl is None else self.now() + ttl
            self._records[key] = Record(key, dict(value), current + 1, expires)
            return self._records[key]

    async def fetch(self, key: str) -> Record | None:
        with self._lock:
            return self._live_record(key)

    async def scan(self, prefix: str) -> list[Record]:
        with self._lock:
            found = [self._live_record(key) for key in sorted(self._records) if key.startswith(prefix)]
        return [record for record in found if record is not None]

    async def drop(self, keys: Collection[str]) -> None:
        with self._lock:
            kept = [key for key in self._records if key not in keys and self._live_record(key) is not None]
            self._records = {key: self._records[key] for key in kept}

    def _live_record(self, key: str) -> Record | None:
        record = self._records.get(key)
        expired = record is not None and record.expires_at is not None and record.expires_at <= self.now()
        return None if expired else record


def _matches(query: Query, job: Job[Any]) -> bool:
    return (
        query.owner in (ANY, job.owner)
        and (query.status is None or job.status in query.status)
        and query.type in (None, job.type)
        and (query.tag is None or query.tag in job.tags)
        and query.batch_id in (None, job.batch_id)
        and (query.created_after is None or job.created_at > query.created_after)
        and (query.created_before is None or job.created_at < query.created_before)
        and (query.updated_after is None or job.updated_at > query.updated_after)
    )


def _due_at(job: Job[Any]) -> float:
    return min((time for time in (job.next_at, job.lease_until) if time is not None), default=float("inf"))
