"""What may become of a slice, and the move that it makes. Pure."""

from typing import Any, Literal, NamedTuple

from outlast import lifecycle
from outlast.job import Change, Job, JobError, Waiting


class Returned(NamedTuple):
    """The handler returned; its result as JSON text."""

    result: str


class Raised(NamedTuple):
    """The attempt failed; `after` is when the handler wants to be tried again, in seconds.

    `cause` is what was raised; None where time ran out, or the handler was not called.
    """

    error: JobError
    after: float | None = None
    cause: BaseException | None = None


class Parked(NamedTuple):
    """The handler waits for something that may take long."""

    waiting: Waiting


class HandedBack(NamedTuple):
    """The worker goes, or the slice's time is over; the job goes on elsewhere.

    `progressed`: it recorded a step.
    """

    reason: Literal["yield", "deploy"]
    progressed: bool = True


class Cancelled:
    """Somebody asked for it, and the handler has stopped."""


class Lost:
    """The lease is no longer this attempt's; nothing may be written."""


Outcome = Returned | Raised | Parked | HandedBack | Cancelled | Lost


def judge(job: Job[Any], outcome: Outcome, now: float, chance: float) -> Change:
    """The move that an outcome makes of a job; `chance` is uniform in [0, 1)."""
    match outcome:
        case Returned(result):
            return lifecycle.complete(job, result, now)
        case Raised(error, after):
            return lifecycle.raised(job, error, now, chance=chance, after=after)
        case Parked(waiting):
            return lifecycle.park(job, waiting, now)
        case HandedBack(reason, progressed):
            return lifecycle.hand_back(job, reason, now, progressed=progressed)
        case Cancelled():
            return lifecycle.cancelled(job, now)
        case Lost():
            raise AssertionError("a lost lease makes no move")
