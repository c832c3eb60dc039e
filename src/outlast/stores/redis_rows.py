"""Records to what the scripts of Redis take, and back from what they answer; the keys are in redis_common.lua.

A job is a hash of the columns of rows.py, in their texts, without those that are as they are by themselves. What a
script takes is one JSON text in which False stands for nothing, for an empty place cannot be told from it in Lua.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Literal

from outlast.job import RANK, Change, Event, Job, NewJob, Signal, Step, counted
from outlast.stores import rows
from outlast.stores.base import ANY, Owner, Query, Record
from outlast.stores.rows import BLANK, DECODE, ENCODE, dumps, loads

Texts = Mapping[str, Any]

COMPLETED, OPEN = "+", "-"
"""What the text of a step begins with, so that a script need not read it. Signals taken and not taken are the same."""


def number(value: float) -> str:
    """A time or another number, so that it comes back as it was."""
    return repr(float(value))


def _whole(value: int) -> str:
    return repr(int(value))


def _plain(value: Any) -> str:
    return str(value)


_WHOLE = ("rank", "turn", "tag", "attempt", "deaths", "seq", "version")
_NUMBERS = (
    "created_at lease_until next_at claimed_at ran cancel_requested_at queued_at started_at completed_at updated_at"
    " progress"
).split()
_TO_TEXT: Mapping[str, Callable[[Any], str | None]] = {
    **dict.fromkeys(rows.KEPT, _plain),
    **dict.fromkeys(_WHOLE, _whole),
    **dict.fromkeys(_NUMBERS, number),
    **ENCODE,
    "status": attrgetter("value"),
    "resumes": lambda resumes: "1" if resumes else None,
    "last_error": rows.error_text,
}
_OF_TEXT: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(_WHOLE, int),
    **dict.fromkeys(_NUMBERS, float),
    **DECODE,
    "rank": lambda rank: DECODE["rank"](int(rank)),
}
_BY_ITSELF: Mapping[str, Any] = {
    name: value for name, value in BLANK.__dict__.items() if name not in ("status", "turn")
}
"""Fields that are not stored while they have these values. Scripts look at status and turn."""
_MISSING = object()


# -- on the way in ----------------------------------------------------------------------------------------------------


def new_job(new: NewJob) -> Texts:
    job = new.job
    return {
        "id": job.id,
        "status": job.status.value,
        "type": job.type,
        "owner": _given(job.owner),
        "rank": _whole(RANK[job.priority]),
        "key": _given(job.idempotency_key),
        "batch": _given(job.batch_id),
        "next_at": _time(job.next_at),
        "payload": _given(job.payload_json),
        "place": new.place or False,
        "row": _row(job),
        "last": counted(new.events, 0, 0)[1],
        "time": number(new.events[-1].time) if new.events else False,
        "events": [event_text(event) for event in new.events],
        "steps": _steps(new.steps),
    }


def _row(job: Job[Any]) -> list[str]:
    row = ["rank", _whole(RANK[job.priority])]
    for name in ("id", "type", "owner", "idempotency_key", "batch_id"):
        value = getattr(job, name)
        if value is not None:
            row += (name, value)
    row += ("created_at", number(job.created_at))
    asked = rows.asked_text(job)
    if asked != "{}":
        row += ("asked", asked)
    for name in _EVERY:
        value = getattr(job, name)
        if value != _BY_ITSELF.get(name, _MISSING):
            row += (name, _TO_TEXT[name](value) or "")
    return row


_EVERY = tuple(name for name in (*rows.KEPT, "last_error") if name != "tag")


def change(change: Change) -> list[Any]:
    """Its guards, fields set and removed, events with what they count, and `_more`; in the order of redis_apply.lua."""
    fields, gone = _set(change.set)
    events = change.events
    return [
        change.id,
        False if change.turn is None else _whole(change.turn),
        _given(change.lease),
        _time(change.lease_until),
        fields,
        gone,
        [event_text(event) for event in events],
        counted(events, 0, 0)[1],
        number(events[-1].time) if events else False,
        _more(change),
    ]


def _more(change: Change) -> Texts:
    more: dict[str, Any] = {}
    if "result_json" in change.set:
        result = change.set["result_json"]
        more |= {"no_result": True} if result is None else {"result": result}
    if change.steps:
        more["steps"] = _steps(change.steps)
    if change.place is not None:
        more["place"] = change.place
    if change.consumed:
        more["consumed"] = change.consumed
    if change.signal is not None:
        more["signal"] = _signal_text(change.signal)
    if change.report is not None:
        more["report"] = rows.report_text(change.report)
    return more


def _set(fields: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    changed, gone = list[str](), list[str]()
    for name, value in fields.items():
        if name == "result_json":
            continue
        text = None if value == _BY_ITSELF.get(name, _MISSING) else _TO_TEXT[name](value)
        if text is None:
            gone.append(name)
        else:
            changed += (name, text)
    return changed, gone


def event_text(event: Event) -> str:
    return dumps([event.type, event.time, event.attempt, dict(event.data)])


def _steps(steps: Sequence[Step]) -> list[str]:
    texts = list[str]()
    for step in steps:
        mark = COMPLETED if step.status == "completed" else OPEN
        texts += (step.key, mark + dumps(rows.step_row(0, step)[1:]))
    return texts


def _signal_text(signal: Signal) -> str:
    return OPEN + dumps([signal.name, signal.key, signal.value])


def query(query: Query) -> dict[str, Any]:
    """The filters of a query."""
    return {
        "owner": owner_text(query.owner),
        "status": False if query.status is None else [status.value for status in query.status],
        "type": _given(query.type),
        "tag": _given(query.tag),
        "batch": _given(query.batch_id),
        "created_after": _time(query.created_after),
        "created_before": _time(query.created_before),
        "updated_after": _time(query.updated_after),
    }


def owner_text(owner: Owner) -> str | Literal[False]:
    """An owner in the names of keys; nobody is one too, and ANY is nothing."""
    if owner is ANY:
        return False
    return "-" if owner is None else f"={owner}"


def _given(text: str | None) -> str | Literal[False]:
    return False if text is None else text


def _time(time: float | None) -> str | Literal[False]:
    return False if time is None else number(time)


# -- on the way out ---------------------------------------------------------------------------------------------------


def job_of(shown: Sequence[Any]) -> Job[Any]:
    """From a row with its payload and result."""
    row, payload, result = shown
    values: dict[str, Any] = {"payload_json": payload, "result_json": result}
    for name, text in zip(row[::2], row[1::2], strict=True):
        decode = _OF_TEXT.get(name)
        if name == "asked":
            values |= rows.asked_of(text)
        else:
            values["priority" if name == "rank" else name] = text if decode is None else decode(text)
    return BLANK.evolve(values)


def event_of(seq: int, text: str) -> Event:
    type, time, attempt, data = loads(text)
    return Event(type=type, time=time, attempt=attempt, data=data, seq=seq)


def step_of(text: str) -> Step:
    return rows.step_of(loads(text[1:]))


def signal_of(number: int, text: str) -> Signal:
    name, key, value = loads(text[1:])
    return Signal(name=name, value=value, number=number, key=key, taken=text[0] == COMPLETED)


def record_of(key: str, text: str) -> Record:
    version, expires, value = text.split(" ", 2)
    return Record(key, loads(value), int(version), float(expires) if expires else None)
