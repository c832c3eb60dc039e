"""Which move is legal from where, and what it changes.

Each function is one fact about a job, told to it at a time: `(job, fact, now) -> Change`. None as an answer means that
the fact changes nothing. The store applies the Change if it still holds; if not it answers with the job as it now is,
and the same function is asked again.

    moves    change the status, or make a job claimable; they hold on one `turn`
    wishes   are left on a job by others (cancel, signal); they hold on one `turn` and raise it, so that the holder's
             next move is decided again with the wish known
    appends  are what an attempt writes while it runs; they hold as long as the lease is the attempt's own

A wish to cancel turns every later move but `complete` into `cancelled`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from outlast.errors import IllegalMove, JobConflict
from outlast.job import ENDED, LIVE, Change, Event, Job, JobError, NewJob, Signal, Status, Step, Waiting
from outlast.notation import rfc3339
from outlast.policy import backoff
from outlast.report import Report
from outlast.window import WAYS_OUT

QUEUED, PROCESSING, WAITING, RETRYING = Status.QUEUED, Status.PROCESSING, Status.WAITING, Status.RETRYING
COMPLETED, FAILED, CANCELLED = Status.COMPLETED, Status.FAILED, Status.CANCELLED

_COMPLETED = COMPLETED.value  # an Enum's value is looked up in Python each time

INBOX_LIMIT = 100

HEAD_START = 30.0
"""Seconds that whoever ended a job has to tell its webhooks of it, before any sweep does."""


class Move(NamedTuple):
    """An arrow in the picture of a job's life: from any of `sources` to `target`, and why."""

    sources: frozenset[Status]
    target: Status
    why: str


def _from(*sources: Status) -> frozenset[Status]:
    return frozenset(sources)


MOVES: Mapping[str, Move] = {
    "claim": Move(_from(QUEUED, RETRYING), PROCESSING, "a worker or a push took it"),
    "complete": Move(_from(PROCESSING), COMPLETED, "the handler returned"),
    "retry": Move(_from(PROCESSING), RETRYING, "the attempt failed and a try is left, or a worker died again"),
    "fail": Move(LIVE, FAILED, "no tries left, an error that no try mends, or the deadline"),
    "park": Move(_from(PROCESSING), WAITING, "the handler sleeps or waits for a signal"),
    "hand_back": Move(_from(PROCESSING), QUEUED, "a deploy, or the slice's time is over"),
    "recover": Move(_from(PROCESSING), QUEUED, "its worker died for the first time"),
    "wake": Move(_from(WAITING), QUEUED, "the sleep is over, the signal came, or the wait timed out"),
    "cancel": Move(LIVE, CANCELLED, "somebody asked for it, and no attempt is running any more"),
}


# -- in -------------------------------------------------------------------------------------------------------------


def submit(
    job: Job[Any],
    now: float,
    *,
    run_at: float | None = None,
    steps: Sequence[Step] = (),
    log: Sequence[Event] = (),
    offsets: Mapping[str, int] | None = None,
) -> NewJob:
    """The job as it begins: claimable at once, or from `run_at` on.

    Parameters
    ----------
    steps: inherited from the job that this one does again.
    log: what its log begins with of theirs (`output.inherited`), and the `offsets` of the channels after it.
    """
    later = run_at is not None and run_at > now
    born = job.evolve(
        status=QUEUED,
        created_at=now,
        queued_at=now,
        updated_at=now,
        next_at=_soonest(run_at if later else None, job.deadline),
        offsets=offsets or {},
    )
    created = Event(type="job.created", time=now, attempt=0, data={"status": QUEUED.value})
    return NewJob(job=born, events=(created, *log), steps=tuple(steps), place=None if later else "back")


def copy_for_retry(job: Job[Any], new_id: str, now: float, *, force: bool = False) -> Job[Any]:
    """A new job that does again what an ended one was to do; the steps it inherits are the caller's to add.

    Raises JobConflict on a live job, and on a completed one unless `force`.
    """
    if job.status in LIVE:
        raise JobConflict("the job is still live; cancel it first", code="job_live", job_id=job.id)
    if job.status is COMPLETED and not force:
        raise JobConflict("the job is completed; force=true runs it again", code="job_not_retryable", job_id=job.id)
    asked = {name: getattr(job, name) for name in _ASKED_AGAIN}
    deadline = None if job.deadline is None else now + (job.deadline - job.created_at)
    return Job(id=new_id, retry_of=job.id, origin=job.origin or job.id, deadline=deadline, **asked)


