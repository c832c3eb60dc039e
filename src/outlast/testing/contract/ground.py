"""What the tests of the contract stand on: jobs in every status, every decision on them, and watched writes.

Jobs get where they are through the public interface alone, by decisions of lifecycle.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from outlast import lifecycle
from outlast.errors import IllegalMove, JobConflict, JobNotFound
from outlast.job import Change, Event, Job, JobError, NewJob, Signal, Step, Waiting, numbered
from outlast.notation import job_id
from outlast.report import REPORTS, Line, Report
from outlast.stores.base import LEASE, Store

T = TypeVar("T")

TYPE = "report"
WORKER = "worker-1"
EVERYTHING = 1_000_000
"""A limit that leaves nothing out."""

_numbers = itertools.count(1)


# -- jobs, and how they get where they are --------------------------------------------------------------------------


def new_job(store: Store, *, run_at: float | None = None, steps: Sequence[Step] = (), **asked: Any) -> NewJob:
    """A job on its way in. Ids rise in the order in which they are made."""
    now = store.now()
    fields: dict[str, Any] = {"id": job_id(now, next(_numbers).to_bytes(12)), "type": TYPE, "payload_json": "{}"}
    return lifecycle.submit(Job(**(fields | asked)), now, run_at=run_at, steps=steps)


def new_jobs(store: Store, n: int, **asked: Any) -> list[NewJob]:
    return [new_job(store, **asked) for _ in range(n)]


async def queued(store: Store, **asked: Any) -> Job[Any]:
    [job] = await store.insert([new_job(store, **asked)])
    return job


async def delayed(store: Store, **asked: Any) -> Job[Any]:
    return await queued(store, run_at=store.now() + 60, **asked)


async def processing(store: Store, **asked: Any) -> Job[Any]:
    return await claimed(store, await queued(store, **asked))


async def waiting(store: Store, **asked: Any) -> Job[Any]:
    until = Waiting(reason="signal", until=store.now() + 600, signals=("approval",))
    return await wrote(store, lifecycle.park(await processing(store, **asked), until, store.now()))


async def retrying(store: Store, **asked: Any) -> Job[Any]:
    job = await processing(store, **asked)
    return await wrote(store, lifecycle.raised(job, error(store), store.now(), chance=0.5, after=60))


async def ready_again(store: Store, **asked: Any) -> Job[Any]:
    return await wrote(store, lifecycle.ready(await retrying(store, **asked), store.now()))


async def completed(store: Store, **asked: Any) -> Job[Any]:
    return await wrote(store, lifecycle.complete(await processing(store, **asked), '{"pages": 3}', store.now()))


async def failed(store: Store, **asked: Any) -> Job[Any]:
    job = await processing(store, **asked)
    return await wrote(store, lifecycle.fail(job, error(store, retryable=False), store.now()))


async def cancelled(store: Store, **asked: Any) -> Job[Any]:
    return await wrote(store, lifecycle.cancel(await queued(store, **asked), store.now(), reason="no longer needed"))


Stage = Callable[[Store], Awaitable[Job[Any]]]

LIVE_STAGES: Mapping[str, Stage] = {
    "queued": queued,
    "delayed": delayed,
    "processing": processing,
    "waiting": waiting,
    "retrying": retrying,
    "ready again": ready_again,
}
ENDED_STAGES: Mapping[str, Stage] = {"completed": completed, "failed": failed, "cancelled": cancelled}
STAGES = {**LIVE_STAGES, **ENDED_STAGES}


# -- every decision -------------------------------------------------------------------------------------------------

Decide = Callable[[Job[Any], float], Change | None]


def _problem(job: Job[Any], now: float, *, retryable: bool = True) -> JobError:
    return JobError(code="handler_error", message="it broke", retryable=retryable, attempt=job.attempt, at=now)


APPENDS: Mapping[str, Decide] = {
    "append": lambda job, now: lifecycle.append(
        job, set={"progress": 10.0}, events=[output(now)], steps=[Step(key="s", name="s", index=0, status="running")]
    ),
}
MOVES: Mapping[str, Decide] = {
    "ready": lifecycle.ready,
    "complete": lambda job, now: lifecycle.complete(job, '"done"', now),
    "retry": lambda job, now: lifecycle.raised(job, _problem(job, now), now, chance=0.5),
    "fail": lambda job, now: lifecycle.fail(job, _problem(job, now, retryable=False), now),
    "deadline": lifecycle.deadline,
    "park": lambda job, now: lifecycle.park(job, Waiting(reason="sleep", until=now + 60), now),
    "yield": lambda job, now: lifecycle.hand_back(job, "yield", now),
    "deploy": lambda job, now: lifecycle.hand_back(job, "deploy", now),
    "lease out": lifecycle.lease_out,
    "wake": lifecycle.wake,
    "cancel": lifecycle.cancel,
    "cancelled": lifecycle.cancelled,
    "signal": lambda job, now: lifecycle.signal(job, Signal(name="approval", value="true"), now),
}
DECISIONS = {**MOVES, **APPENDS}


def decisions(store: Store, job: Job[Any], names: Mapping[str, Decide] = DECISIONS) -> dict[str, Change]:
    """Every change that this job's status allows, decided now."""
    decided = {name: _decided(decide, job, store.now()) for name, decide in names.items()}
    return {name: change for name, change in decided.items() if change is not None}


