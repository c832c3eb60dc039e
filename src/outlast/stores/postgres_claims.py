"""How PostgreSQL's jobs are claimed.

Nearly all claims are alike, so the server makes them by itself, in one statement and one round trip: `MOVE` is
`lifecycle.claim` for a plain job, one that nobody wants cancelled and that has shown nothing yet. What is not plain is
claimed by its id, as lifecycle decides, in two.
"""

import os
import secrets
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from outlast import lifecycle
from outlast.job import Job
from outlast.stores import rows
from outlast.stores.postgres_pool import Do, Rows, Transaction
from outlast.stores.postgres_tables import statements
from outlast.stores.rows import Stored
from outlast.stores.sheet import Sheet

LOGGED = 2048
"""Characters of a job's log that its row may hold; a claim moves what is longer to the table of events."""

_N, _ID, _RANK, _TAG, _TURN, _LOGGED = (rows.WHOLE.index(name) for name in ("n", "id", "rank", "tag", "turn", "logged"))

_ATTEMPT = "case when job.resumes then greatest(job.attempt, 1) else job.attempt + 1 end"
_STARTED = f"""
    ',[' || job.seq + 1 || ',"job.started",' || %(now_text)s::text || ',' || {_ATTEMPT}
         || ',{{"status":"processing","resumes":' || case when job.resumes then 'true' else 'false' end || '}}]'"""
MOVE = {
    "status": "'processing'",
    "turn": "job.turn + 1",
    "lease": "seen.fresh",
    "lease_until": "%(until)s::float8",
    "worker": "%(worker)s::text",
    "tag": "null",
    "next_at": "null",
    "attempt": _ATTEMPT,
    "resumes": "false",
    "claimed_at": "%(now)s::float8",
    "ran": "case when job.resumes then job.ran else 0 end",
    "waiting": "null",
    "started_at": "coalesce(job.started_at, %(now)s::float8)",
    "seq": "job.seq + 1",
    "version": "job.seq + 1",
    "updated_at": "%(now)s::float8",
}
"""What a claim sets of a plain job, by column."""

_ONE_TYPE = """
    with taken as materialized (
        select n, turn from {s}.job where type = %(type)s::text and tag is not null
         order by rank, tag, n limit %(n)s::integer for update skip locked)"""
_SEVERAL_TYPES = """
    with ahead as materialized (
        select known.type, near.rank, near.tag, near.n
          from unnest(%(types)s::text[]) as known (type) cross join lateral (
            select job.rank, job.tag, job.n from {s}.job where job.type = known.type and job.tag is not null
             order by job.rank, job.tag, job.n limit %(n)s::integer) near
         order by near.rank, near.tag, near.n limit %(n)s::integer
    ), share as materialized (
        select type, count(*) as n from ahead group by type
    ), taken as materialized (
        select one.n, one.turn from share cross join lateral (
            select job.n, job.turn from {s}.job where job.type = share.type and job.tag is not null
             order by job.rank, job.tag, job.n limit share.n for update skip locked) one)"""
"""How many of each type are next is looked up first, so that of several types no more is locked than is taken."""

_WHOLE = ", ".join(f"whole.{name}" for name in rows.WHOLE)
_SEEN = ", ".join(f"seen.{name}" for name in rows.WHOLE)
_AFTER = ", ".join(f"{'job' if name in MOVE else 'seen'}.{name}" for name in rows.WHOLE)
_TAKE = f""", seen as materialized (
        select taken.turn = whole.turn and not appended and cancel_requested_at is null and logged <= {LOGGED} as plain,
               encode(substr(%(leases)s::bytea, 16 * (row_number() over ())::integer - 15, 16), 'hex') as fresh,
               {_WHOLE}
          from taken join {{s}}.whole on whole.n = taken.n
    ), moved as (
        update {{s}}.job
           set log = job.log || {_STARTED}, {", ".join(f"{name} = {value}" for name, value in MOVE.items())}
          from seen where job.n = seen.n and seen.plain
        returning seen.tag as was, {_AFTER})
    select true, moved.* from moved union all select false, seen.tag, {_SEEN} from seen where not plain"""
"""Of a row that another changed between the look at it and its lock, `whole` may be as it was before."""
TAKE_OF_ONE, TAKE = _ONE_TYPE + _TAKE, _SEVERAL_TYPES + _TAKE

