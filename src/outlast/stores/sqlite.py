"""Jobs in one SQLite file: no server, every commit synced to the disk, any number of processes of one host.

    sqlite.py          the store: each method becomes a call to a thread (this file)
    sqlite_engine.py   the threads: group commit, reads, news of other processes
    sqlite_writes.py   what writes to the tables
    sqlite_claims.py, sqlite_completions.py   what most claims and ends are: one statement for many jobs
    sqlite_many.py     one statement for many rows
    sqlite_reads.py    what reads them
    rows.py            records to rows and back; sheet.py: the rows of one call
    sqlite_checkpoint.py   the log copied into the file, beside the commits
    sqlite_file.py     the file: is it ours, may it be trusted, is its schema up to date
    sqlite_0001.sql    the tables

Every method's promise stands in stores/base.py.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import apsw

from outlast.errors import StoreUnavailable
from outlast.job import Change, Event, Job, NewJob, Signal, Status, Step
from outlast.report import Report
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
from outlast.stores.sqlite_checkpoint import Checkpoints
from outlast.stores.sqlite_engine import Lane, Reader, Writer
from outlast.stores.sqlite_file import SCHEMA, connect, open_file, place_of
from outlast.stores.sqlite_reads import Reads
from outlast.stores.sqlite_writes import Writes

T = TypeVar("T")


class SqliteStore:
    """Implements Store and Records.

    Parameters
    ----------
    url: `sqlite:///relative.db` or `sqlite:////absolute.db`; `?durability=process` gives up what a power cut would
        take, for speed: no sync at commits, only at checkpoints.
    clock: replaces the wall clock, for tests.

    Raises ConfigurationError if the URL names no file.
    """

    batch = Batch()

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._place = place_of(url)
        self._listeners = Listeners()
        self._writer: Lane | None = None
        self._reader: Lane | None = None

    # -- open and closed --------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def open(self) -> None:
        if self._writer is not None:
            return
        self._writer = Lane("outlast-sqlite-write", self._start_writer)
        self._reader = Lane("outlast-sqlite-read", self._start_reader)
        try:
            await self._writer.call(_nothing)
            await self._reader.call(_nothing)
        except BaseException:
            await self.close()
            raise

    def _start_writer(self) -> Writer:
        connection = open_file(self._place)
        checkpoints = Checkpoints(connection, lambda: connect(self._place))
        return Writer(connection, Writes(connection, self.clock), checkpoints, self._listeners)

    def _start_reader(self) -> Reader:
        connection = connect(self._place)
        connection.pragma("query_only", True)
        return Reader(connection, Reads(connection, self.clock))

    async def close(self) -> None:
        # The writer last: the last connection to close brings the log into the file.
        for lane in (self._reader, self._writer):
            if lane is not None:
                await lane.stop()
        self._reader = self._writer = None

    def describe(self) -> Description:
        durability, warnings = "every commit is synced to the disk", list[str]()
        if self._place.durability == "process":
            durability = "a commit survives the end of the process, not a power cut"
            warnings.append("durability=process: a power cut may lose what was committed since the last checkpoint")
        url = f"sqlite:///{self._place.path}"
        return Description(url, "sqlite", apsw.sqlite_lib_version(), durability, tuple(warnings), SCHEMA)

    def now(self) -> float:
        return self.clock.now()

    @property
    def locks(self) -> Path | None:
        folder = self._place.path.with_name(f"{self._place.path.name}.locks")
        folder.mkdir(exist_ok=True)
        return folder

    def listen(self, hear: Callable[[News], None]) -> Callable[[], None]:
        return self._listeners.add(hear)

    # -- writes -----------------------------------------------------------------------------------------------------

    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        return await self._write(lambda tables: tables.insert(new)) if new else []

    async def claim(
        self, n: int, types: Collection[str], worker: str, *, ids: Sequence[str] | None = None, ttl: float = LEASE
    ) -> Claimed:
        def look(tables: Writes) -> Claimed | None:
            return None if n > 0 and any(tables.ready(types, ids)) else Claimed([], tables.next_at())

        return await self._write(lambda tables: tables.claim(n, types, worker, ids, ttl), look)

    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE) -> list[Head | None]:
        return await self._write(lambda tables: tables.renew(leases, ttl)) if leases else []

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        return await self._write(lambda tables: tables.apply(changes)) if changes else []

    async def purge(self, ids: Sequence[str], *, owner: Owner = ANY) -> list[str]:
        return await self._write(lambda tables: tables.purge(ids, owner)) if ids else []

    async def put(
        self, key: str, value: Mapping[str, Any], *, version: int | None = None, ttl: float | None = None
    ) -> Record | None:
        return await self._write(lambda tables: tables.put(key, value, version, ttl))

    async def drop(self, keys: Collection[str]) -> None:
        await self._write(lambda tables: tables.drop(keys))

    async def _write(self, do: Callable[[Writes], T], probe: Callable[[Writes], T | None] | None = None) -> T:
        if self._writer is None:
            raise StoreUnavailable("the store is not open")
        return await self._writer.call(do, probe)

    # -- reads ------------------------------------------------------------------------------------------------------

    async def get(self, ids: Sequence[str], *, owner: Owner = ANY, payload: bool = False) -> list[Job[Any] | None]:
        return await self._read(lambda tables: tables.get(ids, owner, payload)) if ids else []

    async def find(self, query: Query) -> list[Job[Any]]:
        return await self._read(lambda tables: tables.find(query))

    async def count(self, query: Query) -> dict[tuple[str, Status], int]:
        return await self._read(lambda tables: tables.count(query))

    async def due(self, limit: int, *, dead: Collection[str] = ()) -> list[Job[Any]]:
        return await self._read(lambda tables: tables.due(limit, dead))

    async def events(self, job_id: str, *, after: int = 0, limit: int = 500, output: bool = True) -> list[Event]:
        return await self._read(lambda tables: tables.events(job_id, after, limit, output))

    async def steps(self, job_id: str) -> list[Step]:
        return await self._read(lambda tables: tables.steps(job_id))

    async def signals(self, job_id: str) -> list[Signal]:
        return await self._read(lambda tables: tables.signals(job_id))

    async def reports(self, job_id: str) -> list[Report]:
        return await self._read(lambda tables: tables.reports(job_id))

    async def changed(self, seen: Mapping[str, Head]) -> dict[str, Head | None]:
        return await self._read(lambda tables: tables.changed(seen)) if seen else {}

    async def fetch(self, key: str) -> Record | None:
        return await self._read(lambda tables: tables.fetch(key))

    async def scan(self, prefix: str) -> list[Record]:
        return await self._read(lambda tables: tables.scan(prefix))

    async def _read(self, do: Callable[[Reads], T]) -> T:
        if self._reader is None:
            raise StoreUnavailable("the store is not open")
        return await self._reader.call(do)


def _nothing(tables: object) -> None:
    """A call that is there to be answered."""
