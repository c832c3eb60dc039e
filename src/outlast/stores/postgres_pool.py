"""Connections, and transactions on them.

A connection belongs to the event loop it was made on, so each loop has a few of its own. What holds for a transaction
is said within it, so that a pooler may hand each one to another server process. Only where there is none between are
statements kept in the session, planned once.

A call runs in a task of its own: a caller that is cancelled does not stop it, and waits for its end. A connection whose
answer did not come in time, or that failed, is thrown away and never used again.
"""

import asyncio
import os
import random
import re
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from outlast.errors import ConfigurationError, StoreUnavailable
from outlast.stores.postgres_errors import AGAIN, UNPREPARED, ours
from outlast.stores.postgres_url import CONNECT, OPERATION, Place

T = TypeVar("T")

TRIES = 6
"""How often a transaction is begun anew that the server undid, or whose connection was gone before its commit."""
STALLED = 2.0
"""Seconds that a transaction may take between two round trips: milliseconds, unless its process was stopped."""
PAUSE = 0.02
"""Seconds, times the number of tries so far, times a random part: the most between two tries."""

FULL = re.compile(r"too many|connection slots|max client|no more connections", re.IGNORECASE)
"""What a server, or a pooler, says that has no connection left; a refused connection brings no code."""

Connection = AsyncConnection[tuple[Any, ...]]
Rows = list[tuple[Any, ...]]


class Do(NamedTuple):
    """A statement with its values; `{s}` stands where the schema goes."""

    statement: str
    values: Sequence[Any] | dict[str, Any] = ()


BEGIN = Do("begin")
READ = Do("begin isolation level repeatable read read only")
COMMIT, ROLLBACK = Do("commit"), Do("rollback")
_SETTINGS = {
    "statement_timeout": str(int(OPERATION * 1000)),
    "idle_in_transaction_session_timeout": str(int(STALLED * 1000)),
    "plan_cache_mode": "force_generic_plan",
    **dict.fromkeys(("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "jit"), "off"),
}
SETTINGS = Do("select " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items()))
"""Of a transaction that writes. One that is stopped in the middle, with its process, must not keep others from its rows
for long. And each finds its rows by an index: a queue's statistics are old whenever they are looked at, and the planner
would now and then read a whole table for a few rows. So one plan is good for any values."""
LIMITED_FROM = 170_000
LIMITED = f", set_config('transaction_timeout', '{int(OPERATION * 1000)}', true)"
"""From PostgreSQL 17 on, for one that is stopped while its statements go out: then the server does not call it idle."""


class Transaction:
    """One transaction. Its statements go out together, as many as the next decision lets be known."""

    def __init__(self, connection: Connection, names: "Names", settings: Do) -> None:
        self._connection, self._names, self._settings = connection, names, settings
        self._begun = False
        self.ending = False
        """The commit was sent: if its answer does not come, the outcome is unknown."""

    async def run(self, *statements: Do) -> list[Rows]:
        """The rows of each statement."""
        before = () if self._begun else (BEGIN, self._settings)
        self._begun = True
        return (await self._send([*before, *statements]))[len(before) :]

    async def end(self, *statements: Do) -> list[Rows]:
        """The same, and the commit with them."""
        self.ending = True
        before = () if self._begun else (BEGIN, self._settings)
        return (await self._send([*before, *statements, COMMIT]))[len(before) : -1]

    async def read(self, *statements: Do) -> list[Rows]:
        """Reads alone, of one moment; the whole transaction."""
        if len(statements) == 1:
            return await self._send(statements)
        return (await self._send([READ, *statements, COMMIT]))[1:-1]

    async def give_up(self) -> None:
        """Nothing was written and nothing shall be."""
        await self._send([ROLLBACK])

    async def _send(self, statements: Sequence[Do]) -> list[Rows]:
        return await send(self._connection, [Do(self._names(do.statement), do.values) for do in statements])


class Names:
    """Statements with the names of one schema's tables in them."""

    def __init__(self, schema: str) -> None:
        self.schema = '"' + schema.replace('"', '""').replace("%", "%%") + '"'
        self._known: dict[str, str] = {}

    def __call__(self, statement: str) -> str:
        known = self._known.get(statement)
        if known is None:
            known = self._known[statement] = statement.replace("{s}", self.schema)
        return known


async def send(connection: Connection, statements: Sequence[Do]) -> list[Rows]:
    """All statements in one round trip."""
    if len(statements) == 1:
        return [await _rows(await _execute(connection, statements[0]))]
    async with connection.pipeline():
        cursors = [await _execute(connection, do) for do in statements]
    return [await _rows(cursor) for cursor in cursors]


async def _execute(connection: Connection, do: Do) -> psycopg.AsyncCursor[tuple[Any, ...]]:
    cursor = connection.cursor(binary=True)
    await cursor.execute(do.statement.encode(), do.values)
    return cursor


async def _rows(cursor: psycopg.AsyncCursor[tuple[Any, ...]]) -> Rows:
    # Not by `description`, which makes an object of each column first.
    return await cursor.fetchall() if cursor.pgresult is not None and cursor.pgresult.nfields else []


async def connect(conninfo: str) -> Connection:
    async with asyncio.timeout(CONNECT):
        # A prepared statement belongs to a session, and a pooler's client has none; `Engine.prepare` knows better.
        return await AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=None)


