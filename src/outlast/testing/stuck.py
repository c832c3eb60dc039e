"""What keeps jobs from their end, in words."""

from collections.abc import Sequence
from typing import Any

from outlast.job import Job, Status


class Stuck(AssertionError):
    """The jobs cannot go on as the test wants; the message says what each of them waits for."""


def described(jobs: Sequence[Job[Any]], now: float) -> str:
    """A line for each job: its status, and what it waits for."""
    return "\n".join(f"  {job.id} ({job.type}) {_why(job, now)}" for job in jobs)


def _why(job: Job[Any], now: float) -> str:
    if job.ended:
        return f"has {job.status}"
    if job.status is Status.PROCESSING:
        return _processing(job, now)
    if job.waiting is not None and job.waiting.signals:
        names = " or ".join(repr(name) for name in job.waiting.signals)
        return f"waits for the signal {names}, {_until(job.waiting.until, now)}"
    if job.status is Status.WAITING:
        return f"sleeps, {_until(job.next_at, now)}"
    if job.status is Status.RETRYING:
        said = "" if job.last_error is None else f" after {job.last_error.message.splitlines()[0]}"
        return f"is to be tried again, {_from(job.next_at, now)}{said}"
    return "is queued" if job.tag is not None else f"is queued, {_from(job.next_at, now)}"


def _processing(job: Job[Any], now: float) -> str:
    at = "" if job.current_step is None else f" in step {job.current_step!r}"
    left = 0.0 if job.lease_until is None else job.lease_until - now
    return f"is processing{at}; its lease is good for {left:g} s"


def _until(time: float | None, now: float) -> str:
    return "for ever" if time is None else f"for {time - now:g} s more"


def _from(time: float | None, now: float) -> str:
    return "at once" if time is None or time <= now else f"in {time - now:g} s"
