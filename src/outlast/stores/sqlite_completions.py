"""How jobs of a SQLite file complete that have shown nothing: in one statement for many.

It checks the guards as it writes, so that no row is read before, and it writes the few columns that a completion
changes. What it leaves, because a guard no longer holds or because the job has shown something, goes the way of all
other changes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from outlast.job import Change, Status
from outlast.stores import rows
from outlast.stores.sqlite_many import Many

COMPLETE = Many(
    """
    with done (id, turn, lease, log, becomes, completed_at, next_at, updated_at) as (values {rows})
    update job
       set log = job.log || ',[' || (job.seq + 1) || done.log, status = 'completed', turn = done.becomes,
           lease = null, lease_until = null, worker = null, tag = null, waiting = null,
           completed_at = done.completed_at, next_at = done.next_at,
           seq = job.seq + 1, version = job.seq + 1, updated_at = done.updated_at
      from done
     where job.id = done.id and job.turn = done.turn and job.lease = done.lease
       and not exists (select 1 from live where live.n = job.n)
    returning id, n""",
    8,
)

_SETS = frozenset(
    "status turn lease lease_until worker tag waiting completed_at next_at"
    " result_json last_error progress current_step open_steps".split()
)
"""The fields of a completion that the statement is for: those that it writes, and those that the result says, or that
are as they were where nothing was shown. With any other it is not plain."""


def complete_plain(execute: Callable[..., Any], changes: Sequence[Change]) -> Mapping[str, int]:
    """Write the plain completions among changes that are each of another job; their numbers by id."""
    plain = [_row(change) for change in changes if _is_plain(change)]
    return dict(COMPLETE.run(execute, plain)) if plain and _are_apart(changes) else {}


def _is_plain(change: Change) -> bool:
    more = change.steps or change.consumed or change.signal or change.report or change.place
    return (
        change.set.keys() == _SETS
        and change.set["status"] is Status.COMPLETED
        and len(change.events) == 1
        and change.turn is not None
        and change.lease is not None
        and change.lease_until is None
        and not more
    )


def _are_apart(changes: Iterable[Change]) -> bool:
    ids = [change.id for change in changes]
    return len(set(ids)) == len(ids)


def _row(change: Change) -> rows.Values:
    [event] = change.events
    set = change.set
    at, next_at = set["completed_at"], set["next_at"]
    return change.id, change.turn, change.lease, rows.log_tail(event), set["turn"], at, next_at, event.time