_ASKED_AGAIN = (
    "type owner priority max_retries timeout backoff_base backoff_cap keep planned tags metadata external_id"
    " trace webhooks payload_json"
).split()


# -- claimable, claimed ---------------------------------------------------------------------------------------------


def due(job: Job[Any], now: float, *, dead: frozenset[str] = frozenset(), chance: float = 0.0) -> Change | None:
    """What the clock alone, or the death of a worker, does to a job.

    Parameters
    ----------
    dead: workers the operating system has declared gone; their leases count as run out.
    chance: uniform in [0, 1), for the backoff of a job whose worker died again.
    """
    if job.status is PROCESSING:
        ran_out = job.lease_until is not None and job.lease_until <= now
        return lease_out(job, now, chance=chance) if ran_out or job.worker in dead else None
    if job.status in ENDED or job.next_at is None or job.next_at > now:
        return None
    if job.deadline is not None and job.deadline <= now:
        return deadline(job, now)
    if job.tag is not None:
        return None  # claimable as it is; whether it was called for is another question (calling.py)
    return wake(job, now) if job.status is WAITING else ready(job, now)


def ready(job: Job[Any], now: float) -> Change:
    """The delay of a queued job, or the pause before a retry, is over."""
    if job.status not in (QUEUED, RETRYING):
        raise IllegalMove(f"ready: {job.id} is {job.status}")
    place: Literal["back", "front"] = "back" if job.status is QUEUED else "front"
    changed = {"turn": job.turn + 1, "next_at": job.deadline, "queued_at": now}
    return Change(id=job.id, turn=job.turn, set=changed, place=place)


def claim(job: Job[Any], lease: str, worker: str, until: float, now: float) -> Change:
    """A worker takes the job under a fresh lease; a new attempt, unless the last slice was handed back cleanly."""
    attempt = max(job.attempt, 1) if job.resumes else job.attempt + 1
    fresh = {} if job.resumes else {"progress": None, "message": None, "ran": 0.0}
    started = Event(
        type="job.started", time=now, attempt=attempt, data={"status": PROCESSING.value, "resumes": job.resumes}
    )
    return _move(
        job,
        "claim",
        now,
        (started,),
        **fresh,
        attempt=attempt,
        resumes=False,
        lease=lease,
        lease_until=until,
        worker=worker,
        claimed_at=now,
        started_at=now if job.started_at is None else job.started_at,
        tag=None,
        next_at=None,
        waiting=None,
        open_steps=(),
    )


# -- while it runs --------------------------------------------------------------------------------------------------


def append(
    job: Job[Any],
    *,
    set: Mapping[str, Any] | None = None,
    events: Iterable[Event] = (),
    steps: Iterable[Step] = (),
    consumed: Iterable[Signal] = (),
) -> Change:
    """Output, progress, steps and usage of a running attempt; `job.lease` is the attempt's own."""
    if job.lease is None:
        raise IllegalMove(f"append: {job.id} is {job.status} and nobody holds its lease")
    taken = tuple(consumed)
    changed = dict(set or {})
    if taken:
        # What takes from the inbox depends on what lies in it: it holds on the turn as well, and once.
        changed |= {"inbox": _without(job.inbox, [signal.name for signal in taken]), "turn": job.turn + 1}
    return Change(
        id=job.id,
        turn=job.turn if taken else None,
        lease=job.lease,
        set=changed,
        events=tuple(events),
        steps=tuple(steps),
        consumed=tuple(signal.number for signal in taken),
    )


def complete(job: Job[Any], result_json: str, now: float) -> Change:
    """The handler returned; nothing may change this job again."""
    done = Event(type="job.completed", time=now, attempt=job.attempt, data={"status": _COMPLETED})
    return _move(job, "complete", now, (done,), result_json=result_json, progress=100.0, last_error=None)


def raised(job: Job[Any], error: JobError, now: float, *, chance: float, after: float | None = None) -> Change:
    """The attempt failed: another try after `after` seconds, or after the handler's backoff, or the end."""
    if not error.retryable or job.attempt > job.max_retries:
        return fail(job, replace(error, retryable=False), now)
    pause = backoff(job.attempt, job.backoff_base, job.backoff_cap, chance) if after is None else after
    return _retry(job, error, pause, now)


