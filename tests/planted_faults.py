"""Faults to plant into a true store, or into lifecycle: each breaks one promise, and a test must find it.

The contract that every store is held to must find them (`tests/stores/test_planted_faults.py`), and so must the
simulation (`tests/torture/test_planted_faults.py`).
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from outlast import lifecycle
from outlast.job import Change, Job, NewJob, Signal
from outlast.lifecycle import append, claim, complete, lease_out
from outlast.stores.base import ANY, LEASE, Claimed, Head, Lease, Owner, Record
from outlast.stores.memory import MemoryStore

# ---- faults in what guards a write --------------------------------------------------------------


class NoFence(MemoryStore):
    def _apply(self, change: Change) -> Job[Any] | None:
        return super()._apply(replace(change, lease=None))


class FenceByComparison(MemoryStore):
    """A lease passes if it is not older, that is, does not sort below the job's own."""

    def _apply(self, change: Change) -> Job[Any] | None:
        job = self._jobs[change.id]
        newer = change.lease is not None and job.lease is not None and change.lease >= job.lease
        return super()._apply(replace(change, lease=job.lease) if newer else change)


class FenceByTime(MemoryStore):
    """Any lease passes while the job is held by somebody."""

    def _apply(self, change: Change) -> Job[Any] | None:
        until = self._jobs[change.id].lease_until
        held = until is not None and until > self.now()
        return super()._apply(replace(change, lease=None) if held else change)


class NoTurn(MemoryStore):
    def _apply(self, change: Change) -> Job[Any] | None:
        return super()._apply(replace(change, turn=None))


class CheckThenWrite(MemoryStore):
    """Others may write between the check and the write."""

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        held = [change.holds(self._jobs[change.id]) for change in changes]
        await asyncio.sleep(0)
        for change, holds in zip(changes, held, strict=True):
            if holds:
                self._write(self._jobs[change.id], change)
        return [None if holds else self._jobs[change.id] for change, holds in zip(changes, held, strict=True)]


class ChooseThenClaim(MemoryStore):
    """Others may claim between the choice and the claim."""

    async def claim(
        self, n: int, types: Collection[str], worker: str, *, ids: Sequence[str] | None = None, ttl: float = LEASE
    ) -> Claimed:
        ready = [job for job in self._jobs.values() if job.tag is not None and job.type in types]
        chosen = [job for job in ready if ids is None or job.id in ids][:n]
        await asyncio.sleep(0)
        return Claimed([self._claim(job, worker, ttl) for job in chosen], None)


class SweepIgnoresRenewals(MemoryStore):
    def _apply(self, change: Change) -> Job[Any] | None:
        return super()._apply(replace(change, lease_until=None))


class RunOutLeaseIsLost(MemoryStore):
    def _renew(self, lease: Lease, until: float) -> Head | None:
        job = self._jobs.get(lease.job_id)
        ran_out = job is not None and job.lease_until is not None and job.lease_until <= self.now()
        return None if ran_out else super()._renew(lease, until)


# ---- faults in what is written ------------------------------------------------------------------


class StepOverwritten(MemoryStore):
    def _write(self, job: Job[Any], change: Change) -> None:
        super()._write(job, change)
        self._steps[job.id].update({step.key: step for step in change.steps})


class NumbersFromOneSequence(MemoryStore):
    """All jobs share one sequence of event numbers."""

    last = 0

    def _write(self, job: Job[Any], change: Change) -> None:
        super()._write(replace(job, seq=self.last), change)
        self.last = self._jobs[job.id].seq


class EndWithoutItsEvent(MemoryStore):
    def _apply(self, change: Change) -> Job[Any] | None:
        return super()._apply(replace(change, events=tuple(event for event in change.events if not event.is_end)))


class RefusalLeavesItsEvents(MemoryStore):
    def _apply(self, change: Change) -> Job[Any] | None:
        refused = super()._apply(change)
        if refused is not None:
            self._write(refused, Change(id=change.id, events=change.events))
        return refused


class SignalNotTaken(MemoryStore):
    def _write_signals(self, inbox: list[Signal], change: Change) -> None:
        super()._write_signals(inbox, replace(change, consumed=()))


class FieldForgotten(MemoryStore):
    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        return await super().insert([replace(one, job=replace(one.job, external_id=None)) for one in new])


class PayloadTidied(MemoryStore):
    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        tidied = [replace(one.job, payload_json=(one.job.payload_json or "").replace(" ", "")) for one in new]
        return await super().insert([replace(one, job=job) for one, job in zip(new, tidied, strict=True)])


