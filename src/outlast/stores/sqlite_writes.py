"""What writes to the tables of SQLite. Every method runs inside a transaction of the writer (sqlite_engine.py)."""

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from heapq import merge
from itertools import islice
from typing import Any, Literal

import apsw

from outlast import lifecycle
from outlast.errors import JobNotFound
from outlast.job import RANK, Change, Job, NewJob, Status
from outlast.report import REPORTS
from outlast.stores import rows
from outlast.stores.base import ANY, IDEMPOTENCY, Claimed, Clock, Head, Lease, News, Owner, Record
from outlast.stores.rows import Stored
from outlast.stores.sheet import Sheet, Table
from outlast.stores.sqlite_claims import LOGGED, take_plain
from outlast.stores.sqlite_completions import complete_plain
from outlast.stores.sqlite_many import Many

WHOLE_BY_ID = f"select {', '.join(rows.WHOLE)} from whole where id = ?"
WHOLE_BY_KEY = f"select {', '.join(rows.WHOLE)} from whole where idempotency_key = ? and owner is ? and created_at > ?"
WHOLE_BY_NS = f"select {', '.join(rows.WHOLE)} from whole where n in (select value from json_each(?))"
STORED = f"select {', '.join(rows.STORED)} from whole where id in (select value from json_each(?))"

_N, _ID, _APPENDED, _LOGGED = (rows.WHOLE.index(name) for name in ("n", "id", "appended", "logged"))

_JOB = ("n", *rows.FIXED, *rows.MOVED, *rows.COUNTED, "log")
INSERT_JOB = Many(f"insert into job ({', '.join(_JOB)}) values {{rows}}", len(_JOB))
LAST_N = "select ifnull(max(n), 0) from job"
KNOWN = "select id from job where id in (select value from json_each(?))"
_LIVE = ("n", *rows.COUNTED, *rows.SHOWN)
SAVE_LIVE = Many(f"replace into live ({', '.join(_LIVE)}) values {{rows}}", len(_LIVE))
INSERT_ASKED = Many("insert into asked (n, asked, payload) values {rows}", 3)
INSERT_EVENT = Many("insert into event (n, seq, type, time, attempt, output, data) values {rows}", 7)
INSERT_SIGNAL = """
    insert into signal (n, number, name, key, taken, value)
    values (?1, (select ifnull(max(number), 0) + 1 from signal where n = ?1), ?2, ?3, 0, ?4)"""
TAKE_SIGNAL = "update signal set taken = 1 where n = ? and number = ?"

INSERT_REPORT = """
    insert into report (n, number, report)
    values (?1, (select ifnull(max(number), 0) + 1 from report where n = ?1), ?2)"""
DROP_REPORTS = f"""
    delete from report
     where n in (select value from json_each(?))
       and number <= (select max(number) - {REPORTS} from report as newest where newest.n = report.n)"""

_MOVED = (*rows.MOVED, *rows.COUNTED)
UPDATE_JOB = Many(
    f"""
    with moved (n, log, {", ".join(_MOVED)}) as (values {{rows}})
    update job set log = job.log || moved.log, {", ".join(f"{name} = moved.{name}" for name in _MOVED)}
      from moved where job.n = moved.n""",
    2 + len(_MOVED),
)
LOG = "select log from job where n = ?"
EMPTY_LOG = "update job set log = '' where n = ?"
SAVE_STEP = Many(
    """
    insert into step (n, key, name, place, status, due, attempt, duration_ms, value) values {rows}
    on conflict (n, key) do update
       set name = excluded.name, place = excluded.place, status = excluded.status, due = excluded.due,
           attempt = excluded.attempt, duration_ms = excluded.duration_ms, value = excluded.value
     where step.status <> 'completed'""",
    9,
)
SAVE_ERROR = Many(
    """
    insert into result (n, last_error) values {rows}
    on conflict (n) do update set last_error = excluded.last_error""",
    2,
)
SAVE_RESULT = Many("replace into result (n, result_json) values {rows}", 2)
"""With a result there is no error any more."""

