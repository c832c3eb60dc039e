"""One store copied into another: every job with its log, steps, signals and reports, and the attachments it names.

A job is laid down bare, then filled, and gets its true fields last. So nobody claims what is half copied, and a copy
that broke off goes on where it stopped. A job that was copied whole and then went on in the source is laid bare and
filled again; one that went on in the target is never written again. What is not copied: notes of workers and counters,
which live for minutes, attachments that no job names, and of deliveries the tries so far.
"""

from asyncio import gather
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from outlast import attachments
from outlast.errors import JobConflict
from outlast.job import ASKED_FIELDS, Change, Job, NewJob, Status
from outlast.stores.base import Head, Query, Store

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
    """Copy all jobs of an open store into another open one, the oldest first.

    What is there already is left alone, unless it is as the source had it once. Nobody may work on either meanwhile.
    Ready jobs line up anew, in the order of their submits.

    Parameters
    ----------
    told: called after each page with the count so far.

    Raises JobConflict if the target has another job under the idempotency key of one of these.
    """
    copied = Copied()
    last: str | None = None
    while page := await source.find(Query(oldest_first=True, before=last, limit=PAGE)):
        last = page[-1].id
        pairs = list(zip(page, await target.get([job.id for job in page]), strict=True))
        behind = await gather(*(_is_behind(source, target, job, there) for job, there in pairs))
        missing = [pair for pair, is_behind in zip(pairs, behind, strict=True) if is_behind]
        whole = [pair for pair, is_behind in zip(pairs, behind, strict=True) if not is_behind]
        filled = await gather(*(_fill(source, target, job.id, there) for job, there in missing))
        # In one call, for the ready ones line up in its order.
        await target.apply([final for final in filled if final is not None])
        copied.jobs += len(missing)
        copied.there += len(whole)
        copied.moved += sum(there is not None and _head(there) != _head(job) for job, there in whole)
        told(copied)
    return copied


async def _is_behind(source: Store, target: Store, job: Job[Any], there: Job[Any] | None) -> bool:
    """True if the target has nothing of the job but what the source has, or had once."""
    if there is None or there.turn == UNDER_WAY:
        return True
    if there.turn >= job.turn or there.seq > job.seq:
        return False
    # A job that went on in both has another entry there.
    last = max(there.seq - 1, 0)
    return await source.events(job.id, after=last, limit=1) == await target.events(job.id, after=last, limit=1)


def _head(job: Job[Any]) -> Head:
    return Head(job.seq, job.turn)


async def _fill(source: Store, target: Store, id: str, there: Job[Any] | None) -> Change | None:
    """All but its true fields, which the answer gives it; None for a job that is gone by now."""
    [job] = await source.get([id], payload=True)
    if job is None:
        return None
    if there is None:
        await attachments.copy(source, target, job)
        await _lay_down(target, job)
    elif there.turn != UNDER_WAY:
        bare = _bare(job)
        await _write(target, Change(id=id, set={name: getattr(bare, name) for name in (*MOVING, "tag")}))
    await _copy_log(source, target, id, 0 if there is None else there.seq)
    for steps in _parts(await source.steps(id), lambda step: len(step.value or "")):
        await _write(target, Change(id=id, steps=steps))
    await _copy_signals(source, target, id)
    await _copy_reports(source, target, id)
    final = {name: getattr(job, name) for name in MOVING}
    if job.result_json is None:
        # An engine that is given a result forgets the last error.
        del final["result_json"]
    return Change(id=id, set=final, place=None if job.tag is None else "back")


def _bare(job: Job[Any]) -> Job[Any]:
    given = {name: getattr(job, name) for name in GIVEN}
    return Job(**given, status=Status.QUEUED, turn=UNDER_WAY, queued_at=job.queued_at)


async def _lay_down(target: Store, job: Job[Any]) -> None:
    [stored] = await target.insert([NewJob(job=_bare(job), events=(), place=None)])
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


async def _copy_reports(source: Store, target: Store, id: str) -> None:
    reports, there = await source.reports(id), await target.reports(id)
    # Only the last are kept, so those that are there may begin before the source's.
    common = next(n for n in range(len(there), -1, -1) if there[len(there) - n :] == reports[:n])
    for report in reports[common:]:
        await _write(target, Change(id=id, report=report))


async def _write(target: Store, change: Change) -> None:
    await target.apply([change])
