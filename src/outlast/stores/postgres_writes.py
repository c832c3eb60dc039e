"""What writes to the tables of PostgreSQL. Each function is one transaction, of two round trips however many jobs:

    1  lock the rows that may be written, and read behind the locks all that the decision needs
       (decide in Python; gather rows on a sheet)
    2  write each table in one statement, read what the answer needs, commit

Nearly all submits are alike, so the server places them by itself, in one round trip.

Rows are locked in the order of their ids, and claims wait for nobody, so that transactions do not block each other in
a circle.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from psycopg import errors

from outlast.errors import JobNotFound
from outlast.job import RANK, Change, Job, NewJob
from outlast.stores import rows
from outlast.stores.base import ANY, IDEMPOTENCY, Head, Lease, Owner, Record
from outlast.stores.postgres_pool import Do, Rows, Transaction
from outlast.stores.postgres_tables import JOB, Many, rows_of, statements, texts, with_tags
from outlast.stores.rows import Stored
from outlast.stores.sheet import Sheet, Table

_WHOLE = ", ".join(rows.WHOLE)
_WHOLE_OF = ", ".join(f"whole.{name}" for name in rows.WHOLE)
_ID = rows.WHOLE.index("id")

LOCK = "select n from {s}.job where id = any(%s::text[]) order by id for update"
STORED = f"select {', '.join(rows.STORED)} from {{s}}.whole where id = any(%s::text[])"
WHOLE_BY_IDS = f"select {_WHOLE} from {{s}}.whole where id = any(%s::text[])"
HOLDERS = f"""
    select name, {_WHOLE_OF} from {{s}}.held join {{s}}.whole using (n)
     where name = any(%s::text[]) and held.at > %s::float8"""
LAPSED = "delete from {s}.held where name = any(%s::text[]) and at <= %s::float8"
HOLD = "insert into {s}.held (name, n, at) select * from unnest(%s::text[], %s::bigint[], %s::float8[])"
NUMBERS = "select nextval('{s}.job_number') from generate_series(1, %s::integer)"

_HEADS = """
    with recursive known (type) as (
        (select type from {s}.job where tag is not null order by type limit 1)
        union all
        select (select next.type from {s}.job next
                 where next.tag is not null and next.type > known.type order by next.type limit 1)
          from known where known.type is not null
    ), head as materialized (
        select each.rank, (
            select min(first.tag) from known cross join lateral (
                select tag from {s}.job
                 where job.tag is not null and job.type = known.type and job.rank = each.rank
                 order by tag limit 1) first) as tag
          from unnest('{0,1,2}'::smallint[]) as each (rank))"""
_OWN = """
    case when who.owner is null
         then (select max(tag) from {s}.job where tag is not null and job.rank = who.rank and owner is null)
         else (select max(tag) from {s}.job where tag is not null and job.rank = who.rank and owner = who.owner) end"""
_PLACES = f"{_HEADS} select who.rank, who.owner, head.tag, {_OWN} from who join head on head.rank = who.rank"
PLACES = _PLACES.replace(
    "who join", "(select distinct * from unnest(%s::smallint[], %s::text[])) who (rank, owner) join"
)
PLACES_OF_JOBS = _PLACES.replace(
    "who join", "(select distinct rank, owner from {s}.job where id = any(%s::text[])) who join"
)

_BORN = (*JOB[1:], "asked", "payload", "tags")
_TAG = """
    case when tag is not null
         then greatest(coalesce(head, 0), coalesce(max(own) over (partition by rank, owner) + 1, 0)) - 1 + nth end"""
INSERT = Many(
    f"""{_HEADS}, new as materialized (
        select * from {rows_of(*_BORN)}
    ), who as (
        select *, row_number() over (partition by rank, owner, tag is null order by ord) as nth from new
    ), found as (
        select who.*, head.tag as head, case when nth = 1 and who.tag is not null then {_OWN} end as own
          from who join head on head.rank = who.rank
    ), placed as (
        select {", ".join(f"{_TAG} as tag" if name == "tag" else name for name in _BORN)} from found order by ord
    ), numbered as (
        select nextval('{{s}}.job_number') as n, * from placed
    ), kept as (
        insert into {{s}}.asked (n, asked, payload, tags) select n, asked, payload, tags from numbered)
    insert into {{s}}.job ({", ".join(JOB)}) select {", ".join(JOB)} from numbered returning id, tag""",
    _BORN,
)
"""Jobs that were never there, each with the tag that `Tags.give` finds if it has any."""

RENEW = """
    update {s}.job set lease_until = %s::float8
      from unnest(%s::text[], %s::text[]) as good (id, lease) where job.id = good.id and job.lease = good.lease"""
HELD = """
    select id, lease, greatest(job.seq, live.seq), turn from {s}.job left join {s}.live using (n)
     where id = any(%s::text[]) and lease is not null"""

ENDED = """
    select n, id, owner from {s}.job
     where id = any(%s::text[]) and status in ('completed', 'failed', 'cancelled') order by id for update"""
PURGE = [
    f"delete from {{s}}.{table} where n = any(%s::bigint[])"
    for table in ("event", "step", "signal", "report", "result", "asked", "live")
]
PURGE_HELD = """
    delete from {s}.held using {s}.job where held.n = job.n and job.idempotency_key is not null
       and job.n = any(%s::bigint[])"""
PURGE_JOB = "delete from {s}.job where n = any(%s::bigint[])"

PUT = """
    insert into {s}.record as old (key, value, version, expires_at)
    values (%(key)s, %(value)s, 1, %(until)s::float8)
    on conflict (key) do update set value = excluded.value, expires_at = excluded.expires_at,
           version = case when old.expires_at <= %(now)s::float8 then 1 else old.version + 1 end
     where %(any)s::boolean or old.expires_at <= %(now)s::float8
    returning version"""
"""Whatever the version is, or where no note is yet."""
PUT_OVER = """
    update {s}.record set value = %(value)s, expires_at = %(until)s::float8, version = version + 1
     where key = %(key)s and version = %(version)s::bigint and (expires_at is null or expires_at > %(now)s::float8)
    returning version"""
DROP = "delete from {s}.record where key = any(%s::text[]) or expires_at <= %s::float8"


TAKEN = (errors.UniqueViolation,)
"""Another insert of the same id or key was faster; begun anew, this one finds what that stored."""


# -- jobs in --------------------------------------------------------------------------------------------------------


def is_plain(new: NewJob) -> bool:
    """True of a job that brings nothing but itself: no key, no steps, and no log of another job."""
    brings = new.steps or new.job.offsets or not all(event.is_move for event in new.events)
    return new.job.idempotency_key is None and not brings


async def insert_plain(transaction: Transaction, new: Sequence[NewJob]) -> list[Job[Any]]:
    """The jobs as they are stored, all of which are plain. Fails with one of TAKEN if one is there already."""
    jobs, sheet = dict[str, Job[Any]](), Sheet()
    for one in _in_order(new):
        jobs[one.job.id] = job = _placed(one, None if one.place is None else 0)
        sheet.born(0, job, one)
    torn = sheet.torn_off()
    each = zip(torn[Table.NEW_JOB], with_tags(torn[Table.ASKED]), strict=True)
    [placed] = await transaction.end(INSERT.of([(*job[1:], *asked[1:]) for job, asked in each]))
    tags: dict[str, int | None] = dict(placed)
    return [jobs[one.job.id].evolve(tag=tags[one.job.id]) for one in new]


async def insert(transaction: Transaction, new: Sequence[NewJob], now: float) -> list[Job[Any]]:
    """The jobs as they are stored; of those that were there already, as they were found."""
    ordered = _in_order(new)
    names = {one.job.id: held_name(one.job) for one in ordered if one.job.idempotency_key is not None}
    places, numbers, known, held = await transaction.run(*_before(ordered, list(names.values()), now))
    stored = {row[_ID]: rows.job_of(row) for row in known}
    holders = {row[0]: rows.job_of(row[1:]) for row in held}
    tags, sheet, takes = Tags(places), Sheet(), list[tuple[str, int, float]]()
    answers = {}
    for one, (n,) in zip(ordered, numbers, strict=True):
        name = names.get(one.job.id)
        holder = holders.get(name) if name is not None else None
        there = holder or stored.get(one.job.id)
        if there is None:
            there = stored[one.job.id] = _born(sheet, tags, n, one)
            if name is not None:
                holders[name] = there
                takes.append((name, n, one.job.created_at))
        answers[one.job.id] = there
    await transaction.end(*statements(sheet.torn_off()), *_holding(takes, now))
    return [answers[one.job.id] for one in new]


def _in_order(new: Sequence[NewJob]) -> list[NewJob]:
    """Of one call the ids decide the order, which is that of `n`: claims go by it where tags are equal."""
    return sorted(new, key=lambda one: one.job.id)


def _before(new: Sequence[NewJob], names: list[str], now: float) -> list[Do]:
    placed = [one.job for one in new if one.place is not None]
    return [
        Do(PLACES, ([RANK[job.priority] for job in placed], [job.owner for job in placed])),
        Do(NUMBERS, (len(new),)),
        Do(WHOLE_BY_IDS, ([one.job.id for one in new],)),
        Do(HOLDERS, (names, now - IDEMPOTENCY)),
    ]


def held_name(job: Job[Any]) -> str:
    return rows.dumps([job.owner, job.idempotency_key])


def _born(sheet: Sheet, tags: "Tags", n: int, new: NewJob) -> Job[Any]:
    born = new.job
    job = _placed(new, None if new.place is None else tags.give(RANK[born.priority], born.owner, new.place))
    sheet.born(n, job, new)
    return job


def _placed(new: NewJob, tag: int | None) -> Job[Any]:
    return Change(id=new.job.id, set={"tag": tag}, events=new.events).applied(new.job)


def _holding(takes: Sequence[tuple[str, int, float]], now: float) -> list[Do]:
    if not takes:
        return []
    # One order for all, so that two inserts of the same keys wait for each other in one direction.
    names, ns, times = map(list, zip(*sorted(takes), strict=True))
    return [Do(LAPSED, (names, now - IDEMPOTENCY)), Do(HOLD, (names, ns, [float(time) for time in times]))]


# -- moves, wishes, appends -----------------------------------------------------------------------------------------


async def apply(
    transaction: Transaction, changes: Sequence[Change]
) -> tuple[list[Job[Any] | None], Mapping[str, Stored]]:
    """For each change None or the job as it now is; and the rows as they now are, by id."""
    ids = list({change.id for change in changes})
    placed = list({change.id for change in changes if change.place is not None})
    wanted = texts(ids)
    reads = [Do(LOCK, (wanted,)), Do(STORED, (wanted,))]
    if placed:
        reads.append(Do(PLACES_OF_JOBS, (placed,)))
    _, found, *places = await transaction.run(*reads)
    stored = {row[_ID]: Stored(row) for row in found}
    for change in changes:
        if change.id not in stored:
            await transaction.give_up()
            raise JobNotFound(change.id)
    writes, refused = decided(changes, stored, Tags(places[0] if places else []))
    if refused:
        writes.append(Do(WHOLE_BY_IDS, (list({changes[at].id for at in refused}),)))
    answered = await transaction.end(*writes)
    now_is = {row[_ID]: rows.job_of(row) for row in answered[-1]} if refused else {}
    answers = [now_is[change.id] if at in refused else None for at, change in enumerate(changes)]
    return answers, stored


def decided(changes: Sequence[Change], stored: Mapping[str, Stored], tags: "Tags") -> tuple[list[Do], set[int]]:
    """What the changes that hold write, and the places of those that do not. The rows are then as they leave them."""
    sheet, writes, refused = Sheet(), list[Do](), set[int]()
    for at, change in enumerate(changes):
        job = stored[change.id]
        if not change.holds(job):
            refused.add(at)
            continue
        if sheet.has_moved(job.n):
            writes += statements(sheet.torn_off())
        tag = None if change.place is None else tags.give(job.rank, job.owner, change.place)
        sheet.changed(job, change, tag)
    return writes + statements(sheet.torn_off()), refused


class Tags:
    """The fair order (`Store.apply` states the rule), by what two probes of each owner found."""

    def __init__(self, places: Rows) -> None:
        self._heads: dict[int, int | None] = {rank: head for rank, _, head, _ in places}
        self._owns: dict[tuple[int, str | None], int | None] = {(rank, owner): own for rank, owner, _, own in places}

    def give(self, rank: int, owner: str | None, place: Literal["back", "front"]) -> int:
        head, own = self._heads[rank], self._owns[rank, owner]
        front = 0 if head is None else head
        tag = front if place == "front" or own is None else max(front, own + 1)
        self._heads[rank] = front
        self._owns[rank, owner] = tag if own is None else max(own, tag)
        return tag


# -- leases ---------------------------------------------------------------------------------------------------------


async def renew(transaction: Transaction, leases: Sequence[Lease], until: float) -> list[Head | None]:
    ids, tokens = texts(lease.job_id for lease in leases), texts(lease.lease for lease in leases)
    *_, held = await transaction.end(Do(LOCK, (ids,)), Do(RENEW, (until, ids, tokens)), Do(HELD, (ids,)))
    heads = {Lease(job_id, lease): Head(seq, turn) for job_id, lease, seq, turn in held}
    return [heads.get(lease) for lease in leases]


# -- out, and records -----------------------------------------------------------------------------------------------


async def purge(transaction: Transaction, ids: Sequence[str], owner: Owner) -> list[str]:
    [ended] = await transaction.run(Do(ENDED, (list(ids),)))
    gone = {job_id: n for n, job_id, whose in ended if owner is ANY or owner == whose}
    ns = list(gone.values())
    await transaction.end(*(Do(statement, (ns,)) for statement in (*PURGE, PURGE_HELD, PURGE_JOB)))
    return [job_id for job_id in dict.fromkeys(ids) if job_id in gone]


async def put(
    transaction: Transaction, key: str, value: Mapping[str, Any], version: int | None, ttl: float | None, now: float
) -> Record | None:
    until = None if ttl is None else now + ttl
    statement = PUT_OVER if version else PUT
    values = {"key": key, "value": rows.dumps(dict(value)), "until": until, "now": now}
    [written] = await transaction.end(Do(statement, {**values, "version": version, "any": version is None}))
    return Record(key, dict(value), written[0][0], until) if written else None


async def drop(transaction: Transaction, keys: Collection[str], now: float) -> None:
    await transaction.end(Do(DROP, (list(keys), now)))
