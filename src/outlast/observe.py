"""Named happenings in, log lines out: the one place for wording.

Each line carries its facts as fields (`record.job_id`, `record.attempt`, ...), and its action as `record.action`. No
payload, result, output or lease id is ever among them.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from outlast.errors import StoreRefused, StoreUnavailable
from outlast.job import Job
from outlast.metrics import Meter, Totals
from outlast.window import WAYS_OUT

logger = logging.getLogger("outlast")

WORDS: Mapping[str, tuple[int, str]] = {
    "store.opened": (logging.INFO, "store %(url)s (%(engine)s %(version)s), durability: %(durability)s"),
    "store.warning": (logging.WARNING, "store: %(warning)s"),
    "job.submitted": (logging.DEBUG, "job %(job_id)s (%(type)s) accepted"),
    "worker.started": (logging.INFO, "worker %(worker)s takes up to %(slots)s jobs of %(types)s"),
    "worker.alive": (
        logging.INFO,
        "worker %(worker)s lives: %(running)s of %(slots)s slots busy, %(ended)s jobs ended, %(memory)s MiB resident",
    ),
    "worker.stopping": (logging.INFO, "worker %(worker)s stops; %(running)s jobs to hand back"),
    "worker.stopped": (logging.INFO, "worker %(worker)s stopped"),
    "worker.failed": (logging.ERROR, "worker %(worker)s met an error and goes on"),
    "worker.blocked": (
        logging.WARNING,
        "worker %(worker)s stands still for %(seconds)s s now: a handler blocks its event loop; a `def` would not",
    ),
    "worker.stuck": (
        logging.ERROR,
        "worker %(worker)s gives up: %(count)s threads of %(threads_of)s run on although their slices are over, more "
        "than a quarter of its %(slots)s slots. It hands its work back and claims nothing any more; only a new process "
        "is rid of them. Give calls that block a time limit of their own, shorter than the handler's timeout",
    ),
    "worker.died": (logging.WARNING, "worker %(worker)s is gone; its jobs go on elsewhere"),
    "sweep.failed": (logging.ERROR, "the sweep failed; it tries again"),
    "sweep.stuck": (logging.ERROR, "job %(job_id)s is due and cannot be moved; the sweep goes on with the others"),
    "attempt.started": (logging.INFO, "job %(job_id)s (%(type)s) attempt %(attempt)s starts"),
    "attempt.completed": (logging.INFO, "job %(job_id)s (%(type)s) completed"),
    "attempt.failed": (logging.WARNING, "job %(job_id)s (%(type)s) attempt %(attempt)s failed: %(code)s: %(message)s"),
    "attempt.parked": (logging.INFO, "job %(job_id)s (%(type)s) waits: %(reason)s"),
    "attempt.handed_back": (logging.INFO, "job %(job_id)s (%(type)s) handed back: %(reason)s"),
    "attempt.cancelled": (logging.INFO, "job %(job_id)s (%(type)s) cancelled"),
    "attempt.broke": (logging.ERROR, "job %(job_id)s (%(type)s) attempt %(attempt)s broke off; its lease runs out"),
    "slice.step_too_long": (
        logging.WARNING,
        "job %(job_id)s (%(type)s): %(what)s did not end within a slice of %(seconds)s s, which costs an attempt: "
        + WAYS_OUT,
    ),
    "slice.broke": (
        logging.ERROR,
        "the slice of job %(job_id)s that a request ran while it waited broke off; it goes on with the next call",
    ),
    "lease.lost": (
        logging.WARNING,
        "job %(job_id)s (%(type)s) attempt %(attempt)s lost its lease; what it wrote since is refused",
    ),
    "lease.taken_over": (logging.WARNING, "job %(job_id)s: its worker's lease was taken over, now %(status)s"),
    "handler.hung": (logging.ERROR, "job %(job_id)s (%(type)s): the handler did not end within %(grace)s s"),
    "hook.failed": (logging.ERROR, "job %(job_id)s (%(type)s): the hook %(hook)s for %(moment)r failed"),
    "hook.dropped": (
        logging.ERROR,
        "job %(job_id)s (%(type)s): no hook for %(moment)r is called, for %(waiting)s calls wait already",
    ),
    "hook.late": (logging.WARNING, "%(count)s calls of hooks were not over within %(seconds)s s and are cut off"),
    "webhook.delivered": (logging.DEBUG, "job %(job_id)s (%(type)s): %(host)s was told of its end (%(delivery)s)"),
    "webhook.failed": (
        logging.WARNING,
        "job %(job_id)s (%(type)s): %(host)s was not told of its end (%(outcome)s, %(delivery)s); it is tried again",
    ),
    "webhook.given_up": (
        logging.ERROR,
        "job %(job_id)s (%(type)s): %(host)s is not told of its end (%(outcome)s, %(delivery)s); redeliver it by hand",
    ),
    "webhook.broke": (logging.ERROR, "job %(job_id)s (%(type)s): a delivery broke off; it is tried again"),
    "push.set": (logging.INFO, "push %(push)s"),
    "push.warning": (logging.WARNING, "push: %(warning)s"),
    "push.unpublished": (
        logging.WARNING,
        "job %(job_id)s (%(type)s): nobody was called for it (%(why)s); a sweep tries again",
    ),
    "push.broke": (logging.ERROR, "job %(job_id)s (%(type)s): calling for it broke off; a sweep tries again"),
    "push.nobody_came": (
        logging.WARNING,
        "%(count)s jobs were called for, up to %(seconds)s s ago, and nobody came; they are called for again. If no "
        "call ever arrives, see in the log of the push service which address it calls and what it is answered",
    ),
    "push.shortened": (
        logging.WARNING,
        "the platform leaves a call %(granted)s s, less than the budget of %(budget)s s, and slices end by "
        "then; have it allow more, or set the budget to what it allows",
    ),
    "push.refused": (logging.WARNING, "a call to %(place)s was refused, for %(why)s"),
    "push.unreadable": (logging.WARNING, "a call names no job, in the form that Outlast writes; nothing is done"),
    "push.unknown": (logging.WARNING, "a call names %(job_id)s, which is no job here; it may have been removed"),
    "slice.no_handler": (
        logging.WARNING,
        "job %(job_id)s (%(type)s) runs no slice here, where no handler has its type; it waits for an app that has one",
    ),
    "push.dead": (
        logging.ERROR,
        "the push service gave up calling for %(job_id)s; %(outcome)s",
    ),
    "push.failed": (logging.ERROR, "a call for %(job_id)s could not be answered; it is to come again"),
    "push.not_hidden": (
        logging.WARNING,
        "the queue did not change when the call %(message)s comes again (%(why)s); it does so as the queue is set",
    ),
    "bulk.part": (logging.INFO, "asked to %(action)s many jobs: %(done)s done, %(skipped)s skipped as they had moved"),
    "access.denied": (logging.INFO, "request %(request_id)s of %(caller)s was refused: %(code)s"),
    "attachments.removed": (logging.DEBUG, "%(count)s attachments removed that no job named any more"),
    "purge.done": (logging.DEBUG, "%(count)s ended jobs removed"),
}

OF_THE_APPS_CODE = frozenset({"attempt.failed", "hook.failed"})
"""Happenings whose error was raised in a handler or a hook: its traceback leads to the line."""


class Observe:
    """Takes happenings; counts them, and writes each to the log `outlast`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.meter = Meter()

    def __call__(
        self, happening: str, *, of: Job[Any] | None = None, error: BaseException | None = None, **facts: Any
    ) -> None:
        """Something happened.

        Parameters
        ----------
        happening: a key of WORDS.
        of: the job that it happened to, for the facts `job_id`, `type` and `attempt`.
        error: logged with its traceback. Where the store is away that would say nothing, and come again each second, so
            that its message is put behind the words; but not if code of the app's raised it.
        facts: named in the wording, and fields of the log record.
        """
        self.counts[happening] += 1
        level, words = WORDS[happening]
        if logger.isEnabledFor(level):
            if of is not None:
                facts |= {"job_id": of.id, "type": of.type, "attempt": of.attempt}
            fields = {name if name not in _TAKEN else f"{name}_": value for name, value in facts.items()}
            if isinstance(error, StoreUnavailable | StoreRefused) and happening not in OF_THE_APPS_CODE:
                words, facts, error = f"{words}: %(store_error)s", facts | {"store_error": error}, None
            # A record takes an empty mapping for an argument to be put into the words, and these have no place for one.
            named = (facts,) if facts else ()
            logger.log(level, words, *named, exc_info=error, extra={**fields, "action": happening})

    def totals(self, process: str) -> Totals:
        """All that was counted so far."""
        return self.meter.totals(process, self.counts)


_TAKEN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
