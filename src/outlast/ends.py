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


RESULT_IN_EVENT = 64 << 10
"""Bytes of a result up to which it travels within an event, or the message of a webhook."""


class Webhook(NamedTuple):
    """Who is told of a job's end: a URL, of which ends, whether the submit named it (`own`) or the app's code, and
    whether what came of the job is told too (`full`).
    """

    url: str
    events: tuple[str, ...] = ENDS
    own: bool = True
    full: bool = False
