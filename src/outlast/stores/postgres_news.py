"""News of other processes' writes: heard by LISTEN, or found out by looking where that is not to be had.

A write is told by NOTIFY soon after it, and never within its transaction: a transaction that notifies holds up all
others that do, database-wide, until it is committed. So a task of its own sends one for all writes of some
milliseconds. It carries nothing but who sent it, so that a process does not hear itself.

A pooler that hands each transaction to another session takes a LISTEN and never delivers anything. So the listener
begins by telling itself something. If that does not arrive, it looks instead, now and then, whether any transaction
has begun since the last look.
"""

import asyncio
import random
import secrets
from collections.abc import Callable

from psycopg import sql

from outlast.stores.base import Listeners, News
from outlast.stores.postgres_errors import of_connecting
from outlast.stores.postgres_pool import Connection, Do, Engine, connect
from outlast.stores.postgres_url import OPERATION, Place

BETWEEN = 0.008
"""Seconds between two NOTIFYs of one process."""
ECHO = 1.0
"""Seconds to wait for one's own NOTIFY."""
LOOK_SOON, LOOK_LATE, SLOWER = 0.1, 0.8, 1.5
"""Seconds between two looks: after news, at most, and by how much each is longer than the one before."""
CHECK = 30.0
"""Seconds without news after which the connection that listens is tried."""
AGAIN = 0.2, 5.0
"""Seconds before a lost connection is made again: at first, and at most."""

LOOKING = "writes of other processes are noticed by looking every 0.1 to 1 s"
NO_NEWS = (
    f"notifications do not arrive here (a pooler in transaction mode?): {LOOKING}; "
    "listen_url= names a direct connection"
)

NOTIFY = "select pg_notify(%s, %s)"
LATEST = Do("select pg_snapshot_xmax(pg_current_snapshot())::text")
"""The number of the next transaction that writes."""


class Newsroom:
    """The tasks that tell and hear; they run on the loop that opened the store.

    Parameters
    ----------
    became: called when it is known, or known anew, whether notifications arrive: with None, or with why they do not.
    """

    def __init__(
        self, place: Place, engine: Engine, listeners: Listeners, became: Callable[[str | None], None]
    ) -> None:
        self._place, self._engine, self._listeners, self._became = place, engine, listeners, became
        self._me = secrets.token_hex(6)
        self._pause = AGAIN[0]
        self._loop = asyncio.get_running_loop()
        self._wrote, self._settled = asyncio.Event(), asyncio.Event()
        self._tasks = [self._loop.create_task(work) for work in (self._tell(), self._hear())]

    async def settled(self) -> None:
        """Until it is known how news come, or that the server is gone again."""
        await self._settled.wait()

    @property
    def is_settled(self) -> bool:
        return self._settled.is_set()

    def wrote(self) -> None:
        """Something was written by this process. May be called from any thread."""
        try:
            if asyncio.get_running_loop() is self._loop:
                self._wrote.set()
            else:
                self._loop.call_soon_threadsafe(self._wrote.set)
        except RuntimeError:
            pass  # the loop that opened the store is closed: nobody tells, others look now and then

    async def close(self) -> None:
        if self._loop is asyncio.get_running_loop():
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- telling ----------------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        while True:
            await self._wrote.wait()
            self._wrote.clear()
            try:
                await self._engine.read(Do(NOTIFY, (self._place.channel, self._me)))
            except Exception:
                # Others look by themselves now and then. Here the server's own writes meet the same error.
                await asyncio.sleep(BETWEEN)
            await asyncio.sleep(BETWEEN)

    # -- hearing ----------------------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:
                if not self._settled.is_set():
                    self._became(self._why_not(error))
                self._settled.set()
            await self._look_meanwhile(random.uniform(self._pause / 2, self._pause))
            self._pause = min(self._pause * 2, AGAIN[1])

    def _why_not(self, error: Exception) -> str:
        where = self._place.shown if self._place.listen == self._place.conninfo else "listen_url"
        return f"notifications cannot be waited for: {of_connecting(error, where)}; {LOOKING}"

    async def _look_meanwhile(self, seconds: float) -> None:
        """Until it is time to listen again."""
        try:
            async with asyncio.timeout(seconds):
                await self._look()
        except TimeoutError:
            pass
        except Exception:
            # The server is gone for all, not for this connection alone.
            await asyncio.sleep(seconds)

    async def _listen(self) -> None:
        connection = await connect(self._place.listen)
        try:
            await connection.execute(sql.SQL("listen {}").format(sql.Identifier(self._place.channel)))
            echoed = await self._echoed(connection)
            self._became(None if echoed else NO_NEWS)
            self._settled.set()
            # What was told before is lost.
            self._listeners.tell(News(None, ready=True))
            self._pause = AGAIN[0]
            if echoed:
                await self._heard(connection)
        finally:
            connection.pgconn.finish()
        await self._look()

    async def _echoed(self, connection: Connection) -> bool:
        """By another connection: on its own, even a pooler's would answer."""
        probe = f"probe {secrets.token_hex(6)}"
        await self._engine.read(Do(NOTIFY, (self._place.channel, probe)))
        async for notify in connection.notifies(timeout=ECHO):
            if notify.payload == probe:
                return True
        return False

    async def _heard(self, connection: Connection) -> None:
        while True:
            async for notify in connection.notifies(timeout=CHECK):
                if notify.payload != self._me and not notify.payload.startswith("probe "):
                    self._listeners.tell(News(None, ready=True))
            # A connection that the other side forgot would be silent for ever.
            async with asyncio.timeout(OPERATION):
                await connection.execute("select 1")

    async def _look(self) -> None:
        pause, seen = LOOK_SOON, ""
        while True:
            [[[latest]]] = await self._engine.read(LATEST)
            if latest != seen:
                seen, pause = latest, LOOK_SOON
                self._listeners.tell(News(None, ready=True))
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * SLOWER, LOOK_LATE)