def _decided(decide: Decide, job: Job[Any], now: float) -> Change | None:
    try:
        return decide(job, now)
    except (IllegalMove, JobConflict):
        return None


# -- watched calls --------------------------------------------------------------------------------------------------


class Shot(NamedTuple):
    """All that a store keeps of a job at one moment."""

    job: Job[Any]
    events: list[Event]
    steps: dict[str, Step]
    signals: list[Signal]
    reports: list[Report]


async def shot(store: Store, id: str) -> Shot:
    steps = {step.key: step for step in await store.steps(id)}
    events = await store.events(id, limit=EVERYTHING)
    return Shot(await current(store, id), events, steps, await store.signals(id), await store.reports(id))


async def current(store: Store, id: str) -> Job[Any]:
    [job] = await store.get([id], payload=True)
    assert job is not None, f"{id} is gone"
    return job


async def claimed(store: Store, job: Job[Any], *, worker: str = WORKER, ttl: float = LEASE) -> Job[Any]:
    """The job after a claim of it alone."""
    answer = await store.claim(1, [job.type], worker, ids=[job.id], ttl=ttl)
    assert [taken.id for taken in answer.jobs] == [job.id], f"{job.status} job was not claimed"
    return answer.jobs[0]


async def taken_over(store: Store, job: Job[Any]) -> Job[Any]:
    """The job after its worker was declared dead and another took it."""
    return await claimed(store, await wrote(store, lifecycle.lease_out(job, store.now())), worker="worker-2")


async def wrote(store: Store, change: Change | None, what: str = "the change") -> Job[Any]:
    """Apply a change that holds. All of it must be stored, and nothing else; answers the job after it."""
    assert change is not None
    before = await shot(store, change.id)
    assert await store.apply([change]) == [None], f"{what} holds and was refused"
    after = await shot(store, change.id)
    expected = after_change(before, change, after.job.tag)
    assert after == expected, f"{what} was not stored as lifecycle decided it"
    return after.job


async def refused(store: Store, change: Change, what: str = "the change") -> None:
    """Apply a change that does not hold. Nothing may be written, and the answer is the job as it is."""
    before = await shot(store, change.id)
    [answer] = await store.apply([change])
    assert answer is not None, f"{what} does not hold and was accepted"
    assert lean(answer) == lean(before.job), f"{what} was refused with something else than the job as it is"
    assert await shot(store, change.id) == before, f"{what} was refused and yet something was written"


def after_change(before: Shot, change: Change, tag: int | None) -> Shot:
    """What a store must hold after a change; the tag is the store's to give where the change asks for a place."""
    job = change.applied(before.job)
    if change.place is not None and tag is not None:
        job = replace(job, tag=tag)
    recorded = {step.key: step for step in change.steps}
    closed = {key: step for key, step in before.steps.items() if step.status == "completed"}
    signals = [replace(one, taken=one.taken or one.number in change.consumed) for one in before.signals]
    if change.signal is not None:
        signals.append(replace(change.signal, number=len(signals) + 1))
    reports = before.reports if change.report is None else [*before.reports, change.report][-REPORTS:]
    events = [*before.events, *numbered(change.events, before.job.seq)]
    return Shot(job, events, {**before.steps, **recorded, **closed}, signals, reports)


def after_insert(new: NewJob, tag: int | None) -> Shot:
    """What a store must hold of a job that was just stored."""
    steps = {step.key: step for step in new.steps}
    return after_change(
        Shot(new.job, [], steps, [], []), Change(id=new.job.id, events=new.events, place=new.place), tag
    )


async def raises_not_found(call: Awaitable[object]) -> None:
    try:
        await call
    except JobNotFound:
        return
    raise AssertionError("a change to a job that is not there must raise JobNotFound")


async def in_threads(n: int, work: Callable[[], Coroutine[Any, Any, T]]) -> list[T]:
    """Do the same work at once in `n` threads, each with an event loop of its own."""
    return await asyncio.gather(*(asyncio.to_thread(lambda: asyncio.run(work())) for _ in range(n)))


# -- small things ---------------------------------------------------------------------------------------------------


def lean(job: Job[Any]) -> Job[Any]:
    """The job without its payload, which not every answer carries."""
    return replace(job, payload_json=None)


def error(store: Store, *, retryable: bool = True) -> JobError:
    return JobError(code="handler_error", message="it broke", retryable=retryable, attempt=1, at=store.now())


def log(now: float, message: str = "noted") -> Event:
    return Event(type="job.log", time=now, attempt=1, data={"message": message})


def output(now: float, text: str = "and so on", offset: int = 0) -> Event:
    data = {"channel": "text", "offset": offset, "text": text}
    return Event(type="job.output.delta", time=now, attempt=1, data=data)


def report(text: str = "went on") -> Report:
    line = Line(time=1.5, level="INFO", logger="shop", text=text)
    return Report(attempt=1, worker=WORKER, traceback="Traceback é 😀\n\u2028", lines=(line, line), dropped=3)


def step(key: str, index: int = 0, value: str | None = '"kept"', **also: Any) -> Step:
    fields: dict[str, Any] = {"name": key, "status": "completed"} | also
    return Step(key=key, index=index, value=value, **fields)
