"""What reads the tables of PostgreSQL: the statements of each question, and what their rows say."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from outlast.job import Event, Job, Status
from outlast.stores import rows
from outlast.stores.base import ANY, Head, Owner, Query
from outlast.stores.postgres_pool import Do, Rows
from outlast.stores.postgres_tables import texts

_COLUMNS = ", ".join(rows.WHOLE)
_NO_PAYLOAD = _COLUMNS.replace("payload", "null")
_SHORT = _NO_PAYLOAD.replace("result_json", "null")

GET = f"select {_NO_PAYLOAD} from {{s}}.whole where id = any(%s::text[])"
GET_WITH_PAYLOAD = f"select {_COLUMNS} from {{s}}.whole where id = any(%s::text[])"

_LIVE = "next_at is not null and status in ('queued', 'processing', 'waiting', 'retrying')"
_ENDED = "next_at is not null and status in ('completed', 'failed', 'cancelled')"
DUE = f"""
    with late as materialized (
        (select n from {{s}}.job where next_at <= %(now)s::float8 and {_LIVE} order by next_at limit %(limit)s::integer)
        union
        (select n from {{s}}.job where next_at <= %(now)s::float8 and {_ENDED}
          order by next_at limit %(limit)s::integer)
        union
        (select n from {{s}}.job where lease_until <= %(now)s::float8 order by lease_until limit %(limit)s::integer)
        union
        (select n from {{s}}.job where lease_until is not null and worker = any(%(dead)s::text[])
          order by lease_until limit %(limit)s::integer)
    ), free as materialized (
        select job.n from {{s}}.job join late using (n) for share of job skip locked)
    select {_SHORT} from {{s}}.whole where n in (select n from free)"""
"""But for what another transaction holds, which moves it just now, or whose process was stopped in the middle: the jobs
of all others do not wait for that."""

EVENTS = """
    (select event.seq, event.type, event.time, event.attempt, event.data from {s}.event join {s}.job using (n)
      where job.id = %(id)s and event.seq > %(after)s::integer and (%(output)s::boolean or not event.output)
      order by event.seq limit %(limit)s::integer)
    union all
    select null, null, null, null, log from {s}.job where id = %(id)s"""
"""And the log of the moves in one more row; one statement, so that it is of one moment."""
STEPS = """
    select key, name, place, step.status, due, step.attempt, duration_ms, value
      from {s}.step join {s}.job using (n) where job.id = %s order by place"""
SIGNALS = """
    select number, name, key, taken, value from {s}.signal join {s}.job using (n) where job.id = %s order by number"""
REPORTS = "select report from {s}.report join {s}.job using (n) where job.id = %s order by number"
HEADS = """
    select id, greatest(job.seq, live.seq), turn from {s}.job left join {s}.live using (n) where id = any(%s::text[])"""

FETCH = """
    select key, value, version, expires_at from {s}.record
     where key = %s and (expires_at is null or expires_at > %s::float8)"""
SCAN = """
    select key, value, version, expires_at from {s}.record
     where key >= %s and key < %s and (expires_at is null or expires_at > %s::float8) order by key"""
LAST_CHARACTER = chr(0x10FFFF)

_TYPES = """
    with recursive known (status, type) as (
        select one.status, (select min(type) from {s}.job where job.status = one.status)
          from unnest(%(statuses)s::text[]) as one (status)
        union all
        select status, (select min(type) from {s}.job where job.status = known.status and job.type > known.type)
          from known where type is not null)"""
_ONE_TYPE = """
    with known (status, type) as (
        select one.status, %(type)s::text from unnest(%(statuses)s::text[]) as one (status))"""


# -- jobs -----------------------------------------------------------------------------------------------------------


def get(ids: Sequence[str], payload: bool) -> Do:
    return Do(GET_WITH_PAYLOAD if payload else GET, (texts(ids),))


def jobs_of(found: Rows, ids: Sequence[str], owner: Owner) -> list[Job[Any] | None]:
    jobs = {job.id: job for job in map(rows.job_of, found) if owner in (ANY, job.owner)}
    return [jobs.get(job_id) for job_id in ids]


def find(query: Query) -> Do:
    """A page, by the index that leads to few rows: of a batch, of an owner, of each status and type, or of ids."""
    filters, values = _filters(query)
    values["limit"] = query.limit
    if query.before is not None:
        values["before"] = query.before
        filters.append(f"id {'>' if query.oldest_first else '<'} %(before)s::text")
    end = f"order by id {'' if query.oldest_first else 'desc'} limit %(limit)s::integer"
    if query.batch_id is not None or isinstance(query.owner, str) or (query.status is None and query.type is None):
        return Do(f"select {_SHORT} from {{s}}.whole where {_all(filters)} {end}", values)
    values["statuses"] = _statuses(query)
    page = f"""
        {_TYPES if query.type is None else _ONE_TYPE}
        select page.* from known cross join lateral (
            select {_named_nulls(_SHORT)} from {{s}}.whole
             where whole.status = known.status and whole.type = known.type and {_all(filters)} {end}) page {end}"""
    return Do(page, values)


def _named_nulls(columns: str) -> str:
    return columns.replace("null, null", "null as payload, null as result_json")


def count(query: Query) -> Do:
    filters, values = _filters(query)
    table = "whole" if query.tag is not None or query.updated_after is not None else "job"
    return Do(f"select type, status, count(*) from {{s}}.{table} where {_all(filters)} group by type, status", values)


def counts_of(found: Rows) -> dict[tuple[str, Status], int]:
    return {(type, Status(status)): n for type, status, n in found}


def _filters(query: Query) -> tuple[list[str], dict[str, Any]]:
    asked: dict[str, tuple[str, Any]] = {
        "type": ("type = %(type)s::text", query.type),
        "status": ("status = any(%(status)s::text[])", None if query.status is None else _statuses(query)),
        "tag": ("position(%(tag)s::text in tags) > 0", None if query.tag is None else f"\n{query.tag}\n"),
        "batch_id": ("batch_id = %(batch_id)s::text", query.batch_id),
        "created_after": ("created_at > %(created_after)s::float8", query.created_after),
        "created_before": ("created_at < %(created_before)s::float8", query.created_before),
        "updated_after": ("updated_at > %(updated_after)s::float8", query.updated_after),
        "owner": ("owner = %(owner)s::text", None if query.owner is ANY else query.owner),
    }
    given = {name: (filter, value) for name, (filter, value) in asked.items() if value is not None}
    filters = [filter for filter, _ in given.values()]
    if query.owner is None:
        filters.append("owner is null")
    return filters, {name: value for name, (_, value) in given.items()}


def _statuses(query: Query) -> list[str]:
    return [status.value for status in (Status if query.status is None else query.status)]


def _all(filters: Sequence[str]) -> str:
    return " and ".join(filters) or "true"


def due(now: float, limit: int, dead: Collection[str]) -> Do:
    return Do(DUE, {"now": now, "limit": limit, "dead": list(dead)})


def due_of(found: Rows, limit: int) -> list[Job[Any]]:
    return sorted(map(rows.job_of, found), key=lambda job: (job.ended, _due_at(job)))[:limit]


def _due_at(job: Job[Any]) -> float:
    return min((time for time in (job.next_at, job.lease_until) if time is not None), default=float("inf"))


# -- what belongs to a job ------------------------------------------------------------------------------------------


def events(job_id: str, after: int, limit: int, output: bool) -> Do:
    return Do(EVENTS, {"id": job_id, "after": after, "limit": min(limit, 1 << 30), "output": output})


def events_of(found: Rows, after: int, limit: int) -> list[Event]:
    appended = [rows.event_of(row) for row in found if row[0] is not None]
    moved = [event for row in found if row[0] is None for event in rows.log_of(row[4]) if event.seq > after]
    return sorted(appended + moved, key=lambda event: event.seq)[:limit]


def heads(ids: Collection[str]) -> Do:
    return Do(HEADS, (texts(ids),))


def changed_of(found: Rows, seen: Mapping[str, Head]) -> dict[str, Head | None]:
    heads = {job_id: Head(seq, turn) for job_id, seq, turn in found}
    return {job_id: heads.get(job_id) for job_id in seen if heads.get(job_id) != seen[job_id]}
