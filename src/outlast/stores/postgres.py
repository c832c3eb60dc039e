"""Jobs in a schema of a PostgreSQL database: any number of machines, every commit synced by the server.

    postgres.py          the store: each method is one transaction (this file)
    postgres_writes.py   those that write; postgres_tables.py: one statement for each table
    postgres_claims.py   those that claim
    postgres_known.py    those that need not look first, for the jobs are our own
    postgres_reads.py    those that read
    postgres_guest.py    submits within a caller's own transaction
    postgres_pool.py     connections, and transactions on them
    postgres_news.py     news of other processes, by LISTEN or by looking
    postgres_schema.py   the server and the schema: may it be trusted, are its tables up to date
    postgres_url.py      what a URL says; postgres_errors.py: the driver's errors by our names
    postgres_0001.sql    the tables

Every method's promise stands in stores/base.py.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Self

from outlast.errors import StoreUnavailable
from outlast.job import Change, Event, Job, NewJob, Signal, Status, Step
from outlast.report import Report
from outlast.stores import postgres_claims as claims
from outlast.stores import postgres_guest as guests
from outlast.stores import postgres_known as known
from outlast.stores import postgres_reads as reads
from outlast.stores import postgres_writes as writes
from outlast.stores import rows
from outlast.stores.base import (
    ANY,
    LEASE,
    Batch,
    Claimed,
    Clock,
    Description,
    Head,
    Lease,
    Listeners,
    News,
    Owner,
    Query,
    Record,
)
from outlast.stores.postgres_errors import of_connecting
from outlast.stores.postgres_news import Newsroom
from outlast.stores.postgres_pool import Connection, Do, Engine, Transaction, connect
from outlast.stores.postgres_schema import SCHEMA, Facts, facts_of, migrate, script
from outlast.stores.postgres_url import OPERATION, place_of
from outlast.stores.server_clock import ServerClock

logger = logging.getLogger("outlast")

TIME = Do("select extract(epoch from clock_timestamp())::float8")
ROUNDS = 3
"""How often a claim looks again where others were faster."""


class PostgresStore:
    """Implements Store and Records.

    Parameters
    ----------
    url: `postgresql://user:password@host:port/database`, with libpq's options and these: `schema` (default `outlast`),
        `listen_url` (a direct connection for notifications, where the URL leads to a pooler), `connections` (of one
        event loop, default 4).
    clock: replaces the server's clock, for tests.

    Raises ConfigurationError if the URL is wrong.
    """

    batch = Batch()
    locks: Path | None = None

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or ServerClock(self._ask_time)
        self._place = place_of(url)
        self._listeners = Listeners()
        self._engine: Engine | None = None
        self._newsroom: Newsroom | None = None
        self._waiting: guests.Waiting | None = None
        self._facts: Facts | None = None
        self._known = known.Known()
        self._deaf: str | None = None

    # -- open and closed --------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def open(self) -> None:
        if self._engine is not None:
            return
        connection = await self._prepare()
        self._engine = Engine(self._place, self._facts.number if self._facts else 0)
        self._engine.adopt(connection)
        self._waiting = guests.Waiting(self._engine, lambda ids: self._tell(ids, ready=True))
        try:
            self._newsroom = Newsroom(self._place, self._engine, self._listeners, self._heard)
            await self._newsroom.settled()
            await self.clock.checked()
        except BaseException:
            await self.close()
            raise

    async def _prepare(self) -> Connection:
        """A connection to a server and a schema that are as they should be."""
        try:
            connection = await connect(self._place.conninfo)
            try:
                await self._check(connection)
            except BaseException:
                connection.pgconn.finish()
                raise
        except Exception as error:
            raise of_connecting(error, self._place.shown) from error
        return connection

    async def _check(self, connection: Connection) -> None:
        async with asyncio.timeout(OPERATION):
            self._facts = await facts_of(connection, self._place)
        async with asyncio.timeout(6 * OPERATION):
            await migrate(connection, self._place)

    async def close(self) -> None:
        newsroom, self._newsroom = self._newsroom, None
        engine, self._engine = self._engine, None
        if self._waiting is not None and (ending := self._waiting.close()) is not None:
            await ending
        if newsroom is not None:
            await newsroom.close()
        if engine is not None:
            await engine.close()

    def describe(self) -> Description:
        facts = self._facts
        if facts is None:
            return Description(self._place.shown, "postgresql", "", "not connected yet", (), SCHEMA)
        warnings = facts.warnings if self._deaf is None else (*facts.warnings, self._deaf)
        return Description(self._place.shown, "postgresql", facts.version, facts.durability, warnings, SCHEMA)

    def script(self) -> str:
        return script(self._place)

    def now(self) -> float:
        return self.clock.now()

    def listen(self, hear: Callable[[News], None]) -> Callable[[], None]:
        return self._listeners.add(hear)

    def _heard(self, deaf: str | None) -> None:
        # How it is from the beginning, whoever opens the store tells with its other warnings.
        is_open = self._newsroom is not None and self._newsroom.is_settled
        if is_open and deaf is not None and self._deaf is None:
            logger.warning("%s: %s", self._place.shown, deaf)
        self._deaf = deaf
        self.clock.doubt()
        # What listens may lead past a pooler that the statements go through.
        if self._engine is not None and self._place.listen == self._place.conninfo:
            self._engine.prepare(deaf is None)

    # -- writes -----------------------------------------------------------------------------------------------------

    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        if not new:
            return []
        now = await self.clock.checked()
        # Nearly all are new; a submit sent again is found out by the tables, and looked up then.
        plain = chain([all(map(writes.is_plain, new))], repeat(False))

        def insert(one: Transaction) -> Awaitable[list[Job[Any]]]:
            return writes.insert_plain(one, new) if next(plain) else writes.insert(one, new, now)

        jobs = await self._open().write(insert, again=writes.TAKEN, twice=True)
        self._tell({job.id for job in jobs}, ready=True)
        return jobs

    async def insert_within(self, connection: Any, new: Sequence[NewJob]) -> list[Job[Any]]:
        engine, waiting = self._open(), self._waiting
        jobs, number = await guests.insert(connection, engine.names, new, self.now())
        if waiting is not None:
            waiting.add(number, {job.id for job in jobs})
        return jobs

    async def claim(
        self, n: int, types: Collection[str], worker: str, *, ids: Sequence[str] | None = None, ttl: float = LEASE
    ) -> Claimed:
        await self.clock.checked()
        if n <= 0 or not types or ids == []:
            [[[next_at]]] = await self._open().read(Do(claims.NEXT_AT))
            return Claimed([], next_at)
        if ids is not None:
            jobs, next_at = await self._claim_each(n, types, ids, worker, ttl, wait=True)
            return Claimed(jobs, next_at)
        claimed: list[Job[Any]] = []
        next_at = None
        for _ in range(ROUNDS):
            try:
                jobs, some_were_lost, next_at = await self._claim_next(n - len(claimed), types, worker, ttl)
            except Exception:
                # Those that are claimed already shall run. What this call was to tell, the next one will.
                if not claimed:
                    raise
                break
            claimed += jobs
            if not some_were_lost:
                break
        return Claimed(claimed, next_at)

    async def _claim_next(
        self, n: int, types: Collection[str], worker: str, ttl: float
    ) -> tuple[list[Job[Any]], bool, float | None]:
        """Jobs; whether others were faster to get some of the next `n`; and when the clock moves the next."""
        taken, rows, next_at = await self._open().write(lambda one: claims.take(one, n, types, worker, ttl, self.now()))
        self._known.learn(rows)
        jobs = [one for one in taken if isinstance(one, Job)]
        self._tell({job.id for job in jobs}, ready=False)
        odd = [one for one in taken if isinstance(one, str)]
        if not odd:
            return jobs, False, next_at
        try:
            each, next_at = await self._claim_each(len(odd), types, odd, worker, ttl, wait=False)
        except Exception:
            if not jobs:
                raise
            return jobs, False, next_at
        order = {one if isinstance(one, str) else one.id: place for place, one in enumerate(taken)}
        return sorted(jobs + each, key=lambda job: order[job.id]), len(each) < len(odd), next_at

    async def _claim_each(
        self, n: int, types: Collection[str], ids: Sequence[str], worker: str, ttl: float, *, wait: bool
    ) -> tuple[list[Job[Any]], float | None]:
        taken, rows, next_at = await self._open().write(
            lambda one: claims.take_each(one, n, types, ids, worker, ttl, self.now(), wait=wait),
            again=(claims.Changed,),
        )
        self._known.learn(rows)
        jobs = [one for one in taken if isinstance(one, Job)]
        self._tell({job.id for job in jobs}, ready=False)
        return [job for job in jobs if job.status is Status.PROCESSING], next_at

    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE) -> list[Head | None]:
        until = await self.clock.checked() + ttl
        return await self._open().write(lambda one: writes.renew(one, leases, until)) if leases else []

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        if not changes:
            return []
        answers = await self._apply_known(changes) or await self._apply(changes)
        if None in answers:
            ready = any(change.place is not None for change in changes)
            self._tell({change.id for change in changes}, ready=ready)
        return answers

    async def _apply_known(self, changes: Sequence[Change]) -> list[Job[Any] | None] | None:
        """By what is known of the jobs; None if nothing was written, for something else may have become of them."""
        rows = self._known.take(changes)
        statements = None if rows is None else known.written(changes, rows)
        if rows is None or statements is None:
            return None
        try:
            await self._open().write(lambda one: known.write(one, statements))
        except known.Outdated:
            return None
        self._known.learn({job_id: row for job_id, row in rows.items() if row.lease is not None})
        return list[Job[Any] | None]([None] * len(changes))

    async def _apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        self._known.forget(change.id for change in changes)
        answers, rows = await self._open().write(lambda one: writes.apply(one, changes))
        held = {change.id for change, answer in zip(changes, answers, strict=True) if answer is None and change.lease}
        self._known.learn({job_id: rows[job_id] for job_id in held if rows[job_id].lease is not None})
        return answers

    async def purge(self, ids: Sequence[str], *, owner: Owner = ANY) -> list[str]:
        if not ids:
            return []
        gone = await self._open().write(lambda one: writes.purge(one, ids, owner))
        self._tell(gone, ready=False)
        return gone

    async def put(
        self, key: str, value: Mapping[str, Any], *, version: int | None = None, ttl: float | None = None
    ) -> Record | None:
        now = self.now()
        return await self._open().write(lambda one: writes.put(one, key, value, version, ttl, now))

    async def drop(self, keys: Collection[str]) -> None:
        now = self.now()
        await self._open().write(lambda one: writes.drop(one, keys, now))

    def _tell(self, ids: Collection[str], *, ready: bool) -> None:
        if ids:
            self._listeners.tell(News(frozenset(ids), ready))
            if self._newsroom is not None:
                self._newsroom.wrote()

    # -- reads ------------------------------------------------------------------------------------------------------

    async def get(self, ids: Sequence[str], *, owner: Owner = ANY, payload: bool = False) -> list[Job[Any] | None]:
        if not ids:
            return []
        [found] = await self._open().read(reads.get(ids, payload))
        return reads.jobs_of(found, ids, owner)

    async def find(self, query: Query) -> list[Job[Any]]:
        [found] = await self._open().read(reads.find(query))
        return [rows.job_of(row) for row in found]

    async def count(self, query: Query) -> dict[tuple[str, Status], int]:
        [found] = await self._open().read(reads.count(query))
        return reads.counts_of(found)

    async def due(self, limit: int, *, dead: Collection[str] = ()) -> list[Job[Any]]:
        [found] = await self._open().read(reads.due(await self.clock.checked(), limit, dead))
        return reads.due_of(found, limit)

    async def events(self, job_id: str, *, after: int = 0, limit: int = 500, output: bool = True) -> list[Event]:
        [found] = await self._open().read(reads.events(job_id, after, limit, output))
        return reads.events_of(found, after, limit)

    async def steps(self, job_id: str) -> list[Step]:
        [found] = await self._open().read(Do(reads.STEPS, (job_id,)))
        return [rows.step_of(row) for row in found]

    async def signals(self, job_id: str) -> list[Signal]:
        [found] = await self._open().read(Do(reads.SIGNALS, (job_id,)))
        return [rows.signal_of(row) for row in found]

    async def reports(self, job_id: str) -> list[Report]:
        [found] = await self._open().read(Do(reads.REPORTS, (job_id,)))
        return [rows.report_of(row) for row in found]

    async def changed(self, seen: Mapping[str, Head]) -> dict[str, Head | None]:
        if not seen:
            return {}
        [found] = await self._open().read(reads.heads(seen))
        return reads.changed_of(found, seen)

    async def fetch(self, key: str) -> Record | None:
        [found] = await self._open().read(Do(reads.FETCH, (key, self.now())))
        return rows.record_of(found[0]) if found else None

    async def scan(self, prefix: str) -> list[Record]:
        [found] = await self._open().read(Do(reads.SCAN, (prefix, prefix + reads.LAST_CHARACTER, self.now())))
        return [rows.record_of(row) for row in found]

    # -- how ----------------------------------------------------------------------------------------------------------

    def _open(self) -> Engine:
        if self._engine is None:
            raise StoreUnavailable("the store is not open")
        return self._engine

    async def _ask_time(self) -> float:
        [[[now]]] = await self._open().read(TIME)
        return float(now)
