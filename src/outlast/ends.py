"""The ends of a job as events, beside those of its other moves, and who is told of them."""

from typing import NamedTuple

ENDS = ("job.completed", "job.failed", "job.cancelled")
END_EVENTS = frozenset(ENDS)
MOVE_EVENTS = END_EVENTS | {
    "job.created",
    "job.queued",
    "job.started",
    "job.waiting",
    "job.retrying",
    "job.cancel_requested",
}


class Webhook(NamedTuple):
    """Who is told of a job's end: a URL, of which ends, and whether the submit named it (`own`) or the app's code."""

    url: str
    events: tuple[str, ...] = ENDS
    own: bool = True
