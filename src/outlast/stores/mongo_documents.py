"""A job as one document, and what changes make of it; no I/O.

    job        {_id, the columns of rows.py, rev, revs, writes, due_at, gone_at, held, out: {key: text}}
    part       {_id: "<job>/<key>", text}

Everything a job is lies in its one document, because a document is what MongoDB writes whole or not at all. What grows
(events, steps, signals, reports) is put into its box, `out`, by the very update that changes the job. When the box is
full, the next writer first copies it into documents of their own, the parts, and then empties it with its update. An
entry never changes and has one key for ever, so that a copy that is made twice, or left behind by a writer that died,
is the same entry; readers take what lies in the box and in the parts together.

    e000000007   the event of this number, one that is no output       o000000008   one that is
    s00000012_001   a step as the 12th write recorded it; the first completed one counts
    g000003   the third signal          t000003   it was taken         r00000012_001   a report

`rev` is new with every write but a renewal, and every write holds only on the `rev` it was decided on. `revs` are the
last of them: they tell a writer of many documents which of its updates came through.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from outlast.job import RANK, Change, Event, Job, NewJob, Signal, Status, Step
from outlast.report import REPORTS, Report
from outlast.stores import rows
from outlast.stores.base import Head

Document = dict[str, Any]

GONE = "gone"
"""The status of a job that is being purged: nobody sees it any more."""

FULL = 64 * 1024
"""Characters in the box, above which the next write empties it."""

ENTRIES = 200
"""Entries in the box, above which the next write empties it."""

ROOM = 2 * 1024 * 1024
"""Characters that a new job may bring along in its box; a document holds 16 MiB."""

REVS = 16

LIGHT = {"payload": 0, "out": 0}
"""What a change is decided on: all but what is long and never looked at."""
SHOWN = {"out": 0}
PLAIN = {"payload": 0, "result_json": 0, "out": 0}

_ROW = ("n", *rows.FIXED, *rows.MOVED, *rows.COUNTED)
_LIVE = ("n", *rows.COUNTED, *rows.SHOWN)
_COLUMNS = (*_ROW[1:], *rows.SHOWN, "last_error", "result_json", "due_at", "gone_at")
_ABSENT = {"asked": "{}", "resumes": False, "appended": 0, "logged": 0, "n": 0}


def job_of(document: Mapping[str, Any]) -> Job[Any]:
    """The job; without its payload and result if they were not read."""
    return rows.job_of([document.get(name, _ABSENT.get(name)) for name in rows.WHOLE])


def head_of(document: Mapping[str, Any]) -> Head:
    return Head(document["seq"], document["turn"])


def held(owner: str | None, key: str) -> str:
    """An idempotency key as the unique index has it."""
    return rows.dumps([owner, key])


def _columns(job: Job[Any]) -> Document:
    columns: Document = dict(zip(_ROW, rows.job_row(0, job, ""), strict=False))
    columns |= zip(_LIVE, rows.live_row(0, job), strict=True)
    del columns["n"]
    columns["status"] = job.status.value
    columns["last_error"], columns["result_json"] = rows.error_text(job.last_error), job.result_json
    columns["gone_at" if job.ended else "due_at"] = due_at(job)
    return {name: value for name, value in columns.items() if value is not None}


def due_at(job: Job[Any]) -> float | None:
    """When the clock alone is to move the job, or to remove it."""
    return min((time for time in (job.next_at, job.lease_until) if time is not None), default=None)


class Born:
    """A new job as it is after its first events, as a document, and the parts that must be there before it."""

    def __init__(self, new: NewJob, tag: int | None) -> None:
        self.job: Job[Any] = Change(id=new.job.id, set={"tag": tag}, events=new.events).applied(new.job)
        box = _Box(1)
        box.events(new.events, 0)
        box.steps(new.steps)
        self.parts = parts_of(self.job.id, box.entries) if box.size > ROOM else []
        self.document = {"_id": self.job.id, **_columns(self.job), **_asked(self.job), **_revision(1, ())}
        if self.parts:
            self.document |= {"out": {}, "pending": 0, "signals": 0, "parts": True}
        else:
            self.document |= {"out": box.entries, "pending": box.size, "signals": 0}


def _asked(job: Job[Any]) -> Document:
    """What the submit fixed."""
    asked: Document = {"asked": rows.asked_text(job)}
    if job.payload_json is not None:
        asked["payload"] = job.payload_json
    if job.tags:
        asked["tags"] = list(job.tags)
    if job.idempotency_key is not None:
        asked["held"] = held(job.owner, job.idempotency_key)
    return asked


def parts_of(job_id: str, entries: Mapping[str, str]) -> list[Document]:
    return [{"_id": f"{job_id}/{key}", "text": text} for key, text in entries.items()]


def _revision(writes: int, before: Sequence[str]) -> Document:
    rev = f"{writes}-{secrets.token_hex(6)}"
    return {"writes": writes, "rev": rev, "revs": [*before, rev][-REVS:]}


class Draft:
    """The changes of one call to one job, laid over it one by one, until they are written with one update."""

    def __init__(self, document: Document) -> None:
        self._was = document
        self._kept = {name: document[name] for name in _COLUMNS if name in document}
        self._takeover: float | None = None
        self._is_emptied = False
        self._signals: int = document["signals"]
        self._box = _Box(document["writes"] + 1)
        self.revision = _revision(document["writes"] + 1, document["revs"])
        self.id: str = document["_id"]
        self.job = job_of(document)
        self.changed = False

    @property
    def is_full(self) -> bool:
        """True if the box is to be emptied before more is put into it."""
        return bool(self._was["pending"] > FULL)

    def take(self, change: Change, tag: int | None = None) -> bool:
        """Lay a change over the job, if it holds; `tag` is what its `place` gives."""
        if not change.holds(self.job):
            return False
        if change.lease_until is not None:
            self._takeover = change.lease_until
        self._box.events(change.events, self.job.seq)
        self.job = change.applied(self.job)
        if change.place is not None:
            self.job = self.job.evolve(tag=tag)
        self._put(change)
        self.changed = True
        return True

    def _put(self, change: Change) -> None:
        self._box.steps(change.steps)
        self._box.taken(change.consumed)
        if change.signal is not None:
            self._signals += 1
            self._box.signal(change.signal, self._signals)
        if change.report is not None:
            self._box.report(change.report)

    def empty(self, out: Mapping[str, str]) -> list[Document]:
        """The parts to be there before the update, which then puts a new box in place of the old."""
        self._is_emptied = True
        return parts_of(self.id, out)

    def filter(self) -> Document:
        """The document as it was read. A renewal leaves `rev` alone, and makes a takeover void."""
        guards = {"_id": self.id, "rev": self._was["rev"]}
        return guards if self._takeover is None else guards | {"lease_until": self._takeover}

    def update(self) -> Document:
        now = _columns(self.job)
        changed = {name: value for name, value in now.items() if self._kept.get(name) != value}
        if "lease" in self._kept and "lease" not in now:
            # A renewal in between may have moved these.
            changed |= {name: now[name] for name in ("due_at", "gone_at") if name in now}
        changed |= self.revision | {"pending": self._box.size, "signals": self._signals}
        if self._is_emptied:
            changed |= {"out": self._box.entries, "parts": True}
        else:
            changed["pending"] += self._was["pending"]
            changed |= {f"out.{key}": text for key, text in self._box.entries.items()}
        gone = [name for name in self._kept if name not in now]
        return {"$set": changed} | ({"$unset": dict.fromkeys(gone, "")} if gone else {})

    def came_through(self, found: Document) -> bool | None:
        """Whether the update was made, by what the document has become; None if that cannot be told any more."""
        if self.revision["rev"] in found["revs"]:
            return True
        return False if self._was["rev"] in found["revs"] else None


class _Box:
    """Entries on their way into `out`. `size` counts so much for each entry that `FULL` also bounds their number."""

    def __init__(self, write: int) -> None:
        self._write = write
        self.entries: dict[str, str] = {}
        self.size = 0

    def events(self, events: Sequence[Event], seq: int) -> None:
        for number, event in enumerate(events, seq + 1):
            entry = [number, event.type, event.time, event.attempt, dict(event.data)]
            self._put(f"{'o' if event.is_output else 'e'}{number:09d}", _text(entry))

    def steps(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self._put(f"s{self._write:08d}_{len(self.entries):04d}", _text(rows.step_row(0, step)[1:]))

    def signal(self, signal: Signal, number: int) -> None:
        self._put(f"g{number:06d}", _text([number, signal.name, signal.key, False, signal.value]))

    def taken(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._put(f"t{number:06d}", "")

    def report(self, report: Report) -> None:
        self._put(f"r{self._write:08d}_{len(self.entries):04d}", rows.report_text(report))

    def _put(self, key: str, text: str) -> None:
        self.entries[key] = text
        self.size += len(text) + FULL // ENTRIES


_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _text(value: object) -> str:
    """JSON, as short as it gets: escapes only where something is no Unicode."""
    text = _dumps(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return rows.dumps(value)
    return text


# -- entries to records -----------------------------------------------------------------------------------------------

Entries = Mapping[str, str]
"""Entries of one letter by their keys, out of the box and the parts."""


def events_of(entries: Entries) -> list[Event]:
    found = []
    for text in entries.values():
        seq, type, time, attempt, data = rows.loads(text)
        found.append(Event(type=type, time=time, attempt=attempt, data=data, seq=seq))
    return sorted(found, key=lambda event: event.seq)


def steps_of(entries: Entries) -> list[Step]:
    steps: dict[str, Step] = {}
    for _, text in sorted(entries.items()):
        step = rows.step_of(rows.loads(text))
        if step.key not in steps or steps[step.key].status != "completed":
            steps[step.key] = step
    return sorted(steps.values(), key=lambda step: step.index)


def signals_of(entries: Entries, taken: Entries) -> list[Signal]:
    numbers = {int(key[1:]) for key in taken}
    left = [rows.signal_of(rows.loads(text)) for _, text in sorted(entries.items())]
    return [Signal(name=s.name, value=s.value, number=s.number, key=s.key, taken=s.number in numbers) for s in left]


def reports_of(entries: Entries) -> list[Report]:
    return [rows.report_of((text,)) for _, text in sorted(entries.items())[-REPORTS:]]


def has_ended(document: Mapping[str, Any]) -> bool:
    return document["status"] == GONE or Status(document["status"]).ended


def rank_of(job: Job[Any]) -> int:
    return RANK[job.priority]