def park(job: Job[Any], waiting: Waiting, now: float) -> Change:
    """The handler waits for something that may take long: give the slot back and keep the steps.

    If one of the signals has come since, or the time is over, the job goes straight back into the queue.
    """
    ran = _ran(job, now)
    if set(waiting.signals) & set(job.inbox) or (waiting.until is not None and waiting.until <= now):
        return _requeue(job, "hand_back", now, "woken", ran=ran, resumes=True)
    parked = Event(type="job.waiting", time=now, attempt=job.attempt, data=_wire_waiting(waiting))
    return _move(
        job,
        "park",
        now,
        (parked,),
        ran=ran,
        resumes=True,
        waiting=waiting,
        next_at=_soonest(waiting.until, job.deadline),
    )


def hand_back(job: Job[Any], reason: Literal["yield", "deploy"], now: float, *, progressed: bool = True) -> Change:
    """The slice ends cleanly and the job goes on later; a yield without a recorded step counts as an attempt."""
    resumes = progressed or reason == "deploy"
    if not resumes and job.attempt > job.max_retries:
        message = f"no step finished within a slice's time; {WAYS_OUT}"
        error = JobError(code="timeout", message=message, retryable=False, attempt=job.attempt, at=now)
        return fail(job, error, now)
    return _requeue(job, "hand_back", now, reason, ran=_ran(job, now), resumes=resumes)


def lease_out(job: Job[Any], now: float, *, chance: float = 0.0) -> Change:
    """The holder stopped renewing, or is known to be dead. Holds only while the lease was not renewed after all."""
    report = Report(attempt=job.attempt, worker=job.worker, code=_death(job, now).code)
    return replace(_lost(job, now, chance), lease_until=job.lease_until, report=report)


def _lost(job: Job[Any], now: float, chance: float) -> Change:
    if job.deadline is not None and job.deadline <= now:
        return deadline(job, now)
    error = _death(job, now)
    if job.attempt > job.max_retries:
        return fail(job, replace(error, retryable=False), now)
    if job.deaths == 0:
        return _requeue(job, "recover", now, "lease_lost", deaths=1, last_error=error)
    pause = backoff(job.deaths, job.backoff_base, job.backoff_cap, chance)
    return _retry(job, error, pause, now, deaths=job.deaths + 1)


def _death(job: Job[Any], now: float) -> JobError:
    if job.timeout is not None and _ran(job, now) > job.timeout:
        code, message = "timeout", f"attempt {job.attempt} ran past its timeout of {job.timeout:g} s and hung"
    else:
        code, message = "worker_died", f"the worker died {job.deaths + 1}x while it ran this job"
    return JobError(code=code, message=message, retryable=True, attempt=job.attempt, at=now)


# -- what others want -----------------------------------------------------------------------------------------------


def cancel(job: Job[Any], now: float, *, by: str | None = None, reason: str | None = None) -> Change | None:
    """Cancel at once where no attempt runs; leave a wish where one does. None if there is nothing left to do."""
    if job.ended or (job.status is PROCESSING and job.cancel_requested_at is not None):
        return None
    asked: dict[str, Any] = {"cancel_requested_at": now, "cancel_reason": reason}
    if job.status is not PROCESSING:
        return _cancelled(job.evolve(**asked), now, **asked)
    wish = Event(type="job.cancel_requested", time=now, attempt=job.attempt, data={"by": by, "reason": reason})
    return Change(id=job.id, turn=job.turn, set={**asked, "turn": job.turn + 1}, events=(wish,))


def cancelled(job: Job[Any], now: float) -> Change:
    """The attempt has heard the wish and stopped."""
    return _cancelled(job, now)


def signal(job: Job[Any], left: Signal, now: float, *, known: Collection[str] = ()) -> Change | None:
    """Leave a value in the inbox; if the job waits for it, it is claimable at once.

    `known` are the keys of all signals this job ever got: one of them again changes nothing.
    Raises JobConflict if the job has ended or its inbox is full.
    """
    if left.key is not None and left.key in known:
        return None
    if job.ended:
        raise JobConflict(f"the job has {job.status}; nothing waits for signals", code="job_ended", job_id=job.id)
    if len(job.inbox) >= INBOX_LIMIT:
        raise JobConflict(f"{INBOX_LIMIT} signals already wait in the inbox", code="inbox_full", job_id=job.id)
    waits = job.status is WAITING and job.waiting is not None and left.name in job.waiting.signals
    woken = wake(job, now) if waits else Change(id=job.id, turn=job.turn, set={"turn": job.turn + 1})
    return replace(woken, signal=left, set={**woken.set, "inbox": (*job.inbox, left.name)})


# -- ends, and the shared half of moves -----------------------------------------------------------------------------