MANY = {
    Table.NEW_JOB: INSERT_JOB,
    Table.ASKED: INSERT_ASKED,
    Table.MOVED_JOB: UPDATE_JOB,
    Table.LIVE: SAVE_LIVE,
    Table.EVENT: INSERT_EVENT,
    Table.STEP: SAVE_STEP,
    Table.RESULT: SAVE_RESULT,
    Table.ERROR: SAVE_ERROR,
}
ONE_BY_ONE = {
    Table.SIGNAL: INSERT_SIGNAL,
    Table.TAKEN: TAKE_SIGNAL,
    Table.REPORT: INSERT_REPORT,
}
"""The number of such a row may follow that of the one written before it."""

READY = "select rank, tag, n from job where type = ? and tag is not null order by rank, tag, n"
READY_OF_IDS = """
    select rank, tag, n from job
     where id in (select value from json_each(?)) and tag is not null and type in (select value from json_each(?))
     order by rank, tag, n"""
NEXT_AT = """
    select min(at) from (
        select min(next_at) as at from job indexed by job_wakes
         where next_at is not null and status in ('queued', 'processing', 'waiting', 'retrying')
        union all
        select min(lease_until) from job where lease_until is not null)"""
HEAD = """
    with recursive ready (type) as (
        select min(type) from job where tag is not null
        union all
        select (select min(type) from job where tag is not null and type > ready.type) from ready
         where ready.type is not null)
    select min((select min(tag) from job where tag is not null and type = ready.type and rank = ?)) from ready"""
OWN = "select max(tag) from job where tag is not null and rank = ? and owner is ?"

HELD = """
    select n, id, lease, max(job.seq, ifnull(live.seq, 0)), turn from job left join live using (n)
     where id in (select value from json_each(?)) and lease is not null"""
RENEW = "update job set lease_until = ? where n in (select value from json_each(?))"

ENDED = """
    select n, id, owner from job
     where id in (select value from json_each(?)) and +status in ('completed', 'failed', 'cancelled')"""
PURGE = [
    "delete from event where n in (select value from json_each(?))",
    "delete from step where n in (select value from json_each(?))",
    "delete from signal where n in (select value from json_each(?))",
    "delete from report where n in (select value from json_each(?))",
    "delete from result where n in (select value from json_each(?))",
    "delete from asked where n in (select value from json_each(?))",
    "delete from live where n in (select value from json_each(?))",
    "delete from job where n in (select value from json_each(?))",
]

FETCH = "select key, value, version, expires_at from record where key = ?"
PUT = """
    insert into record (key, value, version, expires_at) values (?, ?, ?, ?)
    on conflict (key) do update
       set value = excluded.value, version = excluded.version, expires_at = excluded.expires_at"""
DROP = "delete from record where key in (select value from json_each(?)) or expires_at <= ?"