BY_ID = f"""
    with taken as materialized (
        select n, turn from {{s}}.job
         where id = any(%s::text[]) and type = any(%s::text[]) and tag is not null order by id for update)
    select taken.turn, {_WHOLE} from taken join {{s}}.whole on whole.n = taken.n"""
BY_ID_IF_FREE = BY_ID.replace("for update)", "for update skip locked)")
LOG = "select n, log from {s}.job where n = any(%s::bigint[])"
EMPTY_LOG = "update {s}.job set log = '' where n = any(%s::bigint[])"
NEXT_AT = """
    select least(
        (select min(next_at) from {s}.job
          where next_at is not null and status in ('queued', 'processing', 'waiting', 'retrying')),
        (select min(lease_until) from {s}.job where lease_until is not null))"""


class Taken(NamedTuple):
    """What a claim got: in their order the jobs, and the ids of those that `take_each` has to claim.

    The rows of those that are held now, by id; and when the clock moves the next.
    """

    jobs: list[Job[Any] | str]
    rows: dict[str, Stored]
    next_at: float | None


class Changed(Exception):
    """Between the look at a job and its lock another changed it: look again."""


async def take(transaction: Transaction, n: int, types: Collection[str], worker: str, ttl: float, now: float) -> Taken:
    """Claim what is plain of the next `n`."""
    values = {"n": n, "worker": worker, "until": now + ttl, "now": now, "now_text": repr(now)}
    values["leases"] = os.urandom(16 * n)
    known = sorted(set(types))
    one_type = len(known) == 1
    claim = Do(TAKE_OF_ONE, {**values, "type": known[0]}) if one_type else Do(TAKE, {**values, "types": known})
    found, [[next_at]] = await transaction.end(claim, Do(NEXT_AT))
    found.sort(key=lambda row: (row[2 + _RANK], row[1], row[2 + _N]))
    plain = {row[2 + _ID]: row[2:] for row in found if row[0]}
    jobs = [rows.job_of(plain[row[2 + _ID]]) if row[0] else row[2 + _ID] for row in found]
    return Taken(jobs, {job_id: Stored(row) for job_id, row in plain.items()}, next_at)


async def take_each(
    transaction: Transaction,
    n: int,
    types: Collection[str],
    ids: Sequence[str],
    worker: str,
    ttl: float,
    now: float,
    *,
    wait: bool,
) -> Taken:
    """Claim these, whatever they are; those that a wish has ended are among the answer.

    What another has locked it waits for, or passes over.
    """
    [found] = await transaction.run(Do(BY_ID if wait else BY_ID_IF_FREE, (list(ids), list(types))))
    if not found:
        [[[next_at]]] = await transaction.end(Do(NEXT_AT))
        return Taken([], {}, next_at)
    whole = [row[1:] for row in found if row[0] == row[1 + _TURN]]
    whole.sort(key=lambda row: (row[_RANK], row[_TAG], row[_N]))
    if len(whole) < len(found):
        await transaction.give_up()
        raise Changed
    sheet, moves = Sheet(), await _long_logs(transaction, whole[:n])
    for place, events in moves.items():
        sheet.logged(place, events)
    jobs, stored = list[Job[Any] | str](), dict[str, Stored]()
    for row in whole[:n]:
        job = rows.job_of(row)
        change = lifecycle.claim(job, secrets.token_hex(16), worker, now + ttl, now)
        jobs.append(change.applied(job))
        stored[job.id] = Stored(row)
        sheet.changed(stored[job.id], change, None)
    empty = [Do(EMPTY_LOG, (list(moves),))] if moves else []
    *_, [[next_at]] = await transaction.end(*empty, *statements(sheet.torn_off()), Do(NEXT_AT))
    return Taken(jobs, {job_id: row for job_id, row in stored.items() if row.lease is not None}, next_at)


async def _long_logs(transaction: Transaction, found: Rows) -> dict[int, list[Any]]:
    """The events of many moves, out of the rows that every claim reads."""
    long = [row[_N] for row in found if row[_LOGGED] > LOGGED]
    if not long:
        return {}
    [logs] = await transaction.run(Do(LOG, (long,)))
    return {n: rows.log_of(log) for n, log in logs}
