"""Jobs in MongoDB: any number of machines, and no transaction, because a job is one document.

    mongo.py            the store: each method becomes a call on the loop of its client (this file)
    mongo_loop.py       that loop, in a thread of its own
    mongo_writes.py     what writes the documents
    mongo_tags.py       the fair order
    mongo_reads.py      what reads them
    mongo_documents.py  a job as a document, pure
    mongo_news.py       news of other processes
    mongo_server.py     the URL, what the server must keep, indexes, errors

Every method's promise stands in stores/base.py. One is kept in a weaker form: a call that brings changes of several
jobs is whole for each job, not for all of them together.
"""

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

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
from outlast.stores.mongo_loop import LoopThread
from outlast.stores.mongo_news import newscast
from outlast.stores.mongo_reads import Reads
from outlast.stores.mongo_server import (
    SCHEMA,
    Address,
    Client,
    Found,
    address_of,
    client_of,
    database_of,
    examine,
    our_errors,
    prepare,
    server_time,
)
from outlast.stores.mongo_writes import Writes
from outlast.stores.server_clock import ServerClock

T = TypeVar("T")


class MongoStore:
    """Implements Store and Records.

    Parameters
    ----------
    url: `mongodb://host:27017/database` or `mongodb+srv://...`, with MongoDB's own options; no database is `outlast`.
    clock: replaces the server's clock, for tests.

    Raises ConfigurationError if the URL is none, or asks for `w=0`.
    """

    batch = Batch()
    locks: Path | None = None

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or ServerClock(self._ask_time)
        self._address = address_of(url)
        self._listeners = Listeners()
        self._found = Found("unknown", is_replicated=False)
        self._thread: LoopThread | None = None
        self._work: _Work | None = None

    # -- open and closed ---------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def open(self) -> None:
        if self._thread is not None:
            return
        self._thread = LoopThread("outlast-mongo")
        try:
            await self._thread.call(self._start)
            await self.clock.checked()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        with our_errors(self._address):
            client = client_of(self._address)
            try:
                self._found = await examine(client)
                work = _Work(client, self._address, self._found, self.clock, self._listeners)
                await work.start()
            except BaseException:
                await client.close()
                raise
        self._work = work

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await thread.stop(self._stop)

    async def _stop(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            await work.stop()

    def describe(self) -> Description:
        durability, warnings = "a majority of the servers has every write in its journal", list(self._address.warnings)
        if not self._found.is_replicated:
            durability = "the one server has every write in its journal"
            warnings.append(
                "this MongoDB server is no replica set: jobs are as safe as its one disk, and other processes hear of "
                "them by polling. One node is enough: start it with --replSet rs0, then run "
                "mongosh --eval 'rs.initiate()'"
            )
        version = self._found.version
        return Description(self._address.shown, "mongodb", version, durability, tuple(warnings), SCHEMA)

    def now(self) -> float:
        return self.clock.now()

    def listen(self, hear: Callable[[News], None]) -> Callable[[], None]:
        return self._listeners.add(hear)

    # -- writes ------------------------------------------------------------------------------------------------------

    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        if not new:
            return []
        await self.clock.checked()
        return await self._do(lambda work: work.writes.insert(new))

    async def claim(
        self, n: int, types: Collection[str], worker: str, *, ids: Sequence[str] | None = None, ttl: float = LEASE
    ) -> Claimed:
        await self.clock.checked()
        return await self._do(lambda work: work.writes.claim(n, types, worker, ids, ttl))

    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE) -> list[Head | None]:
        if not leases:
            return []
        await self.clock.checked()
        return await self._do(lambda work: work.writes.renew(leases, ttl))

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        return await self._do(lambda work: work.writes.apply(changes)) if changes else []

    async def purge(self, ids: Sequence[str], *, owner: Owner = ANY) -> list[str]:
        return await self._do(lambda work: work.writes.purge(ids, owner)) if ids else []

    async def put(
        self, key: str, value: Mapping[str, Any], *, version: int | None = None, ttl: float | None = None
    ) -> Record | None:
        return await self._do(lambda work: work.writes.put(key, value, version, ttl))

    async def drop(self, keys: Collection[str]) -> None:
        await self._do(lambda work: work.writes.drop(keys))

    # -- reads -------------------------------------------------------------------------------------------------------

    async def get(self, ids: Sequence[str], *, owner: Owner = ANY, payload: bool = False) -> list[Job[Any] | None]:
        return await self._do(lambda work: work.reads.get(ids, owner, payload)) if ids else []

    async def find(self, query: Query) -> list[Job[Any]]:
        return await self._do(lambda work: work.reads.find(query))

    async def count(self, query: Query) -> dict[tuple[str, Status], int]:
        return await self._do(lambda work: work.reads.count(query))

    async def due(self, limit: int, *, dead: Collection[str] = ()) -> list[Job[Any]]:
        await self.clock.checked()
        return await self._do(lambda work: work.reads.due(limit, dead))

    async def events(self, job_id: str, *, after: int = 0, limit: int = 500, output: bool = True) -> list[Event]:
        return await self._do(lambda work: work.reads.events(job_id, after, limit, output))

    async def steps(self, job_id: str) -> list[Step]:
        return await self._do(lambda work: work.reads.steps(job_id))

    async def signals(self, job_id: str) -> list[Signal]:
        return await self._do(lambda work: work.reads.signals(job_id))

    async def reports(self, job_id: str) -> list[Report]:
        return await self._do(lambda work: work.reads.reports(job_id))

    async def changed(self, seen: Mapping[str, Head]) -> dict[str, Head | None]:
        return await self._do(lambda work: work.reads.changed(seen)) if seen else {}

    async def fetch(self, key: str) -> Record | None:
        return await self._do(lambda work: work.reads.fetch(key))

    async def scan(self, prefix: str) -> list[Record]:
        return await self._do(lambda work: work.reads.scan(prefix))

    async def _ask_time(self) -> float:
        return await self._do(lambda work: work.server_time())

    async def _do(self, do: "Callable[[_Work], Coroutine[Any, Any, T]]") -> T:
        thread, work = self._thread, self._work
        if thread is None or work is None:
            raise StoreUnavailable("the store is not open")

        async def call() -> T:
            with our_errors(self._address):
                return await do(work)

        return await thread.call(call)


class _Work:
    """What lives on the loop of the client."""

    def __init__(self, client: Client, address: Address, found: Found, clock: Clock, listeners: Listeners) -> None:
        self._client = client
        self._database = database_of(client, address, found)
        self._news = newscast(self._database, listeners, found)
        self.writes = Writes(self._database, clock, self._news)
        self.reads = Reads(self._database, clock)

    async def start(self) -> None:
        await prepare(self._database)
        await self._news.start()

    async def stop(self) -> None:
        await self._news.stop()
        await self._client.close()

    async def server_time(self) -> float:
        return await server_time(self._database)