class Writes:
    """The writes of one transaction, and the news they make.

    Rows are gathered while a call decides, and written together at its end, or before anything reads them.
    """

    def __init__(self, connection: apsw.Connection, clock: Clock) -> None:
        self._connection = connection
        self._do: Callable[..., Any] = connection.execute
        self._now = clock.now
        self._tags = Tags(connection, self._flush)
        self._sheet = Sheet()
        self._last_n: int | None = None
        self._ids: set[str] = set()
        self._ready = False

    def begin(self) -> None:
        """A new transaction: other processes may have written since the last one."""
        self.forget()
        self._ids, self._ready = set(), False

    def forget(self) -> None:
        """What this transaction wrote may be gone."""
        self._tags.forget()
        self._sheet.torn_off()
        self._last_n = None

    def _flush(self) -> None:
        for table, its in self._sheet.torn_off().items():
            if table in MANY:
                MANY[table].run(self._do, its)
            else:
                for row in its:
                    self._do(ONE_BY_ONE[table], row)
            if table is Table.REPORT:
                self._do(DROP_REPORTS, (rows.dumps([row[0] for row in its]),))

    def news(self) -> News | None:
        return News(frozenset(self._ids), self._ready) if self._ids else None

    # -- jobs in ----------------------------------------------------------------------------------------------------

    def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        # Of one call the ids decide the order, which is that of `n`: claims go by it where tags are equal.
        known = {id for (id,) in self._do(KNOWN, (rows.dumps([one.job.id for one in new]),))}
        stored: dict[str, Job[Any]] = {}
        for one in sorted(new, key=_id_of):
            stored[one.job.id] = self._there_already(one.job, known) or self._insert(one)
            known.add(one.job.id)
        self._flush()
        return [stored[one.job.id] for one in new]

    def _there_already(self, job: Job[Any], known: Collection[str]) -> Job[Any] | None:
        """The job itself, from an insert that was repeated, or another that holds its idempotency key."""
        holder = None
        if job.idempotency_key is not None:
            since = self._now() - IDEMPOTENCY
            holder = self._whole(WHOLE_BY_KEY, (job.idempotency_key, job.owner, since))
        if holder is None and job.id in known:
            holder = self._whole(WHOLE_BY_ID, (job.id,))
        return holder

    def _whole(self, statement: str, values: Sequence[Any]) -> Job[Any] | None:
        self._flush()
        row = self._do(statement, values).fetchone()
        return None if row is None else rows.job_of(row)

    def _insert(self, new: NewJob) -> Job[Any]:
        born = new.job
        tag = None if new.place is None else self._tags.give(RANK[born.priority], born.owner, new.place)
        job = Change(id=born.id, set={"tag": tag}, events=new.events).applied(born)
        n = self._next_n()
        self._sheet.born(n, job, new)
        self._tell(job.id, ready=True)
        return job

    def _next_n(self) -> int:
        last: int = self._do(LAST_N).get if self._last_n is None else self._last_n
        self._last_n = last + 1
        return self._last_n

    # -- moves, wishes, appends -------------------------------------------------------------------------------------

    def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        done = self._complete(changes)
        rest = {change.id for change in changes} - done
        found = {row[_ID]: Stored(row) for row in self._do(STORED, (rows.dumps(list(rest)),))} if rest else {}
        answers = [None if change.id in done else self._apply(found, change) for change in changes]
        self._flush()
        return answers

    def _complete(self, changes: Sequence[Change]) -> Set[str]:
        """Write what is plain of these; the ids of its jobs."""
        done = complete_plain(self._do, changes)
        for change in changes:
            if change.id in done:
                self._sheet.result(done[change.id], change.set["result_json"])
                self._tell(change.id, ready=False)
        return done.keys()

    def _apply(self, found: Mapping[str, Stored], change: Change) -> Job[Any] | None:
        stored = found.get(change.id)
        if stored is None:
            raise JobNotFound(change.id)
        if not change.holds(stored):
            return self._whole(WHOLE_BY_ID, (change.id,))
        self._write(stored, change)
        return None

    def _write(self, stored: Stored, change: Change) -> None:
        if self._sheet.has_moved(stored.n):
            self._flush()
        claimable = stored.tag is not None
        tag = None if change.place is None else self._tags.give(stored.rank, stored.owner, change.place)
        self._sheet.changed(stored, change, tag)
        if claimable and stored.tag is None:
            self._tags.forget()
        self._tell(change.id, ready=change.place is not None)

    # -- claims -----------------------------------------------------------------------------------------------------

    def claim(self, n: int, types: Collection[str], worker: str, ids: Sequence[str] | None, ttl: float) -> Claimed:
        now = self._now()
        chosen = [place for _, _, place in islice(self.ready(types, ids), n)]
        plain = take_plain(self._do, chosen, worker, now + ttl, now)
        jobs = {n: rows.job_of(row) for n, row in plain.items()}
        jobs |= self._claim_each([n for n in chosen if n not in plain], worker, now + ttl, now)
        self._ids.update(job.id for job in jobs.values())
        self._tags.forget()
        return Claimed([jobs[n] for n in chosen if jobs[n].status is Status.PROCESSING], self.next_at())

    def ready(self, types: Collection[str], ids: Sequence[str] | None) -> Iterator[tuple[int, int, int]]:
        """(rank, tag, n) of the claimable jobs, in the order of claims."""
        if ids is not None:
            return iter(self._do(READY_OF_IDS, (rows.dumps(list(ids)), rows.dumps(list(types)))))
        return merge(*(self._do(READY, (type,)) for type in set(types)))

    def _claim_each(self, ns: Sequence[int], worker: str, until: float, now: float) -> dict[int, Job[Any]]:
        """Claim these, whatever they are; a wish ends them instead."""
        found = self._do(WHOLE_BY_NS, (rows.dumps(ns),)).fetchall() if ns else ()
        jobs = {row[_N]: self._claim(row, worker, until, now) for row in found}
        self._flush()
        return jobs

    def _claim(self, row: rows.Values, worker: str, until: float, now: float) -> Job[Any]:
        job, n = rows.job_of(row), row[_N]
        if row[_LOGGED] > LOGGED:
            self._move_log(n)
        change = lifecycle.claim(job, secrets.token_hex(16), worker, until, now)
        return self._sheet.claimed(n, job, change, appended=bool(row[_APPENDED]))

    def _move_log(self, n: int) -> None:
        """The events of many moves, out of the row that every claim reads."""
        self._sheet.logged(n, rows.log_of(self._do(LOG, (n,)).get))
        self._do(EMPTY_LOG, (n,))

    def next_at(self) -> float | None:
        """When the clock will next move a live job."""
        soonest: float | None = self._do(NEXT_AT).get
        return soonest

    def renew(self, leases: Sequence[Lease], ttl: float) -> list[Head | None]:
        held = {}
        for n, job_id, lease, seq, turn in self._do(HELD, (rows.dumps([lease.job_id for lease in leases]),)):
            held[Lease(job_id, lease)] = n, Head(seq, turn)
        good = [held[lease][0] for lease in leases if lease in held]
        self._do(RENEW, (self._now() + ttl, rows.dumps(good)))
        return [held[lease][1] if lease in held else None for lease in leases]

    # -- out --------------------------------------------------------------------------------------------------------

    def purge(self, ids: Sequence[str], owner: Owner) -> list[str]:
        ended = self._do(ENDED, (rows.dumps(list(dict.fromkeys(ids))),)).fetchall()
        gone = {n: job_id for n, job_id, whose in ended if owner is ANY or owner == whose}
        for statement in PURGE:
            self._do(statement, (rows.dumps(list(gone)),))
        for job_id in gone.values():
            self._tell(job_id, ready=False)
        return list(gone.values())

    # -- records ----------------------------------------------------------------------------------------------------

    def put(self, key: str, value: Mapping[str, Any], version: int | None, ttl: float | None) -> Record | None:
        now = self._now()
        row = self._do(FETCH, (key,)).fetchone()
        old = None if row is None else rows.record_of(row)
        current = 0 if old is None or (old.expires_at is not None and old.expires_at <= now) else old.version
        if version is not None and version != current:
            return None
        record = Record(key, dict(value), current + 1, None if ttl is None else now + ttl)
        self._do(PUT, (key, rows.dumps(record.value), record.version, record.expires_at))
        return record

    def drop(self, keys: Collection[str]) -> None:
        self._do(DROP, (rows.dumps(list(keys)), self._now()))

    def _tell(self, job_id: str, *, ready: bool) -> None:
        self._ids.add(job_id)
        self._ready = self._ready or ready


