"""The connections of each event loop, to whichever server is the one to ask just now.

A connection belongs to the event loop it was made on, and a store is called from several. So each loop has connections
of its own, which are closed when the loop ends: `asyncio.run` and its like close every async generator that is still
open, and one of these waits in each loop for nothing else. Nobody but its user touches a connection that is in use.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from outlast.stores.redis_place import Place

CONNECT = 5.0
"""Seconds a connection may take."""

ANSWER = 10.0
"""Seconds an answer may take, the wait for a free connection with it; the connection is then thrown away."""

CONNECTIONS = 16
"""Connections of one event loop."""


class Pools:
    """Connections to the server of a place, for any event loop."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._address = place.host, place.port
        self._era = 0
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()

    def go_to(self, host: str, port: int) -> None:
        """Another node has what is asked for. Without a host it is at the one that was asked."""
        self._address = host or self._address[0], port
        self._era += 1

    def go_back(self) -> None:
        """Another may be in its place by now; whoever the URL names knows who that is."""
        self.go_to(self._place.host, self._place.port)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection that nobody else has. After an error it is thrown away, for a late answer may be on its way."""
        pool = await self._pool()
        # One limit for all of it: those of the client make a task for each command.
        async with asyncio.timeout(ANSWER), pool.free:
            era = self._era
            connection = await pool.ready(era) or self._new()
            try:
                yield connection
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            if not pool.give(connection, era):
                await connection.disconnect(nowait=True)

    def listener(self) -> Redis:
        """A client of its own, to listen with."""
        kind, settings = self._settings()
        settings["socket_timeout"] = ANSWER
        return Redis.from_pool(ConnectionPool(connection_class=kind, **settings))

    async def close(self) -> None:
        """Let go of every loop's."""
        pools, self._pools = list(self._pools.items()), WeakKeyDictionary()
        for loop, pool in pools:
            if loop is asyncio.get_running_loop():
                await pool.close()
            elif loop.is_running():
                with suppress(RuntimeError):
                    asyncio.run_coroutine_threadsafe(pool.close(), loop)

    async def _pool(self) -> "_Pool":
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            # Before anything is awaited, for others may ask meanwhile.
            pool = self._pools[loop] = _Pool()
            await pool.begin()
        return pool

    def _new(self) -> Any:
        kind, settings = self._settings()
        return kind(**settings)

    def _settings(self) -> tuple[type[Any], dict[str, Any]]:
        place = self._place
        settings: dict[str, Any] = {
            "db": place.db,
            "username": place.username,
            "password": place.password,
            "protocol": 2,
            "decode_responses": True,
            "socket_connect_timeout": CONNECT,
            "socket_timeout": None,
            # Whether to repeat is the caller's to say: an append must not be.
            "retry": Retry(NoBackoff(), 0),
        }
        if place.path is not None:
            return UnixDomainSocketConnection, settings | {"path": place.path}
        host, port = self._address
        settings |= {"host": host, "port": port, "socket_keepalive": True}
        if place.scheme == "rediss":
            return SSLConnection, settings | {"ssl_ca_certs": place.ca_certs}
        return Connection, settings


class _Pool:
    """The connections of one loop that nobody uses, each with the era it is of."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[tuple[Any, int]] = []
        self._closed = False
        self._farewell = self._until_the_end()

    async def begin(self) -> None:
        await anext(self._farewell)

    async def close(self) -> None:
        await self._farewell.aclose()

    async def ready(self, era: int) -> Any:
        """One that can be used, or None."""
        while self._idle:
            connection, of = self._idle.pop()
            try:
                # What can be read before anything was asked is the end, or an answer to somebody else.
                is_fit = of == era and not await _has_more(connection)
            except Exception:
                is_fit = False
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            if is_fit:
                return connection
            await connection.disconnect(nowait=True)
        return None

    def give(self, connection: Any, era: int) -> bool:
        """False if it is too late."""
        if not self._closed:
            self._idle.append((connection, era))
        return not self._closed

    async def _until_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._closed = True
            while self._idle:
                await self._idle.pop()[0].disconnect()


def _has_more(connection: Any) -> Awaitable[bool]:
    """Since redis-py 8 by another name, and a warning with each call by the old one."""
    can_read: Callable[[], Awaitable[bool]] = getattr(connection, "can_read", None) or connection.can_read_destructive
    return can_read()