@contextmanager
def _limited(connection: Connection) -> Iterator[None]:
    """A call on the connection that is not done in time finds it closed, and raises TimeoutError.

    To cancel it would not do: the driver would then ask the server to cancel it too, and wait for the answer.
    """
    late = False

    def cut() -> None:
        nonlocal late
        late = True
        if not connection.closed:
            with socket.socket(fileno=os.dup(connection.pgconn.socket)) as same:
                same.shutdown(socket.SHUT_RDWR)

    timer = asyncio.get_running_loop().call_later(OPERATION, cut)
    try:
        yield
    except psycopg.Error as error:
        if late:
            raise TimeoutError(f"it took longer than {OPERATION:g} s") from error
        raise
    finally:
        timer.cancel()


class Pool:
    """The connections of one event loop."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._free: list[Connection] = []
        self._slots = asyncio.Semaphore(place.connections)

    def adopt(self, connection: Connection) -> None:
        """One more that is free, made elsewhere on this loop."""
        self._free.append(connection)

    async def use(self, do: Callable[[Connection], Awaitable[T]], prepares: bool) -> T:
        """Raises what `do` raises; the connection is used again only if it is as it was.

        prepares: its statements are kept in the session.
        """
        async with self._slots:
            connection = self._free.pop() if self._free else await connect(self._place.conninfo)
            connection.prepare_threshold = 0 if prepares else None
            try:
                with _limited(connection):
                    return await do(connection)
            except BaseException:
                await self._put_right(connection)
                raise
            finally:
                if connection.closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:
                    self._drop(connection)
                else:
                    self._free.append(connection)

    async def _put_right(self, connection: Connection) -> None:
        """After an error of the server the connection is good, once the transaction is rolled back."""
        if connection.pgconn.transaction_status == TransactionStatus.INERROR:
            try:
                async with asyncio.timeout(1):
                    await send(connection, [ROLLBACK])
            except Exception:
                self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if connection.closed or connection.broken:
            # The server has gone, or was restarted: it has gone for the others, too.
            self.close()
        _finish(connection)

    def close(self) -> None:
        """May be called from any thread once nothing is in flight."""
        while self._free:
            _finish(self._free.pop())


def _finish(connection: Connection) -> None:
    # Without a farewell, for the loop may be gone, or the server.
    connection.pgconn.finish()


class Engine:
    """Runs transactions for callers on any event loop; `version` is the server's, as 180004."""

    def __init__(self, place: Place, version: int) -> None:
        self.names = Names(place.schema)
        self._settings = Do(SETTINGS.statement + LIMITED) if version >= LIMITED_FROM else SETTINGS
        self._place = place
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._prepares = self._pooled = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pid = os.getpid()
        self._shut = False

    def adopt(self, connection: Connection) -> None:
        """Use this connection too, which is good: what opens a store need not connect twice."""
        self._pool().adopt(connection)

    def prepare(self, on: bool) -> None:
        """Whether statements are kept in the sessions, each planned once there; never where that has failed before."""
        self._prepares = on and not self._pooled

    async def write(
        self,
        do: Callable[[Transaction], Awaitable[T]],
        *,
        again: tuple[type[Exception], ...] = (),
        twice: bool = False,
    ) -> T:
        """Run it in a transaction that it ends. It is begun anew after a deadlock, and after an error of `again`.

        twice: and where nobody knows whether it was committed, for done once more it finds what it did.
        """
        return await self._shielded(self._tried(do, (*AGAIN, *again), twice))

    async def read(self, *statements: Do) -> list[Rows]:
        return await self._shielded(self._tried(lambda transaction: transaction.read(*statements), AGAIN))

    async def _shielded(self, work: Coroutine[Any, Any, T]) -> T:
        if self._shut or os.getpid() != self._pid:
            work.close()
            if self._shut:
                raise StoreUnavailable("the store is not open")
            raise ConfigurationError("this store was opened before a fork; open one in the process that uses it")
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # Not before it has ended: what the caller does next shall not be overtaken by it.
            await asyncio.wait([task])
            raise

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # The caller may have gone away; then its error is nobody's.
        if not task.cancelled():
            task.exception()

    async def _tried(
        self, do: Callable[[Transaction], Awaitable[T]], again: tuple[type[Exception], ...], twice: bool = False
    ) -> T:
        pool, unknown = self._pool(), False
        for tried in range(1, TRIES + 1):
            transactions: list[Transaction] = []

            async def work(connection: Connection, begun: list[Transaction] = transactions) -> T:
                begun.append(Transaction(connection, self.names, self._settings))
                return await do(begun[0])

            try:
                return await pool.use(work, self._prepares)
            except Exception as error:
                if isinstance(error, UNPREPARED):
                    self._pooled = True
                    self.prepare(False)
                unknown = unknown or (_is_lost(error) and any(one.ending for one in transactions))
                if tried == TRIES or not _may_repeat(error, transactions, again, twice):
                    raise self._told(error, unknown) from error
            await asyncio.sleep(random.uniform(0, PAUSE * tried))
        raise AssertionError("the last try raises or returns")

    def _told(self, error: Exception, unknown: bool) -> BaseException:
        """What the last try met; if one before it may have been committed, no refusal of the last says otherwise."""
        told = ours(error, self._place.shown)
        if unknown and not isinstance(told, StoreUnavailable):
            return StoreUnavailable(f"the outcome of a write is unknown, and sent again it met this: {told}")
        return told

    def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            for gone in [loop for loop in self._pools if loop.is_closed()]:
                self._pools.pop(gone).close()
            pool = self._pools[loop] = Pool(self._place)
        return pool

    async def close(self) -> None:
        """Let what is in flight come to its end, on this loop and others; then let go of all connections."""
        self._shut = True
        while any(not task.done() and not task.get_loop().is_closed() for task in list(self._tasks)):
            await asyncio.sleep(0.002)
        for pool in list(self._pools.values()):
            pool.close()
        self._pools.clear()


def _may_repeat(
    error: Exception, begun: Sequence[Transaction], again: tuple[type[Exception], ...], twice: bool
) -> bool:
    """True if nothing of it was written for certain, or that does not matter, and the next try may succeed."""
    if isinstance(error, again):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    if not begun:
        # One more connection was wanted; those that this process has will do, as soon as one is free.
        return FULL.search(str(error)) is not None
    return _is_lost(error) and (twice or not begun[0].ending)


def _is_lost(error: Exception) -> bool:
    """True if the connection is gone."""
    return isinstance(error, psycopg.OperationalError) and error.sqlstate in (None, "57P01", "57P02")
