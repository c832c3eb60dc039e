"""What was acknowledged before a cut, and whether a store still knows it."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from outlast.job import Event, Job, Signal, Status, Step
from outlast.stores.base import Query, Store
from torture.history import flaws

MOST_EVENTS = 5_000


def told(event: Event) -> list[Any]:
    """An event as the workload says it: nothing of it may ever be another."""
    return [event.seq, event.type, event.time, event.attempt, event.data]


class Facts:
    """What the workload was told, line by line."""

    def __init__(self) -> None:
        self._payloads: dict[str, str] = {}
        self._events: dict[str, list[list[Any]]] = defaultdict(list)
        self._steps: dict[str, dict[str, Any]] = defaultdict(dict)
        self._signals: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        self._ends: dict[str, tuple[str, str | None]] = {}
        self._cancelled: set[str] = set()
        self._leaving: set[str] = set()
        self._gone: set[str] = set()
        self.count = 0

    def hear(self, line: str) -> None:
        """One more fact, as the workload said it."""
        self.count += 1
        match json.loads(line):
            case ["submitted", id, payload]:
                self._payloads[id] = payload
            case ["event", id, event]:
                self._events[id].append(event)
            case ["step", id, name, value]:
                self._steps[id][name] = value
            case ["signal", id, name, value]:
                self._signals[id].append((name, value))
            case ["ended", id, status, result]:
                self._ends[id] = status, result
            case ["cancelled", id]:
                self._cancelled.add(id)
            case ["leaving", id]:
                self._leaving.add(id)
            case ["gone", id]:
                self._gone.add(id)

    async def missing(self, store: Store) -> list[str]:
        """What of it the store does not know any more, and what it knows that cannot be; a sentence for each."""
        there = {job.id: job for job in await store.find(Query(limit=MOST_EVENTS))}
        ids = sorted(there.keys() | self._payloads.keys())
        jobs = await store.get(ids, payload=True)
        logs = await asyncio.gather(*(store.events(id, limit=MOST_EVENTS) for id in ids))
        steps = await asyncio.gather(*(store.steps(id) for id in ids))
        signals = await asyncio.gather(*(store.signals(id) for id in ids))
        found = []
        for id, job, log, its, inbox in zip(ids, jobs, logs, steps, signals, strict=True):
            if job is None:
                found += self._absent(id, [*log, *its, *inbox])
            else:
                found += [f"{id}: {flaw}" for flaw in (*self._job(job), *self._rest(id, log, its, inbox))]
                found += [f"{id}: {flaw}" for flaw in flaws(job, log, its)]
        return found

    def _absent(self, id: str, remains: Sequence[object]) -> list[str]:
        lost = [] if id in self._leaving else [f"{id}: the job is lost"]
        return lost + ([f"{id}: removed, and yet there are {remains}"] if remains else [])

    def _job(self, job: Job[Any]) -> list[str]:
        found = []
        if job.id in self._gone:
            found.append("the removed job is back")
        if self._payloads.get(job.id, job.payload_json) != job.payload_json:
            found.append("its payload is another")
        if self._ends.get(job.id, (job.status, job.result_json)) != (job.status, job.result_json):
            found.append(f"it had ended with {self._ends[job.id]} and is {job.status}")
        if job.id in self._cancelled and job.cancel_requested_at is None and job.status is not Status.COMPLETED:
            found.append("its cancel is lost")
        return found

    def _rest(self, id: str, log: Sequence[Event], steps: Sequence[Step], inbox: Sequence[Signal]) -> list[str]:
        found = []
        seen = self._events.get(id, [])
        if [told(event) for event in log[: len(seen)]] != seen:
            found.append(f"of {len(seen)} events that were read, some are lost or others now")
        values = {step.name: json.loads(step.value or "null") for step in steps if step.status == "completed"}
        for name, value in self._steps.get(id, {}).items():
            if name not in values or values[name] != value:
                found.append(f"step {name!r} was recorded as {value!r} and is {values.get(name, 'lost')!r}")
        kept = [(signal.name, json.loads(signal.value)) for signal in inbox]
        if kept[: len(self._signals[id])] != self._signals[id]:
            found.append(f"of the signals {self._signals[id]} there are {kept}")
        return found
