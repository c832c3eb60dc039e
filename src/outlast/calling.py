"""When a job is to be called for: by a push, in place of a worker that pulls. Pure.

A claimable job has no time at which the clock must move it, but for its deadline. So its `next_at` is free to say by
when it should have been claimed; a claim takes it away, and where nobody is called it is not set.
"""

from dataclasses import replace
from typing import Any

from outlast.job import Change, Job, JobError, NewJob, Status
from outlast.lifecycle import fail

CALL_WITHIN = 10.0
"""Seconds that whoever made a job claimable has to call for it by a push, before any sweep does."""

CALL_AGAIN = 30.0, 3600.0
"""Seconds until a job that nobody claims is called for again: at least, and at most."""


def to_call(change: Change, now: float) -> Change:
    """The change; if it makes the job claimable, so that a sweep finds the job unless it is claimed soon."""
    if change.place is None:
        return change
    next_at = soonest(now + CALL_WITHIN, change.set.get("next_at"))
    return replace(change, set={**change.set, "next_at": next_at})


def new_to_call(new: NewJob, now: float) -> NewJob:
    """The same for a job on its way in."""
    if new.place is None:
        return new
    return replace(new, job=new.job.evolve(next_at=soonest(now + CALL_WITHIN, new.job.next_at)))


def uncalled(job: Job[Any], now: float) -> bool:
    """True for a claimable job that should have been claimed by now: its call was never made, or got lost."""
    due = job.next_at is not None and job.next_at <= now
    return job.tag is not None and due and (job.deadline is None or job.deadline > now)


def called_again(job: Job[Any], now: float) -> Change:
    """It is called for anew, and once more if it then waits as long again as it has."""
    least, most = CALL_AGAIN
    again = now + min(max(now - job.queued_at, least), most)
    return Change(id=job.id, turn=job.turn, set={"turn": job.turn + 1, "next_at": soonest(again, job.deadline)})


def calls_at(job: Job[Any], now: float) -> float | None:
    """When this job is to be called for: now if it is claimable, or once the clock will move it; None: not at all."""
    if job.ended or job.status is Status.PROCESSING:
        return None
    return now if job.tag is not None else job.next_at


def stale(job: Job[Any], now: float) -> bool:
    """True for a live job that a sweep should have moved, or called for, by now."""
    times = (job.next_at, job.lease_until)
    return not job.ended and any(time is not None and time <= now for time in times)


def dead_lettered(job: Job[Any], turn: int, now: float) -> Change | None:
    """The service gave up a call that was made at this turn of the job; None if the job has gone on since."""
    if job.ended or job.status is Status.PROCESSING or job.turn != turn:
        return None
    message = "the push service could not get its calls answered and gave up; retry the job once they are"
    error = JobError(code="dead_lettered", message=message, retryable=False, attempt=job.attempt, at=now)
    return fail(job, error, now)


def soonest(*times: float | None) -> float | None:
    """The first of these times that are any."""
    return min((time for time in times if time is not None), default=None)
