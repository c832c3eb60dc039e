"""What reads the tables of SQLite. Every method runs inside a read transaction, so that it sees one moment."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any

import apsw

from outlast.job import Event, Job, Signal, Status, Step
from outlast.report import Report
from outlast.stores import rows
from outlast.stores.base import ANY, Clock, Head, Owner, Query, Record

_ID = itemgetter(rows.WHOLE.index("id"))
_COLUMNS = ", ".join(rows.WHOLE)
_NO_PAYLOAD = _COLUMNS.replace("payload", "null")
_SHORT = _NO_PAYLOAD.replace("result_json", "null")

GET = f"select {_NO_PAYLOAD} from whole where id in (select value from json_each(?))"
GET_WITH_PAYLOAD = f"select {_COLUMNS} from whole where id in (select value from json_each(?))"

MATCHES = """
    (:any_owner or owner is :owner)
    and (:status is null or status in (select value from json_each(:status)))
    and (:type is null or type = :type)
    and (:tag is null or :tag in (select value from json_each(asked, '$.tags')))
    and (:batch_id is null or batch_id = :batch_id)
    and (:created_after is null or created_at > :created_after)
    and (:created_before is null or created_at < :created_before)
    and (:updated_after is null or updated_at > :updated_after)"""
NEWEST = f"{MATCHES} and id < ifnull(:before, char(0x10ffff)) order by id desc"
OLDEST = f"{MATCHES} and id > ifnull(:before, '') order by id"
"""Written so that an index leads to where a page begins, instead of past all that is before it."""

FIND = f"select {_SHORT} from whole where "
BY_OWNER = "owner = :owner and"
BY_BATCH = "batch_id = :batch_id and"
BY_SHAPE = "status = :one_status and type = :one_type and"
PAGE = {
    (driver, oldest): f"{FIND} {driver} {OLDEST if oldest else NEWEST}"
    for driver in ("", BY_OWNER, BY_BATCH, BY_SHAPE)
    for oldest in (False, True)
}
"""A page by each index that can drive it."""

TYPES = """
    with recursive known (type) as (
        select min(type) from job where status = ?1
        union all
        select (select min(type) from job where status = ?1 and type > known.type) from known where type is not null)
    select type from known where type is not null"""

COUNT = "select type, status, count(*) from job group by status, type"
COUNT_OF_OWNER = "select type, status, count(*) from job where owner = :owner group by status, type"
COUNT_MATCHING = f"select type, status, count(*) from whole where {MATCHES} group by status, type"
COUNT_MATCHING_OF_OWNER = f"select type, status, count(*) from whole where {BY_OWNER} {MATCHES} group by status, type"

DUE = f"""
    select {_SHORT} from whole where n in (
        select n from (
            select n from job indexed by job_wakes
             where next_at <= :now and status in ('queued', 'processing', 'waiting', 'retrying')
             order by next_at limit :limit)
        union
        select n from (
            select n from job indexed by job_expires
             where next_at <= :now and status in ('completed', 'failed', 'cancelled')
             order by next_at limit :limit)
        union
        select n from (select n from job where lease_until <= :now order by lease_until limit :limit)
        union
        select n from (
            select n from job
             where lease_until is not null and worker in (select value from json_each(:dead))
             order by lease_until limit :limit))"""

EVENTS = """
    select seq, type, time, attempt, data from event
     where n = (select n from job where id = ?) and seq > ? and (? or not output) order by seq limit ?"""
STEPS = """
    select key, name, place, status, due, attempt, duration_ms, value from step
     where n = (select n from job where id = ?) order by place"""
SIGNALS = """
    select number, name, key, taken, value from signal where n = (select n from job where id = ?) order by number"""
REPORTS = "select report from report where n = (select n from job where id = ?) order by number"
HEADS = """
    select id, max(job.seq, ifnull(live.seq, 0)), turn from job left join live using (n)
     where id in (select value from json_each(?))"""
LOG = "select log from job where id = ?"

FETCH = "select key, value, version, expires_at from record where key = ? and (expires_at is null or expires_at > ?)"
SCAN = """
    select key, value, version, expires_at from record
     where key >= ? and key < ? and (expires_at is null or expires_at > ?) order by key"""
LAST_CHARACTER = chr(0x10FFFF)


class Reads:
    """The reads of one connection."""

    def __init__(self, connection: apsw.Connection, clock: Clock) -> None:
        self._do: Callable[..., Any] = connection.execute
        self._now = clock.now

    def get(self, ids: Sequence[str], owner: Owner, payload: bool) -> list[Job[Any] | None]:
        found = self._do(GET_WITH_PAYLOAD if payload else GET, (rows.dumps(list(ids)),))
        jobs = {job.id: job for job in map(rows.job_of, found) if owner in (ANY, job.owner)}
        return [jobs.get(job_id) for job_id in ids]

    def find(self, query: Query) -> list[Job[Any]]:
        return [rows.job_of(row) for row in islice(self._found(query), query.limit)]

    def _found(self, query: Query) -> Iterator[Sequence[Any]]:
        filters = _filters(query)
        if query.batch_id is not None:
            return iter(self._do(PAGE[BY_BATCH, query.oldest_first], filters))
        if isinstance(query.owner, str):
            return iter(self._do(PAGE[BY_OWNER, query.oldest_first], filters))
        if query.status is None and query.type is None:
            return iter(self._do(PAGE["", query.oldest_first], filters))
        pages = [self._do(PAGE[BY_SHAPE, query.oldest_first], filters | shape) for shape in self._shapes(query)]
        return merge(*pages, key=_ID, reverse=not query.oldest_first)

    def _shapes(self, query: Query) -> Iterator[dict[str, Any]]:
        """Each status and type that the jobs sought can have."""
        for status in Status if query.status is None else query.status:
            types = [query.type] if query.type is not None else [type for (type,) in self._do(TYPES, (status.value,))]
            for type in types:
                yield {"one_status": status.value, "one_type": type}

    def count(self, query: Query) -> dict[tuple[str, Status], int]:
        counts = {(type, Status(status)): n for type, status, n in self._do(_count(query), _filters(query))}
        wanted = Status if query.status is None else query.status
        return {
            (type, status): n for (type, status), n in counts.items() if query.type in (None, type) and status in wanted
        }

    def due(self, limit: int, dead: Collection[str]) -> list[Job[Any]]:
        found = self._do(DUE, {"now": self._now(), "limit": limit, "dead": rows.dumps(list(dead))})
        return sorted(map(rows.job_of, found), key=lambda job: (job.ended, _due_at(job)))[:limit]

    def events(self, job_id: str, after: int, limit: int, output: bool) -> list[Event]:
        appended = [rows.event_of(row) for row in self._do(EVENTS, (job_id, after, output, limit))]
        moved = [event for event in rows.log_of(self._do(LOG, (job_id,)).get or "") if event.seq > after]
        return sorted(appended + moved, key=_seq_of)[:limit]

    def steps(self, job_id: str) -> list[Step]:
        return [rows.step_of(row) for row in self._do(STEPS, (job_id,))]

    def signals(self, job_id: str) -> list[Signal]:
        return [rows.signal_of(row) for row in self._do(SIGNALS, (job_id,))]

    def reports(self, job_id: str) -> list[Report]:
        return [rows.report_of(row) for row in self._do(REPORTS, (job_id,))]

    def changed(self, seen: Mapping[str, Head]) -> dict[str, Head | None]:
        heads = {job_id: Head(seq, turn) for job_id, seq, turn in self._do(HEADS, (rows.dumps(list(seen)),))}
        return {job_id: heads.get(job_id) for job_id in seen if heads.get(job_id) != seen[job_id]}

    def fetch(self, key: str) -> Record | None:
        row = self._do(FETCH, (key, self._now())).fetchone()
        return None if row is None else rows.record_of(row)

    def scan(self, prefix: str) -> list[Record]:
        return [rows.record_of(row) for row in self._do(SCAN, (prefix, prefix + LAST_CHARACTER, self._now()))]


def _seq_of(event: Event) -> int:
    return event.seq


def _count(query: Query) -> str:
    """By an index alone, where nothing but owner, status and type is asked for."""
    others = (query.tag, query.batch_id, query.created_after, query.created_before, query.updated_after)
    plain = all(filter is None for filter in others)
    if isinstance(query.owner, str):
        return COUNT_OF_OWNER if plain else COUNT_MATCHING_OF_OWNER
    return COUNT if plain and query.owner is ANY else COUNT_MATCHING


def _filters(query: Query) -> dict[str, Any]:
    filters = asdict(query)
    filters["any_owner"] = query.owner is ANY
    filters["owner"] = None if query.owner is ANY else query.owner
    filters["status"] = None if query.status is None else rows.dumps([status.value for status in query.status])
    return filters


def _due_at(job: Job[Any]) -> float:
    return min((time for time in (job.next_at, job.lease_until) if time is not None), default=float("inf"))
