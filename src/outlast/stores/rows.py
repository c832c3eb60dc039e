"""Records of the house to rows of SQL tables and back; the tables are in sqlite_0001.sql."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from operator import attrgetter, itemgetter
from typing import Any

from pydantic_core import to_json

from outlast.ends import Webhook
from outlast.job import (
    ASKED_FIELDS,
    RANK,
    Change,
    Event,
    Job,
    JobError,
    Signal,
    Status,
    Step,
    Waiting,
    counted,
)
from outlast.report import Line, Report
from outlast.stores.base import Record

Values = tuple[Any, ...]

FIXED = ("id", "type", "owner", "rank", "created_at", "idempotency_key", "batch_id")
"""Columns of `job` that never change."""
MOVED = (
    "status",
    "turn",
    "lease",
    "lease_until",
    "worker",
    "tag",
    "next_at",
    "attempt",
    "resumes",
    "deaths",
    "claimed_at",
    "ran",
    "waiting",
    "inbox",
    "cancel_requested_at",
    "cancel_reason",
    "queued_at",
    "started_at",
    "completed_at",
)
"""Columns of `job` that moves and wishes change."""
COUNTED = ("seq", "version", "updated_at")
"""Columns of `job` and of `live` that every event changes."""
SHOWN = ("progress", "message", "current_step", "open_steps", "offsets", "usage")
"""Columns of `live` that appends change."""
KEPT = (*MOVED, *COUNTED, *SHOWN)
ENDING = frozenset({"last_error", "result_json"})
"""Columns of `result`, written apart."""
STORED = ("n", *FIXED, *KEPT, "appended", "logged")
WHOLE = (*STORED, "asked", "last_error", "payload", "result_json")
"""Columns of the view `whole`, as `job_of` takes them; the first of them are those that `Stored` takes."""

APPENDED = frozenset(COUNTED + SHOWN)

_APART = len(KEPT)
PLACE = {name: place for place, name in enumerate(KEPT)} | dict.fromkeys(ENDING, _APART)
"""Where a field lies in what is kept of a job; what is written apart goes to a place behind it."""
_TURN, _LEASE, _LEASE_UNTIL, _TAG = PLACE["turn"], PLACE["lease"], PLACE["lease_until"], PLACE["tag"]
_SEQ, _VERSION, _UPDATED = PLACE["seq"], PLACE["version"], PLACE["updated_at"]
_COUNTED, _SHOWN = len(MOVED), len(MOVED) + len(COUNTED)
_N, _RANK, _OWNER, _KEPT = (WHOLE.index(name) for name in ("n", "rank", "owner", KEPT[0]))
_END_OF_KEPT = _KEPT + len(KEPT)
_STATUS, _PROGRESS = PLACE["status"], SHOWN.index("progress")
COMPLETED = Status.COMPLETED.value

dumps = json.JSONEncoder(separators=(",", ":")).encode
loads = json.loads


# -- jobs -----------------------------------------------------------------------------------------------------------


class Stored:
    """What is stored of a job and may change, as the database holds it; a change is laid over it."""

    __slots__ = ("_kept", "n", "owner", "rank")

    def __init__(self, row: Sequence[Any]) -> None:
        self.n, self.rank, self.owner = row[_N], row[_RANK], row[_OWNER]
        self._kept = [*row[_KEPT:_END_OF_KEPT], None]

    @property
    def turn(self) -> int:
        turn: int = self._kept[_TURN]
        return turn

    @property
    def lease(self) -> str | None:
        lease: str | None = self._kept[_LEASE]
        return lease

    @property
    def lease_until(self) -> float | None:
        until: float | None = self._kept[_LEASE_UNTIL]
        return until

    @property
    def tag(self) -> int | None:
        tag: int | None = self._kept[_TAG]
        return tag

    @tag.setter
    def tag(self, tag: int | None) -> None:
        self._kept[_TAG] = tag

    @property
    def seq(self) -> int:
        seq: int = self._kept[_SEQ]
        return seq

    def lay(self, change: Change) -> bool:
        """Take over what the change sets; True if `live` has something new to show."""
        kept = self._kept
        shown = kept[_SHOWN:_APART]
        for name, value in change.set.items():
            kept[PLACE[name]] = value
        for name in ENCODE:
            if name in change.set:
                kept[PLACE[name]] = ENCODE[name](change.set[name])
        if change.events:
            kept[_SEQ], kept[_VERSION] = counted(change.events, kept[_SEQ], kept[_VERSION])
            kept[_UPDATED] = change.events[-1].time
        if kept[_STATUS] == COMPLETED:
            # That it is at 100 the view knows by itself.
            shown[_PROGRESS] = kept[_SHOWN + _PROGRESS]
        return shown != kept[_SHOWN:_APART]

    def moved(self, log: str) -> Values:
        """For the row in `job`, `log` being what is added to its log."""
        return (self.n, log, *self._kept[:_SHOWN])

    def shown(self) -> Values:
        """For the row in `live`."""
        return (self.n, *self._kept[_COUNTED:_APART])


def job_of(row: Sequence[Any]) -> Job[Any]:
    """From a whole row of the view `whole`."""
    asked = _NOTHING if row[_ASKED_AT] == "{}" else asked_of(row[_ASKED_AT])
    decoded = {name: decode(row[place]) for place, name, decode in _DECODED if row[place] is not None}
    return BLANK.evolve(zip(_FIELDS, _fields_of(row), strict=True), **decoded, **asked)


def job_row(n: int, job: Job[Any], log: str) -> Values:
    """A new job for the table `job`."""
    return (
        n,
        job.id,
        job.type,
        job.owner,
        RANK[job.priority],
        job.created_at,
        job.idempotency_key,
        job.batch_id,
        *_moved_row(job),
        log,
    )


def claimed_row(n: int, job: Job[Any], log: str) -> Values:
    """A claimed job for its row in `job`, `log` being what is added to its log."""
    return (n, log, *_moved_row(job))


def _moved_row(job: Job[Any]) -> list[Any]:
    row = list(_moved_of(job))
    for place, encode in _MOVED_ENCODED:
        row[place] = encode(row[place])
    return row


def live_row(n: int, job: Job[Any]) -> Values:
    """A job for the table `live`."""
    shown = (
        ENCODE[name](value) if name in ENCODE else value for name, value in zip(SHOWN, _shown_of(job), strict=True)
    )
    return n, job.seq, job.version, job.updated_at, *shown


def asked_text(job: Job[Any]) -> str:
    """What the submit fixed, without what is default."""
    asked = _all_asked_of(job)
    if asked == _NOTHING_ASKED:
        return "{}"
    each = zip(_ASKED.items(), asked, strict=True)
    return dumps({name: value for (name, default), value in each if value != default})


def error_text(error: JobError | None) -> str | None:
    return None if error is None else dumps(asdict(error))


def asked_of(text: str) -> dict[str, Any]:
    asked: dict[str, Any] = loads(text)
    for name in ("planned", "tags"):
        if name in asked:
            asked[name] = tuple(asked[name])
    if "webhooks" in asked:
        # What was stored before there was `full` ends with `own`.
        asked["webhooks"] = tuple(Webhook(url, tuple(events), *rest) for url, events, *rest in asked["webhooks"])
    return asked


def _default(field: Any) -> Any:
    return field.default if field.default is not MISSING else field.default_factory()


_ASKED = {field.name: _default(field) for field in fields(Job) if field.name in ASKED_FIELDS - set(FIXED)}
BLANK: Job[Any] = Job(id="", type="")
_NAMED_OTHERWISE = {"rank": "priority", "payload": "payload_json"}
_ASKED_AT = WHOLE.index("asked")
_moved_of, _shown_of, _all_asked_of = attrgetter(*MOVED, *COUNTED), attrgetter(*SHOWN), attrgetter(*_ASKED)
_NOTHING_ASKED = tuple(_ASKED.values())
_NOTHING: Mapping[str, Any] = {}


# -- fields that SQLite has no type for -------------------------------------------------------------------------------


def _waiting_text(waiting: Waiting | None) -> str | None:
    return None if waiting is None else dumps([waiting.reason, waiting.until, waiting.signals])


def _waiting_of(text: str) -> Waiting:
    reason, until, signals = loads(text)
    return Waiting(reason=reason, until=until, signals=tuple(signals))


def _steps_text(steps: Sequence[Step]) -> str | None:
    return dumps([asdict(step) for step in steps]) if steps else None


def _steps_of(text: str) -> tuple[Step, ...]:
    return tuple(Step(**step) for step in loads(text))


def _names_text(names: Sequence[str]) -> str | None:
    return dumps(names) if names else None


def _names_of(text: str) -> tuple[str, ...]:
    return tuple(loads(text))


def _mapping_text(mapping: Mapping[str, float]) -> str | None:
    return dumps(dict(mapping)) if mapping else None


def _error_of(text: str) -> JobError:
    return JobError(**loads(text))


ENCODE: Mapping[str, Callable[[Any], Any]] = {
    "waiting": _waiting_text,
    "inbox": _names_text,
    "open_steps": _steps_text,
    "offsets": _mapping_text,
    "usage": _mapping_text,
}
DECODE: Mapping[str, Callable[[Any], Any]] = {
    "rank": {rank: priority for priority, rank in RANK.items()}.__getitem__,
    "status": {status.value: status for status in Status}.__getitem__,
    "resumes": bool,
    "waiting": _waiting_of,
    "inbox": _names_of,
    "open_steps": _steps_of,
    "offsets": loads,
    "usage": loads,
    "last_error": _error_of,
}


_NO_FIELDS = ("n", "appended", "logged", "asked")
_PLAIN = [name for name in WHOLE if name not in (*_NO_FIELDS, *DECODE)]
_FIELDS = [_NAMED_OTHERWISE.get(name, name) for name in _PLAIN]
_fields_of = itemgetter(*map(WHOLE.index, _PLAIN))
_DECODED = [(WHOLE.index(name), _NAMED_OTHERWISE.get(name, name), decode) for name, decode in DECODE.items()]
_MOVED_ENCODED = [(PLACE[name], ENCODE[name]) for name in MOVED if name in ENCODE]


# -- what belongs to a job ---------------------------------------------------------------------------------------------


def log_text(events: Sequence[Event], seq: int) -> str:
    """The moves among events whose first number follows `seq`, as they lie in `job.log`."""
    text = ""
    for number, event in enumerate(events, seq + 1):
        if event.is_move:
            text += f",[{number}{log_tail(event)}"
    return text


def log_tail(event: Event) -> str:
    """An entry of a log, from behind its number on."""
    return f',"{event.type}",{event.time!r},{event.attempt},{to_json(event.data).decode()}]'


def log_of(text: str) -> list[Event]:
    return [
        Event(type=type, time=time, attempt=attempt, data=data, seq=seq)
        for seq, type, time, attempt, data in loads(f"[{text[1:]}]")
    ]


def event_row(n: int, seq: int, event: Event) -> Values:
    return n, seq, event.type, event.time, event.attempt, event.is_output, dumps(dict(event.data))


def event_of(row: Sequence[Any]) -> Event:
    seq, type, time, attempt, data = row
    return Event(type=type, time=time, attempt=attempt, data=loads(data), seq=seq)


def step_row(n: int, step: Step) -> Values:
    return n, step.key, step.name, step.index, step.status, step.due, step.attempt, step.duration_ms, step.value


def step_of(row: Sequence[Any]) -> Step:
    key, name, index, status, due, attempt, duration_ms, value = row
    return Step(
        key=key,
        name=name,
        index=index,
        status=status,
        due=due,
        attempt=attempt,
        duration_ms=duration_ms,
        value=value,
    )


def signal_of(row: Sequence[Any]) -> Signal:
    number, name, key, taken, value = row
    return Signal(name=name, value=value, number=number, key=key, taken=bool(taken))


def report_text(report: Report) -> str:
    return dumps(asdict(report))


def report_of(row: Sequence[Any]) -> Report:
    values = loads(row[0])
    return Report(**{**values, "lines": tuple(Line(**line) for line in values["lines"])})


def record_of(row: Sequence[Any]) -> Record:
    key, value, version, expires_at = row
    return Record(key, loads(value), version, expires_at)
