"""One store copied into another: every job with its log, steps, signals and reports, and the attachments it names.

A job is laid down bare, then filled, and gets its true fields last. So nobody claims what is half copied, and a copy
that broke off goes on where it stopped. What is whole there is never written again, for it may have gone on. What is
not copied: notes of workers and counters, which live for minutes, attachments that no job names, and of deliveries the
tries so far.
"""

from asyncio import gather
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from outlast import attachments
from outlast.errors import JobConflict
from outlast.job import ASKED_FIELDS, Change, Job, NewJob, Status
from outlast.stores.base import Query, Store

T = TypeVar("T")

PAGE = 20
"""Jobs that are copied side by side; each may have a result of some MiB in hand."""

EVENTS = 1_000
"""Events that are read at once."""

WRITE = 1_000_000
"""Characters of one write, unless a single entry is longer: all of a job may be more than an engine takes at once."""

UNDER_WAY = -1
"""The turn of a job that is not all there yet."""

GIVEN = ASKED_FIELDS | {"id", "type", "owner", "created_at", "priority", "payload_json"}
"""Fields that a job is laid down with, and that never change."""

COUNTED = frozenset({"seq", "version", "updated_at", "tag", "result"})
"""What a store makes by itself of what is written, and what none keeps."""

MOVING = [f.name for f in fields(Job) if f.name not in GIVEN | COUNTED]


@dataclass(slots=True)
class Copied:
    """How many jobs were copied, and how many were there already; `moved` of these are no longer as in the source."""

    jobs: int = 0
    there: int = 0
    moved: int = 0


async def copy(source: Store, target: Store, told: Callable[[Copied], None] = lambda copied: None) -> Copied:
    """Copy all jobs of an open store into another open one, the oldest first; what is there already is left alone.

    Nobody may work on either meanwhile. Ready jobs line up anew, in the order of their submits.

    Parameters
    ----------
    told: called after each page with the count so far.

    Raises JobConflict if the target has another job under the idempotency key of one of these.
    """
    copied = Copied()
    last: str | None = None
    while page := await source.find(Query(oldest_first=True, before=last, limit=PAGE)):
        last = page[-1].id
        there = await target.get([job.id for job in page])
        missing = [(job.id, t) for job, t in zip(page, there, strict=True) if t is None or t.turn == UNDER_WAY]
        moved = [job.id for job, t in zip(page, there, strict=True) if t is not None and _moved(job, t)]
        filled = await gather(*(_fill(source, target, id, there) for id, there in missing))
        # In one call, for the ready ones line up in its order.
        await target.apply([final for final in filled if final is not None])
        copied.jobs += len(missing)
        copied.there += len(page) - len(missing)
        copied.moved += len(moved)
        told(copied)
    return copied


def _moved(job: Job[Any], there: Job[Any]) -> bool:
    return there.turn != UNDER_WAY and (there.turn, there.seq) != (job.turn, job.seq)


async def _fill(source: Store, target: Store, id: str, there: Job[Any] | None) -> Change | None:
    """All but its true fields, which the answer gives it; None for a job that is gone by now."""
    [job] = await source.get([id], payload=True)
    if job is None:
        return None
    if there is None:
        await attachments.copy(source, target, job)
        await _lay_down(target, job)
    await _copy_log(source, target, id, 0 if there is None else there.seq)
    for steps in _parts(await source.steps(id), lambda step: len(step.value or "")):
        await _write(target, Change(id=id, steps=steps))
    await _copy_signals(source, target, id)
    for report in (await source.reports(id))[len(await target.reports(id)) :]:
        await _write(target, Change(id=id, report=report))
    final = {name: getattr(job, name) for name in MOVING}
    return Change(id=id, set=final, place=None if job.tag is None else "back")


async def _lay_down(target: Store, job: Job[Any]) -> None:
    given = {name: getattr(job, name) for name in GIVEN}
    bare: Job[Any] = Job(**given, status=Status.QUEUED, turn=UNDER_WAY, queued_at=job.queued_at)
    [stored] = await target.insert([NewJob(job=bare, events=(), place=None)])
    if stored.id != job.id:
        message = f"{stored.id} is already there under the idempotency key of {job.id}"
        raise JobConflict(message, code="idempotency_conflict", job_id=job.id)


async def _copy_log(source: Store, target: Store, id: str, after: int) -> None:
    while page := await source.events(id, after=after, limit=EVENTS):
        for part in _parts(page, lambda event: len(str(event.data))):
            await _write(target, Change(id=id, events=tuple(replace(event, seq=0) for event in part)))
        after = page[-1].seq


def _parts(entries: Sequence[T], length: Callable[[T], int]) -> Iterator[tuple[T, ...]]:
    part: list[T] = []
    room = WRITE
    for entry in entries:
        room -= length(entry)
        if part and room < 0:
            yield tuple(part)
            part, room = [], WRITE - length(entry)
        part.append(entry)
    if part:
        yield tuple(part)


async def _copy_signals(source: Store, target: Store, id: str) -> None:
    signals, there = await source.signals(id), await target.signals(id)
    for signal in signals[len(there) :]:
        await _write(target, Change(id=id, signal=replace(signal, number=0, taken=False)))
    if taken := tuple(signal.number for signal in signals if signal.taken):
        await _write(target, Change(id=id, consumed=taken))


async def _write(target: Store, change: Change) -> None:
    await target.apply([change])
