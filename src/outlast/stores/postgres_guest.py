"""Jobs that are submitted within a caller's own transaction: they exist if and only if what else it wrote does.

Nobody may hear of such a job before it is there, and a NOTIFY within the transaction would make its commit wait for
all others that notify. So the number of the transaction is kept, and asked after until it has ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from outlast.errors import ConfigurationError
from outlast.job import Job, NewJob
from outlast.stores import postgres_writes as writes
from outlast.stores.postgres_errors import ours
from outlast.stores.postgres_pool import SETTINGS, Do, Engine, Names, Rows, Transaction

SOON, LATE, SLOWER = 0.005, 0.5, 1.3
"""Seconds between two questions whether a transaction has ended: at first, at most, and by how much each is longer."""
TRIES = 3

NUMBER = Do("select pg_current_xact_id()::text")
ENDED = """
    select number, pg_xact_status(number::xid8) = 'committed' from unnest(%s::text[]) as one (number)
     where pg_xact_status(number::xid8) is distinct from 'in progress'"""


class Guest(Transaction):
    """A stay in somebody else's transaction: it neither begins nor ends there."""

    def __init__(self, connection: Any, names: Names) -> None:
        super().__init__(connection, names, SETTINGS)
        self._theirs = connection

    async def run(self, *statements: Do) -> list[Rows]:
        return [await self._execute(self._names(do.statement).encode(), do.values) for do in statements]

    async def end(self, *statements: Do) -> list[Rows]:
        return await self.run(*statements)

    async def _execute(self, statement: bytes, values: Any) -> Rows:
        if isinstance(self._theirs, psycopg.Connection):
            return await asyncio.to_thread(_execute, self._theirs, statement, values)
        cursor = self._theirs.cursor(binary=True, row_factory=tuple_row)
        await cursor.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []


def _execute(connection: psycopg.Connection[Any], statement: bytes, values: Any) -> Rows:
    cursor = connection.cursor(binary=True, row_factory=tuple_row)
    cursor.execute(statement, values)
    return cursor.fetchall() if cursor.description else []


async def insert(connection: Any, names: Names, new: Sequence[NewJob], now: float) -> tuple[list[Job[Any]], str]:
    """The jobs as they will be, and the number of the transaction they are part of."""
    if not isinstance(connection, psycopg.Connection | psycopg.AsyncConnection):
        raise ConfigurationError(f"connection= takes a connection of psycopg 3, not {type(connection).__name__}")
    if connection.autocommit and connection.info.transaction_status != TransactionStatus.INTRANS:
        raise ConfigurationError("connection= is in autocommit mode, outside of any transaction that a job could join")
    if not connection.closed and connection.pgconn.pipeline_status != PipelineStatus.OFF:
        raise ConfigurationError("connection= is in a pipeline; submit before it begins or after it ends")
    guest = Guest(connection, names)
    try:
        # Begins their transaction, unless they have done so, or want none.
        [[[number]]] = await guest.run(NUMBER)
        return await _inserted(guest, new, now), number
    except psycopg.errors.UndefinedTable as error:
        raise ConfigurationError(
            f"connection= leads to a database without this store's tables: {error.diag.message_primary}"
        ) from error
    except (psycopg.Error, UnicodeError) as error:
        raise ours(error, "the database of the given connection") from error


async def _inserted(guest: Guest, new: Sequence[NewJob], now: float) -> list[Job[Any]]:
    for tried in range(1, TRIES + 1):
        await guest.run(Do("savepoint outlast"))
        try:
            jobs = await writes.insert(guest, new, now)
        except psycopg.Error as error:
            await guest.run(Do("rollback to savepoint outlast"))
            if tried == TRIES or not isinstance(error, writes.TAKEN):
                raise
        else:
            await guest.run(Do("release savepoint outlast"))
            return jobs
    raise AssertionError("the last try raises or returns")


class Waiting:
    """Jobs whose transaction has not ended.

    Parameters
    ----------
    tell: called with the ids of jobs that are there now.
    """

    def __init__(self, engine: Engine, tell: Callable[[set[str]], None]) -> None:
        self._engine, self._tell = engine, tell
        self._jobs: dict[str, set[str]] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, number: str, ids: set[str]) -> None:
        self._jobs.setdefault(number, set()).update(ids)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def close(self) -> Awaitable[object] | None:
        """What is to be awaited, if anything is under way."""
        if self._task is None or self._task.done() or self._task.get_loop() is not asyncio.get_running_loop():
            return None
        self._task.cancel()
        return asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        pause = SOON
        while self._jobs:
            await asyncio.sleep(pause)
            pause = min(pause * SLOWER, LATE)
            try:
                [ended] = await self._engine.read(Do(ENDED, (list(self._jobs),)))
            except Exception:
                # The server may be gone for a while. Should it be for good, workers look by themselves.
                continue
            for number, committed in ended:
                ids = self._jobs.pop(number, set())
                if committed:
                    self._tell(ids)
                pause = SOON
