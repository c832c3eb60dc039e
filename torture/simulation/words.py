"""How a trace shows what is on its way: each thing in a few words."""

from typing import Any

from outlast.job import Change, Event, Job, NewJob, Signal, Step
from outlast.stores.base import Claimed, Lease


def brief(value: Any) -> str:
    """The value, short enough for a line that holds several."""
    match value:
        case Job():
            lease = f" of {value.lease[:4]}" if value.lease else ""
            return f"{brief(value.id)} {value.status}{lease} turn {value.turn} attempt {value.attempt}"
        case NewJob():
            return f"new {brief(value.job.id)} under {value.job.idempotency_key or 'no key'}"
        case Change():
            return _change(value)
        case Event():
            return f"{value.seq} {value.type}"
        case Step():
            return f"{value.key} {value.status} {value.value or ''}"
        case Signal():
            return f"{value.name} {'taken' if value.taken else 'waits'}"
        case Claimed():
            return brief(value.jobs)
        case Lease():
            return f"{brief(value.job_id)}/{value.lease[:4]}"
        case str() if value.startswith("job_"):
            return f"job ..{value[-5:]}"
        case list() | tuple() | frozenset():
            return f"[{', '.join(map(brief, value))}]"
    return str(value)


def _change(change: Change) -> str:
    guards = [f"turn {change.turn}"] if change.turn is not None else []
    guards += [f"lease {change.lease[:4]}"] if change.lease is not None else []
    to = change.set.get("status") or ", ".join(change.set) or "no field"
    steps = f", {brief(change.steps)}" if change.steps else ""
    return f"{brief(change.id)} to {to} on {' and '.join(guards)}{steps}"