# ---- faults in what is chosen -------------------------------------------------------------------


class NoUniqueKey(MemoryStore):
    """Whether a key is held is looked up, and only later written."""

    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        held = [super(NoUniqueKey, self)._holder_of_key(one.job) for one in new]
        await asyncio.sleep(0)
        return [holder or self._insert(one) for holder, one in zip(held, new, strict=True)]

    def _holder_of_key(self, job: Job[Any]) -> Job[Any] | None:
        return None


class CancelNotRecheckedAtClaim(MemoryStore):
    def _claim(self, job: Job[Any], worker: str, ttl: float) -> Job[Any]:
        return super()._claim(replace(job, cancel_requested_at=None), worker, ttl)


class ReleaseCountsAsAttempt(MemoryStore):
    def _claim(self, job: Job[Any], worker: str, ttl: float) -> Job[Any]:
        return super()._claim(replace(job, resumes=False), worker, ttl)


class OneLineForAll(MemoryStore):
    """First come, first served, whoever owns the jobs."""

    def _tag(self, job: Job[Any], place: Literal["back", "front"]) -> int:
        return max((other.tag for other in self._jobs.values() if other.tag is not None), default=0) + 1


class PurgeWithoutStatusCheck(MemoryStore):
    async def purge(self, ids: Sequence[str], *, owner: Owner = ANY) -> list[str]:
        for id in ids:
            if id in self._jobs:
                self._jobs[id] = replace(self._jobs[id], status=lifecycle.FAILED)
        return await super().purge(ids, owner=owner)


class PurgeLeavesTheLog(MemoryStore):
    async def purge(self, ids: Sequence[str], *, owner: Owner = ANY) -> list[str]:
        logs = {id: self._events.get(id, []) for id in ids}
        gone = await super().purge(ids, owner=owner)
        self._events |= {id: logs[id] for id in gone}
        return gone


class PurgeLeavesTheReports(MemoryStore):
    async def purge(self, ids: Sequence[str], *, owner: Owner = ANY) -> list[str]:
        reports = {id: self._reports.get(id, []) for id in ids}
        gone = await super().purge(ids, owner=owner)
        self._reports |= {id: reports[id] for id in gone}
        return gone


class ReportsOfRefusedMoves(MemoryStore):
    def _apply(self, change: Change) -> Job[Any] | None:
        answer = super()._apply(change)
        if answer is not None and change.report is not None:
            self._reports[change.id].append(change.report)
        return answer


class EveryReportKept(MemoryStore):
    def _write(self, job: Job[Any], change: Change) -> None:
        before = self._reports[job.id]
        super()._write(job, change)
        if change.report is not None:
            self._reports[job.id] = [*before, change.report]


class OwnerNotAsked(MemoryStore):
    async def get(self, ids: Sequence[str], *, owner: Owner = ANY, payload: bool = False) -> list[Job[Any] | None]:
        return await super().get(ids, owner=ANY, payload=payload)


class DeadWorkersNotAsked(MemoryStore):
    async def due(self, limit: int, *, dead: Collection[str] = ()) -> list[Job[Any]]:
        return await super().due(limit)


class RenewalsNotAsked(MemoryStore):
    async def due(self, limit: int, *, dead: Collection[str] = ()) -> list[Job[Any]]:
        held = [job for job in self._jobs.values() if (job.claimed_at or self.now()) + LEASE <= self.now()]
        return [*await super().due(limit, dead=dead), *held][:limit]


class ClaimsUnheard(MemoryStore):
    def _tell(self, jobs: Sequence[Job[Any]]) -> None:
        pass


class VersionNotAsked(MemoryStore):
    async def put(
        self, key: str, value: Mapping[str, Any], *, version: int | None = None, ttl: float | None = None
    ) -> Record | None:
        return await super().put(key, value, ttl=ttl)


# ---- faults in lifecycle, which every store calls -----------------------------------------------


def takeover_without_its_guard(*facts: Any, **how: Any) -> Change:
    return replace(lease_out(*facts, **how), lease_until=None)


def end_without_its_event(*facts: Any) -> Change:
    return replace(complete(*facts), events=())


def claim_that_counts_a_release(job: Job[Any], *facts: Any) -> Change:
    return claim(replace(job, resumes=False), *facts)


def claim_that_ignores_a_cancel(job: Job[Any], *facts: Any) -> Change:
    return claim(replace(job, cancel_requested_at=None), *facts)


def append_that_takes_a_signal_twice(job: Job[Any], **what: Any) -> Change:
    change = append(job, **what)
    return replace(change, set={**change.set, "turn": job.turn})