def wake(job: Job[Any], now: float) -> Change:
    """What the job waited for is there, or its time is over."""
    return _requeue(job, "wake", now, "woken", waiting=None)


def deadline(job: Job[Any], now: float) -> Change:
    """The time from submit to end is over."""
    error = JobError(
        code="deadline_exceeded",
        message="the job's deadline passed before it ended",
        retryable=False,
        attempt=job.attempt,
        at=now,
    )
    return fail(job, error, now)


def fail(job: Job[Any], error: JobError, now: float) -> Change:
    """The end without a result."""
    data = {"status": FAILED.value, "error": error.wire()}
    failed = Event(type="job.failed", time=now, attempt=job.attempt, data=data)
    return _move(job, "fail", now, (failed,), last_error=error)


def owes(job: Job[Any]) -> bool:
    """True while an ended job has yet to tell a webhook of its end; only then is its `next_at` not its expiry."""
    return job.ended and bool(job.webhooks) and job.next_at != job.expires_at


def owing(job: Job[Any], at: float | None) -> Change:
    """An ended job is to be looked at again for what it owes; `at` None: it owes nothing, and stays for its time."""
    if job.expires_at is None:
        raise IllegalMove(f"owing: {job.id} is {job.status}")
    next_at = job.expires_at if at is None else _beside(at, job.expires_at)
    return Change(id=job.id, turn=job.turn, set={"turn": job.turn + 1, "next_at": next_at})


def _beside(at: float, expiry: float) -> float:
    return at if at != expiry else at + 0.001


def _cancelled(job: Job[Any], now: float, **also: Any) -> Change:
    data = {"status": CANCELLED.value, "reason": job.cancel_reason}
    ended = Event(type="job.cancelled", time=now, attempt=job.attempt, data=data)
    return _move(job, "cancel", now, (ended,), **also)


def _retry(job: Job[Any], error: JobError, pause: float, now: float, **also: Any) -> Change:
    data = {"status": RETRYING.value, "delayMs": round(pause * 1000), "error": error.wire()}
    event = Event(type="job.retrying", time=now, attempt=job.attempt, data=data)
    next_at = _soonest(now + pause, job.deadline)
    return _move(job, "retry", now, (event,), last_error=error, next_at=next_at, **also)


def _requeue(job: Job[Any], move: str, now: float, reason: str, **also: Any) -> Change:
    event = Event(type="job.queued", time=now, attempt=job.attempt, data={"status": QUEUED.value, "reason": reason})
    change = _move(job, move, now, (event,), queued_at=now, next_at=job.deadline, **also)
    return change if change.set["status"] is not QUEUED else replace(change, place="front")


def _move(job: Job[Any], name: str, now: float, events: tuple[Event, ...], **changed: Any) -> Change:
    move = MOVES[name]
    if job.status not in move.sources:
        raise IllegalMove(f"{name}: {job.id} is {job.status}, not {' or '.join(sorted(move.sources))}")
    if job.cancel_requested_at is not None and name not in ("complete", "cancel"):
        return _cancelled(job, now)
    changed["status"], changed["turn"] = move.target, job.turn + 1
    if job.status is PROCESSING:
        changed |= _LET_GO
        if job.open_steps:
            changed["open_steps"] = tuple(step for step in job.open_steps if step.status == "failed")
    if move.target in ENDED:
        tells = job.webhooks and any(f"job.{move.target}" in webhook.events for webhook in job.webhooks)
        changed["next_at"] = _beside(now + HEAD_START, now + job.keep) if tells else now + job.keep
        changed["completed_at"], changed["tag"], changed["waiting"] = now, None, None
    return Change(id=job.id, turn=job.turn, lease=job.lease, set=changed, events=events)


_LET_GO: Mapping[str, Any] = {
    "lease": None,
    "lease_until": None,
    "worker": None,
    "current_step": None,
    "open_steps": (),
}


def _ran(job: Job[Any], now: float) -> float:
    """Running time of this attempt so far: its earlier slices and this one."""
    return job.ran + (now - job.claimed_at if job.claimed_at is not None else 0.0)


def _soonest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _without(names: tuple[str, ...], taken: Sequence[str]) -> tuple[str, ...]:
    left = list(names)
    for name in taken:
        left.remove(name)
    return tuple(left)


def _wire_waiting(waiting: Waiting) -> dict[str, Any]:
    return {
        "status": WAITING.value,
        "reason": waiting.reason,
        "until": rfc3339(waiting.until),
        "signals": list(waiting.signals),
    }
