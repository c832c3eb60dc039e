"""The records of the house: Job, Step, Event, Signal, Change, with their form on the wire.

A Job is what is known of one request at one moment. None of these is ever edited: lifecycle decides a Change, a store
applies it, and whoever wants the new Job reads it. All are frozen but Event and Change: a job makes several of them at
each move, in a third of the time. Times are seconds since 1970 by the store's clock.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Generic, Literal, Protocol, TypeVar

from outlast.ends import END_EVENTS, MOVE_EVENTS, Webhook
from outlast.notation import rfc3339
from outlast.report import Report

T = TypeVar("T")

Priority = Literal["low", "normal", "high"]
RANK: Mapping[Priority, int] = {"high": 0, "normal": 1, "low": 2}
"""The order of claims: the lower rank first."""

EndCode = Literal[
    "handler_error",
    "timeout",
    "deadline_exceeded",
    "cancelled",
    "worker_died",
    "payload_invalid",
    "provider_error",
    "rate_limited",
    "budget",
    "result_not_json",
    "result_too_large",
    "limit_exceeded",
    "dead_lettered",
]


class Status(StrEnum):
    """Where a job is in its life: four live statuses, three ended ones."""

    QUEUED = "queued"
    PROCESSING = "processing"
    WAITING = "waiting"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __hash__ = str.__hash__  # an Enum's own is computed in Python each time

    @property
    def ended(self) -> bool:
        return self in ENDED


ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
LIVE = frozenset(Status) - ENDED

Fields = Mapping[str, Any] | Iterable[tuple[str, Any]]
_NOTHING: Fields = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why an attempt, or the job, failed: the wire's `lastError`."""

    code: str
    message: str
    retryable: bool
    attempt: int
    at: float
    advice: str | None = None
    details: Mapping[str, Any] | None = None

    def wire(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "attempt": self.attempt,
            "at": rfc3339(self.at),
        }
        return shown | {k: v for k, v in (("advice", self.advice), ("details", self.details)) if v is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What a parked job waits for: the clock alone (`signals` empty), or one of these signals."""

    reason: Literal["sleep", "signal", "provider", "rate_limit"]
    until: float | None = None
    signals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A call whose result is remembered.

    `key` names the call (parent, name, arguments, occurrence); `value` is its result as JSON text. A step that
    waits (`ctx.sleep`, `ctx.wait_for`) is recorded as `waiting` with its due time, then as `completed`.
    """

    key: str
    name: str
    index: int
    status: Literal["pending", "running", "waiting", "completed", "failed"]
    value: str | None = None
    due: float | None = None
    attempt: int = 0
    duration_ms: int | None = None

    def wire(self) -> dict[str, Any]:
        status = "running" if self.status == "waiting" else self.status
        shown: dict[str, Any] = {"name": self.name, "index": self.index, "status": status}
        return shown if self.duration_ms is None else shown | {"durationMs": self.duration_ms}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A value left in a job's inbox, as JSON text; `number` is its place there, given by the store."""

    name: str
    value: str
    number: int = 0
    key: str | None = None
    taken: bool = False


@dataclass(slots=True, kw_only=True)
class Event:
    """One entry of a job's log. `seq` is 0 until the store numbers it; `data` holds its own wire fields."""

    type: str
    time: float
    attempt: int
    data: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0

    @property
    def is_output(self) -> bool:
        return self.type.startswith("job.output.")

    @property
    def is_end(self) -> bool:
        return self.type in END_EVENTS

    @property
    def is_move(self) -> bool:
        """True if a move or a wish made it; all else an attempt wrote."""
        return self.type in MOVE_EVENTS

    def wire(self, job_id: str) -> dict[str, Any]:
        """The flat object that SSE, JSON, WebSocket and webhooks all carry."""
        head = {"type": self.type, "jobId": job_id, "seq": self.seq, "time": rfc3339(self.time)}
        return head | {"attempt": self.attempt} | dict(self.data)


@dataclass(frozen=True, kw_only=True)
class Job(Generic[T]):
    """The durable record of one request.

    `result` is the handler's own type once the job is completed (decoded by `app.wait` and `app.get`), else None.
    It has no slots, so that `evolve` can copy all its fields at once.
    """

    id: str
    type: str
    owner: str | None = None
    status: Status = Status.QUEUED

    # who may write it, and where it stands in line
    turn: int = 0
    lease: str | None = None
    lease_until: float | None = None
    worker: str | None = None
    tag: int | None = None
    next_at: float | None = None

    # attempts
    attempt: int = 0
    resumes: bool = False
    deaths: int = 0
    claimed_at: float | None = None
    ran: float = 0.0

    # what others left on it
    waiting: Waiting | None = None
    inbox: tuple[str, ...] = ()
    cancel_requested_at: float | None = None
    cancel_reason: str | None = None

    # times
    created_at: float = 0.0
    queued_at: float = 0.0
    started_at: float | None = None
    completed_at: float | None = None
    updated_at: float = 0.0

    # what was asked for; never changes
    priority: Priority = "normal"
    max_retries: int = 3
    timeout: float | None = 900.0
    backoff_base: float = 2.0
    backoff_cap: float = 300.0
    deadline: float | None = None
    keep: float = 7 * 86400.0
    planned: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    fingerprint: str | None = None
    retry_of: str | None = None
    origin: str | None = None
    batch_id: str | None = None
    external_id: str | None = None
    trace: str | None = None
    webhooks: tuple[Webhook, ...] = ()

    # what an attempt writes while it runs
    seq: int = 0
    version: int = 0
    progress: float | None = None
    message: str | None = None
    current_step: str | None = None
    open_steps: tuple[Step, ...] = ()
    offsets: Mapping[str, int] = field(default_factory=dict)
    usage: Mapping[str, float] = field(default_factory=dict)

    # JSON as it was received or returned; None where it was not asked for or is not there
    payload_json: str | None = None
    result_json: str | None = None
    last_error: JobError | None = None
    result: T = None  # type: ignore[assignment]  # a live job has no result; the type is that of a completed one

    def evolve(self, changed: Fields = _NOTHING, /, **more: Any) -> "Job[Any]":
        """The same job with these fields changed: `dataclasses.replace`, ten times as fast. TypeError for no field."""
        job: Job[Any] = object.__new__(Job)
        values = job.__dict__
        values.update(self.__dict__)
        values.update(changed, **more)
        if len(values) != len(self.__dict__):
            raise TypeError(f"a Job has no field {', '.join(sorted(values.keys() - self.__dict__.keys()))}")
        return job

    @property
    def ended(self) -> bool:
        return self.status.ended

    @property
    def retry_count(self) -> int:
        return max(self.attempt - 1, 0)

    @property
    def expires_at(self) -> float | None:
        """When an ended job is removed with its events and steps."""
        return None if self.completed_at is None else self.completed_at + self.keep

    def wire(self, *, steps: Sequence[Step] | None = None) -> dict[str, Any]:
        """The job as JSON shows it, without what only a server can add (urls, hints, estimates)."""
        shown: dict[str, Any] = {
            "id": self.id,
            "type": self.type,
            "owner": self.owner,
            "status": self.status.value,
            "version": self.version,
            "seq": self.seq,
            "progress": _number(self.progress),
            "currentStep": self.current_step,
            "message": self.message,
        }
        if steps is not None:
            shown["steps"] = [step.wire() for step in shown_steps(self, steps)]
        return shown | {
            "priority": self.priority,
            "attempt": self.attempt,
            "retryCount": self.retry_count,
            "maxRetries": self.max_retries,
            "retryOf": self.retry_of,
            "batchId": self.batch_id,
            "externalId": self.external_id,
            "tags": list(self.tags),
            "metadata": dict(self.metadata),
            "waiting": _waiting(self.waiting),
            "cancelReason": self.cancel_reason,
            **self._wire_times(),
            "output": {"offset": self.offsets.get("text", 0), "complete": self.ended},
            "result": None if self.result_json is None else json.loads(self.result_json),
            "lastError": None if self.last_error is None else self.last_error.wire(),
            "usage": dict(self.usage) or None,
        }

    def _wire_times(self) -> dict[str, str | None]:
        return {
            "queuedAt": rfc3339(self.queued_at),
            "startedAt": rfc3339(self.started_at),
            "completedAt": rfc3339(self.completed_at),
            "cancelRequestedAt": rfc3339(self.cancel_requested_at),
            "createdAt": rfc3339(self.created_at),
            "updatedAt": rfc3339(self.updated_at),
            "expiresAt": rfc3339(self.expires_at),
            "deadline": rfc3339(self.deadline),
        }

    def wire_lite(self) -> dict[str, Any]:
        """The short form that lists and feeds carry."""
        error = self.last_error
        return {
            "id": self.id,
            "type": self.type,
            "status": self.status.value,
            "version": self.version,
            "progress": _number(self.progress),
            "currentStep": self.current_step,
            "message": self.message,
            "createdAt": rfc3339(self.created_at),
            "updatedAt": rfc3339(self.updated_at),
            "completedAt": rfc3339(self.completed_at),
            "lastError": None if error is None else {"code": error.code, "message": error.message},
        }


LIVE_FIELDS = frozenset(
    "seq version updated_at lease_until progress message current_step open_steps offsets usage".split()
)
"""What appends and renewals write, so that a store may keep it in a narrow row of its own."""

ASKED_FIELDS = frozenset(
    "max_retries timeout backoff_base backoff_cap deadline keep planned tags metadata idempotency_key fingerprint"
    " retry_of origin batch_id external_id trace webhooks".split()
)
"""What the submit fixed; never written again."""


class Guards(Protocol):
    """What of a job tells whether a Change still holds."""

    @property
    def turn(self) -> int: ...
    @property
    def lease(self) -> str | None: ...
    @property
    def lease_until(self) -> float | None: ...


@dataclass(slots=True, kw_only=True)
class Change:
    """A decided move, wish or append, to be applied whole or not at all.

    It holds while each guard that is not None equals the job's own: `turn` (moves and wishes), `lease` (all that an
    attempt writes), `lease_until` (a takeover, which a renewal in between makes void).

    set:      new values of Job fields.
    events:   to be numbered from the job's `seq` on.
    steps:    recorded under their key; a completed one is never overwritten.
    place:    "back" gives the job its owner's next tag, "front" the least tag now ready; it is claimable from then.
    signal:   put into the inbox.
    consumed: numbers of the signals to be marked as taken.
    report:   kept for whoever operates.
    """

    id: str
    turn: int | None = None
    lease: str | None = None
    lease_until: float | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    steps: tuple[Step, ...] = ()
    place: Literal["back", "front"] | None = None
    signal: Signal | None = None
    consumed: tuple[int, ...] = ()
    report: Report | None = None

    def holds(self, job: Guards) -> bool:
        """True while the job is still the one this was decided on."""
        return (
            (self.turn is None or self.turn == job.turn)
            and (self.lease is None or self.lease == job.lease)
            and (self.lease_until is None or self.lease_until == job.lease_until)
        )

    def applied(self, job: Job[Any]) -> Job[Any]:
        """The job after this change, its tag apart."""
        if not self.events:
            return job.evolve(self.set)
        seq, version = counted(self.events, job.seq, job.version)
        return job.evolve(self.set, seq=seq, version=version, updated_at=self.events[-1].time)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job on its way in, with its first events and, for a retry, the steps it inherits."""

    job: Job[Any]
    events: tuple[Event, ...]
    steps: tuple[Step, ...] = ()
    place: Literal["back"] | None = "back"


def numbered(events: Sequence[Event], seq: int) -> list[Event]:
    """The events with their numbers, the first of which follows `seq`."""
    return [replace(event, seq=number) for number, event in enumerate(events, seq + 1)]


def counted(events: Sequence[Event], seq: int, version: int) -> tuple[int, int]:
    """`seq` and `version` after these events: the last number, and the number of the last event that is no output."""
    for event in events:
        seq += 1
        if not event.is_output:
            version = seq
    return seq, version


def shown_steps(job: Job[Any], recorded: Sequence[Step]) -> list[Step]:
    """Recorded, running and planned steps in one list, each name of the plan once; an ended job's wait is over."""
    closed = {step.key for step in recorded if step.status == "completed"}
    steps = [step for step in recorded if step.key in closed]
    steps += [step for step in job.open_steps if step.key not in closed]
    shown = {step.key for step in steps}
    steps += [step for step in recorded if step.key not in shown and not job.ended]
    steps.sort(key=lambda step: step.index)
    names = {step.name for step in steps}
    following = max((step.index for step in steps), default=-1) + 1
    planned = [] if job.ended else [name for name in job.planned if name not in names]
    return steps + [
        Step(key=f"planned/{name}", name=name, index=following + i, status="pending") for i, name in enumerate(planned)
    ]


def _waiting(waiting: Waiting | None) -> dict[str, Any] | None:
    if waiting is None:
        return None
    return {"reason": waiting.reason, "until": rfc3339(waiting.until), "signals": list(waiting.signals)}


def _number(value: float | None) -> float | int | None:
    return int(value) if value is not None and value == int(value) else value
