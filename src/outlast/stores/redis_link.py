"""The way to the server: scripts, commands, and what an error means.

All keys of a namespace lie in one slot, so of a cluster only one node matters, the one that has it. Whichever node is
asked first says which that is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

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

from outlast.errors import ConfigurationError, OutlastError, StoreError, StoreRefused, StoreUnavailable
from outlast.stores.redis_place import Place
from outlast.stores.redis_pool import Pools

ACK = 5.0
"""Seconds that replicas have to confirm a write."""

HOPS = 3
"""Times a call is sent on: to the node that has the slot, or with a script that the server does not know yet."""

_RIGHTS = re.compile(r"^NOAUTH|ACL failure in script|user executing the script")
_DATABASE = re.compile(r"DB index|SELECT is not allowed|Invalid Database")
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
        self.pools = Pools(place)

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
                self.pools.go_to(moved.host, moved.port)
            except (RedisError, OSError, TimeoutError) as error:
                raise self.explained(error) from error
        raise StoreUnavailable(f"{self._place.shown} sends calls from one node to the next; is the cluster whole?")

    async def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        async with self.pools.connection() as connection:
            await connection.connect()
            await connection.send_packed_command(connection.pack_commands(commands))
            answers = [await _answer(connection) for _ in commands]
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
            # No ConfigurationError, for a password may be changed while a store is open.
            return StoreRefused(
                f"{where} refuses this user or password, or what they may do ({error}); see the store URL"
            )
        if _DATABASE.search(str(error)):
            return ConfigurationError(
                f"{where}: the server has no database of this number ({error}); leave it out, for namespace= tells "
                "stores of one server apart"
            )
        state = isinstance(error, _STATES) or _STATE.search(str(error)) is not None
        if isinstance(error, ResponseError) and not state:
            return StoreError(f"{where} refuses a command ({what})")
        if "maxmemory" not in str(error):
            self.pools.go_back()
        return StoreUnavailable(f"{where} does not answer as it should ({what}); the outcome of a write is unknown")

    async def close(self) -> None:
        """Let go of every connection."""
        await self.pools.close()


async def _answer(connection: Any) -> Any:
    """An answer, or the error that the server answered with."""
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


SCRIPTS = "probe insert claim apply renew purge get changed due find count events put scan drop".split()
