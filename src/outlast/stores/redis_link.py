"""The way to the server: connections, scripts, and what an error means.

A connection belongs to the event loop it was made on, and a store is called from several. So each loop has a pool of
its own, which is closed when the loop ends: `asyncio.run` and its like close every async generator that is still open,
and one of these waits in each loop for nothing else.

All keys of a namespace lie in one slot, so of a cluster only one node matters, the one that has it. Whichever node is
asked first says which that is.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from redis.asyncio import BlockingConnectionPool, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from outlast.errors import ConfigurationError, OutlastError, StoreError, StoreUnavailable
from outlast.stores.redis_place import Place

CONNECT = 5.0
"""Seconds a connection may take."""

ANSWER = 10.0
"""Seconds an answer may take; the connection is then thrown away."""

CONNECTIONS = 16
"""Connections of one event loop."""

ACK = 5.0
"""Seconds that replicas have to confirm a write."""

HOPS = 3
"""Times a call is sent on: to the node that has the slot, or with a script that the server does not know yet."""

_RIGHTS = re.compile(r"^NOAUTH|ACL failure in script|user executing the script")
_STATE = re.compile(r"(^|-)(BUSY|CLUSTERDOWN|MASTERDOWN|MISCONF|NOREPLICAS|OOM|READONLY|TRYAGAIN)\b")
_STATES = (AskError, ClusterDownError, MasterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
"""Errors that are the server's state and no defect of ours. Redis 6.2 has them in the text of a script's error."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script by its digest, and its text for a server that does not know it."""

    sha: str
    text: str


@cache
def script(name: str) -> Script:
    folder = Path(__file__).parent
    text = "".join((folder / f"redis_{part}.lua").read_text(encoding="utf-8") for part in ("common", name))
    return Script(sha1(text.encode(), usedforsecurity=False).hexdigest(), text)


class Link:
    """Sends commands to the server of a place, from any event loop."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._address = place.host, place.port
        self._era = 0
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()

    async def run(self, name: str, arguments: str, *, writes: bool) -> Any:
        """What a script answers. A write counts once as many replicas have it as the place asks for."""
        wanted = script(name)
        call: tuple[Any, ...] = ("EVALSHA", wanted.sha, 1, self._place.prefix, arguments)
        if not (writes and self._place.acks):
            return (await self.ask(call))[0]
        answer, acks = await self.ask(call, ("WAIT", self._place.acks, int(ACK * 1000)))
        if acks < self._place.acks:
            raise StoreUnavailable(
                f"the write is stored at {self._place.shown}, but {acks} of the {self._place.acks} replicas that "
                "min_replicas_ack asks for confirmed it; it is safe to repeat"
            )
        return answer

    async def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The answers to these commands, sent at once on one connection."""
        for _ in range(HOPS):
            try:
                return await self._ask(commands)
            except NoScriptError:
                await self._load(commands[0][1])
            except MovedError as moved:
                self._address = moved.host or self._address[0], moved.port
            except (RedisError, OSError, TimeoutError) as error:
                raise self.explained(error) from error
        raise StoreUnavailable(f"{self._place.shown} sends calls from one node to the next; is the cluster whole?")

    async def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        pool = await self.pool()
        connection: Any = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            answers = [await _answer(connection) for _ in commands]
        except BaseException:
            # An answer that comes late would be taken for that to the next call.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)
            if not self._is_current(pool):
                await connection.disconnect(nowait=True)
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        return answers

    async def _load(self, sha: str) -> None:
        text = next(one.text for one in map(script, SCRIPTS) if one.sha == sha)
        await self.ask(("SCRIPT", "LOAD", text))

    def explained(self, error: Exception) -> OutlastError:
        """The error as ours, with what it is about."""
        where, what = self._place.shown, f"{type(error).__name__.removesuffix('Error')}: {error}"[:300]
        if isinstance(error, AuthenticationError | NoPermissionError) or _RIGHTS.search(str(error)):
            return ConfigurationError(
                f"{where} refuses this user or password, or what they may do ({error}); see the store URL"
            )
        state = isinstance(error, _STATES) or _STATE.search(str(error)) is not None
        if isinstance(error, ResponseError) and not state:
            return StoreError(f"{where} refuses a command ({what})")
        if "maxmemory" not in str(error):
            # Another may be in its place by now; whoever the URL names knows who that is.
            self._address, self._era = (self._place.host, self._place.port), self._era + 1
        return StoreUnavailable(f"{where} does not answer as it should ({what}); the outcome of a write is unknown")

    # -- connections ------------------------------------------------------------------------------------------------

    async def pool(self) -> BlockingConnectionPool:
        """That of the running event loop."""
        loop, made_for = asyncio.get_running_loop(), (self._address, self._era)
        held = self._pools.get(loop)
        if held is not None and held.made_for == made_for:
            return held.pool
        # In its place before anything is awaited: others may ask meanwhile.
        fresh = _Pool(made_for, pool := self._new_pool(), _until_the_end(pool))
        self._pools[loop] = fresh
        await anext(fresh.farewell)
        if held is not None:
            # What is in use is its user's to close.
            await held.pool.disconnect(inuse_connections=False)
        return pool

    def _is_current(self, pool: BlockingConnectionPool) -> bool:
        held = self._pools.get(asyncio.get_running_loop())
        return held is not None and held.pool is pool

    def _new_pool(self) -> BlockingConnectionPool:
        place = self._place
        where: dict[str, Any]
        if place.path is not None:
            where = {"connection_class": UnixDomainSocketConnection, "path": place.path}
        else:
            host, port = self._address
            where = {"connection_class": Connection, "host": host, "port": port, "socket_keepalive": True}
        if place.scheme == "rediss":
            where |= {"connection_class": SSLConnection, "ssl_ca_certs": place.ca_certs}
        return BlockingConnectionPool(
            max_connections=CONNECTIONS,
            timeout=ANSWER,
            db=place.db,
            username=place.username,
            password=place.password,
            protocol=2,
            decode_responses=True,
            socket_connect_timeout=CONNECT,
            socket_timeout=ANSWER,
            # Whether to repeat is the caller's to say: an append must not be.
            retry=Retry(NoBackoff(), 0),
            **where,
        )

    async def close(self) -> None:
        """Let go of every loop's."""
        own = self._pools.pop(asyncio.get_running_loop(), None)
        if own is not None:
            await own.close()
        for loop, held in list(self._pools.items()):
            if loop.is_running():
                with suppress(RuntimeError):
                    asyncio.run_coroutine_threadsafe(held.close(), loop)
        self._pools.clear()


@dataclass(frozen=True, slots=True)
class _Pool:
    """The connections of a loop to an address in one era of it, and what closes them with the loop."""

    made_for: tuple[tuple[str, int], int]
    pool: BlockingConnectionPool
    farewell: AsyncGenerator[None, None]

    async def close(self) -> None:
        await self.farewell.aclose()


async def _until_the_end(pool: BlockingConnectionPool) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await pool.disconnect(inuse_connections=False)


async def _answer(connection: Any) -> Any:
    """An answer, or the error that the server answered with."""
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


SCRIPTS = "probe insert claim apply renew purge get changed due find count events put scan drop".split()
