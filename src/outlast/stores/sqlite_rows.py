"""Records of the house to rows of SQLite and back; the tables are in sqlite_0001.sql."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from operator import attrgetter
from typing import Any

from outlast.job import ASKED_FIELDS, RANK, Change, Event, Job, JobError, Signal, Status, Step, Waiting, number
from outlast.report import Line, Report
from outlast.stores.base import Record

Values = tuple[Any, ...]

FIXED = ("id", "type", "owner", "rank", "created_at", "idempotency_key", "batch_id")
"""Columns of `job` that never change."""
MOVED = (
    "status",
    "turn",
    "lease",
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
APPENDED = ("seq", "version", "updated_at", "progress", "message", "current_step", "open_steps", "offsets", "usage")
"""Columns of `live` that appends change; `lease_until` stands beside them, for it has an index."""
KEPT = (*MOVED, *APPENDED, "lease_until")
ENDING = frozenset({"last_error", "result_json"})
"""Columns of `result`, written apart."""
STORED = ("n", *FIXED, *KEPT)
WHOLE = (*STORED, "asked", "last_error", "payload", "result_json")
"""Columns of the view `whole`, as `job_of` takes them; the first of them are those of `stored_of`."""

APPENDED_SET = frozenset(APPENDED)

PLACE = {name: place for place, name in enumerate(KEPT)}
_TURN, _LEASE, _LEASE_UNTIL = PLACE["turn"], PLACE["lease"], PLACE["lease_until"]
_SEQ, _VERSION, _UPDATED, _TAG = PLACE["seq"], PLACE["version"], PLACE["updated_at"], PLACE["tag"]
_END_OF_MOVED = len(MOVED)
_N, _RANK, _OWNER, _KEPT = (WHOLE.index(name) for name in ("n", "rank", "owner", KEPT[0]))

dumps = json.JSONEncoder(separators=(",", ":")).encode
loads = json.loads


# -- jobs -----------------------------------------------------------------------------------------------------------


class Stored:
    """What is stored of a job and may change, as the database holds it; a change is laid over it.

    `turn`, `lease` and `lease_until` stay as they were read: a change is held against them before it is laid.
    """

    __slots__ = ("_kept", "lease", "lease_until", "n", "owner", "rank", "turn")

    def __init__(self, n: int, rank: int, owner: str | None, kept: Sequence[Any]) -> None:
        self.n, self.rank, self.owner = n, rank, owner
        self.turn, self.lease, self.lease_until = kept[_TURN], kept[_LEASE], kept[_LEASE_UNTIL]
        self._kept = list(kept)

    @property
    def tag(self) -> int | None:
        tag: int | None = self._kept[_TAG]
        return tag

    @tag.setter
    def tag(self, tag: int | None) -> None:
        self._kept[_TAG] = tag

    def lay(self, change: Change) -> tuple[Event, ...]:
        """Take over what the change sets; answers its events with their numbers."""
        kept = self._kept
        for name, value in change.set.items():
            if name not in ENDING:
                kept[PLACE[name]] = _ENCODE[name](value) if name in _ENCODE else value
        events, kept[_SEQ], kept[_VERSION] = number(change.events, kept[_SEQ], kept[_VERSION])
        if events:
            kept[_UPDATED] = events[-1].time
        return events

    @property
    def moved(self) -> list[Any]:
        return [*self._kept[:_END_OF_MOVED], self.n]

    @property
    def appended(self) -> list[Any]:
        return [*self._kept[_END_OF_MOVED:_LEASE_UNTIL], self.n]

    @property
    def live(self) -> list[Any]:
        return [*self._kept[_END_OF_MOVED:], self.n]


def stored_of(row: Sequence[Any]) -> Stored:
    """From the first columns of a row of the view `whole`."""
    return Stored(row[_N], row[_RANK], row[_OWNER], row[_KEPT : _KEPT + len(KEPT)])


def job_of(row: Sequence[Any]) -> Job[Any]:
    """From a whole row of the view `whole`."""
    values: dict[str, Any] = dict(zip(WHOLE, row, strict=True))
    for name, decode in _DECODE.items():
        if values[name] is None:
            del values[name]  # what Job has by itself
        else:
            values[name] = decode(values[name])
    values["priority"] = _PRIORITY[values.pop("rank")]
    values["payload_json"] = values.pop("payload")
    values |= _asked_of(values.pop("asked"))
    del values["n"]
    return _BLANK.evolve(**values)


def fixed_row(job: Job[Any]) -> Values:
    return job.id, job.type, job.owner, RANK[job.priority], job.created_at, job.idempotency_key, job.batch_id


def kept_rows(job: Job[Any]) -> tuple[list[Any], list[Any]]:
    """The columns `MOVED`, and the columns `APPENDED` with `lease_until`."""
    row = list(_kept_of(job))
    for name, encode in _ENCODE.items():
        row[PLACE[name]] = encode(row[PLACE[name]])
    return row[:_END_OF_MOVED], row[_END_OF_MOVED:]


def asked_text(job: Job[Any]) -> str:
    """What the submit fixed, without what is default."""
    values = zip(_ASKED.items(), _all_asked_of(job), strict=True)
    return dumps({name: value for (name, default), value in values if value != default})


def error_text(error: JobError | None) -> str | None:
    return None if error is None else dumps(asdict(error))


def _asked_of(text: str) -> dict[str, Any]:
    asked: dict[str, Any] = loads(text)
    for name in ("planned", "tags"):
        if name in asked:
            asked[name] = tuple(asked[name])
    return asked


def _default(field: Any) -> Any:
    return field.default if field.default is not MISSING else field.default_factory()


_ASKED = {field.name: _default(field) for field in fields(Job) if field.name in ASKED_FIELDS - set(FIXED)}
_BLANK: Job[Any] = Job(id="", type="")
_kept_of, _all_asked_of = attrgetter(*KEPT), attrgetter(*_ASKED)
_PRIORITY = {rank: priority for priority, rank in RANK.items()}


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


_ENCODE: Mapping[str, Callable[[Any], Any]] = {
    "status": str,
    "resumes": int,
    "waiting": _waiting_text,
    "inbox": _names_text,
    "open_steps": _steps_text,
    "offsets": _mapping_text,
    "usage": _mapping_text,
}
_DECODE: Mapping[str, Callable[[Any], Any]] = {
    "status": Status,
    "resumes": bool,
    "waiting": _waiting_of,
    "inbox": _names_of,
    "open_steps": _steps_of,
    "offsets": loads,
    "usage": loads,
    "last_error": _error_of,
}


# -- what belongs to a job ---------------------------------------------------------------------------------------------


def event_row(n: int, event: Event) -> Values:
    return n, event.seq, event.type, event.time, event.attempt, event.is_output, dumps(dict(event.data))


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
