"""What became of each attempt of a job, read out of its log and the reports of its slices."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from outlast.job import Event, Job
from outlast.notation import rfc3339
from outlast.report import Line, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptInfo:
    """One try at a job, for whoever operates.

    Times are seconds since 1970; `ended_at` is None while it runs, waits, or is to be continued.

    status:    the job's, as this attempt left it.
    code:      why it ended without a result, with its `message`.
    worker:    who ran it (the last, if several); not known of one that neither failed nor logged and is over.
    traceback: of what was raised.
    lines:     what the user's code logged, the newest of each slice; `dropped` counts those before them.
    """

    number: int
    began_at: float
    ended_at: float | None = None
    status: str = "processing"
    code: str | None = None
    message: str | None = None
    worker: str | None = None
    traceback: str | None = None
    lines: tuple[Line, ...] = ()
    dropped: int = 0

    def wire(self) -> dict[str, Any]:
        return {
            "attempt": self.number,
            "worker": self.worker,
            "startedAt": rfc3339(self.began_at),
            "endedAt": rfc3339(self.ended_at),
            "status": self.status,
            "code": self.code,
            "message": self.message,
            "traceback": self.traceback,
            "lines": [line.wire() for line in self.lines],
            "linesDropped": self.dropped,
        }


def attempts(job: Job[Any], log: Iterable[Event], reports: Iterable[Report]) -> list[AttemptInfo]:
    """All attempts of the job so far, the first one first."""
    found: dict[int, AttemptInfo] = {}
    for event in log:
        if event.type == "job.started" and event.attempt not in found:
            found[event.attempt] = AttemptInfo(number=event.attempt, began_at=event.time)
        elif event.attempt in found and found[event.attempt].ended_at is None:
            found[event.attempt] = _moved(found[event.attempt], event)
    for report in reports:
        if report.attempt in found:
            found[report.attempt] = _reported(found[report.attempt], report)
    if job.worker is not None and job.attempt in found:
        found[job.attempt] = replace(found[job.attempt], worker=job.worker)
    return list(found.values())


ENDS = frozenset({"job.retrying", "job.completed", "job.failed", "job.cancelled"})
MOVES = ENDS | {"job.started", "job.waiting", "job.queued"}


def _moved(attempt: AttemptInfo, event: Event) -> AttemptInfo:
    if event.type not in MOVES:
        return attempt
    attempt = replace(attempt, status=event.data["status"])
    if event.type not in ENDS and event.data.get("reason") != "lease_lost":
        return attempt
    error = event.data.get("error", {})
    code = error.get("code", "cancelled" if event.type == "job.cancelled" else None)
    return replace(attempt, ended_at=event.time, code=code, message=error.get("message"))


def _reported(attempt: AttemptInfo, report: Report) -> AttemptInfo:
    return replace(
        attempt,
        worker=report.worker,
        code=attempt.code or report.code,
        traceback=report.traceback or attempt.traceback,
        lines=(*attempt.lines, *report.lines),
        dropped=attempt.dropped + report.dropped,
    )