def _id_of(new: NewJob) -> str:
    return new.job.id


class Tags:
    """The fair order (`Store.apply` states the rule). What was read is kept while only this transaction writes."""

    def __init__(self, connection: apsw.Connection, flush: Callable[[], None]) -> None:
        self._do: Callable[..., Any] = connection.execute
        self._flush = flush
        self._heads: dict[int, int | None] = {}
        self._owns: dict[tuple[int, str | None], int | None] = {}

    def forget(self) -> None:
        """Ready jobs went, or others may have written."""
        self._heads.clear()
        self._owns.clear()

    def give(self, rank: int, owner: str | None, place: Literal["back", "front"]) -> int:
        head, own = self._head(rank), self._own(rank, owner)
        front = 0 if head is None else head
        tag = front if place == "front" or own is None else max(front, own + 1)
        self._heads[rank] = front
        self._owns[rank, owner] = tag if own is None else max(own, tag)
        return tag

    def _head(self, rank: int) -> int | None:
        if rank not in self._heads:
            self._flush()
            self._heads[rank] = self._do(HEAD, (rank,)).get
        return self._heads[rank]

    def _own(self, rank: int, owner: str | None) -> int | None:
        if (rank, owner) not in self._owns:
            self._flush()
            self._owns[rank, owner] = self._do(OWN, (rank, owner)).get
        return self._owns[rank, owner]
