"""The store as a process sees it, at the far end of a network: each method is one call that the world carries.

The awaitables here suspend into the world instead of an event loop. So whatever awaits nothing but its store, such as
the sweep and the verbs of the app, runs in the simulation as it is.
"""

from collections.abc import Awaitable, Collection, Generator, Mapping, Sequence
from types import coroutine
from typing import Any

from outlast.job import Change, Event, Job, NewJob, Signal, Step
from outlast.stores.base import ANY, LEASE, Claimed, Head, Lease, Owner
from torture.simulation.words import brief

LATENCY = 0.02
"""Seconds that a call takes at most on its way to the store."""


class Node:
    """A process: it may be paused or killed, and its clock may be off."""

    __slots__ = (
        "alive",
        "held",
        "hindered",
        "lag",
        "leaving",
        "link",
        "mortal",
        "name",
        "offset",
        "paused_until",
        "renewing",
        "role",
        "running",
        "starved",
        "world",
    )

    def __init__(self, world: Any, name: str, role: str, *, mortal: bool) -> None:
        self.world = world
        self.name = name
        self.role = role
        self.mortal = mortal
        self.alive = True
        self.hindered = False
        self.leaving = False
        self.starved = False
        self.renewing = False
        self.offset = 0.0
        self.lag = LATENCY
        self.paused_until = 0.0
        self.running = 0
        self.held: dict[str, Held] = {}
        self.link = Link(self)


class Held:
    """A lease in a worker's hand."""

    __slots__ = ("good_until", "job_id", "lease", "lost", "turn", "turned")

    def __init__(self, job: Job[Any], good_until: float) -> None:
        self.job_id = job.id
        self.lease = job.lease or ""
        self.turn = job.turn
        self.good_until = good_until
        self.lost = False
        self.turned = False


class Call:
    """One call of a store, on its way."""

    __slots__ = ("args", "kwargs", "link", "method")

    def __init__(self, link: "Link", method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.link = link
        self.method = method
        self.args = args
        self.kwargs = kwargs

    def __str__(self) -> str:
        return f"{self.method} {brief(self.args)}"


@coroutine
def ask(call: Call) -> Generator[Call, Any, Any]:
    """The store's answer. Raises what the store raises, or StoreUnavailable where none came."""
    return (yield call)


@coroutine
def sleep(seconds: float) -> Generator[float, None, None]:
    """Let time pass."""
    yield seconds


class Doze:
    """Sleep until a job may have become claimable, at most so many seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


@coroutine
def doze(seconds: float) -> Generator[Doze, None, None]:
    yield Doze(seconds)


NOTHING: Mapping[str, Any] = {}


class Link:
    """The store, for one process; with a `lease`, for one slice, whose every write belongs to that lease."""

    __slots__ = ("lease", "node")

    def __init__(self, node: Node, lease: str | None = None) -> None:
        self.node = node
        self.lease = lease

    def now(self) -> float:
        now: float = self.node.world.clock.now()
        return now + self.node.offset

    @property
    def clock(self) -> "Link":
        """The store's, as this process reckons it."""
        return self

    async def checked(self) -> float:
        return self.now()

    def insert(self, new: Sequence[NewJob]) -> Awaitable[list[Job[Any]]]:
        return ask(Call(self, "insert", (new,), NOTHING))

    def get(self, ids: Sequence[str], *, owner: Owner = ANY, payload: bool = False) -> Awaitable[list[Job[Any] | None]]:
        return ask(Call(self, "get", (ids,), {"owner": owner, "payload": payload}))

    def claim(self, n: int, types: Collection[str], worker: str, *, ttl: float = LEASE) -> Awaitable[Claimed]:
        return ask(Call(self, "claim", (n, types, worker), {"ttl": ttl}))

    def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE) -> Awaitable[list[Head | None]]:
        return ask(Call(self, "renew", (leases,), {"ttl": ttl}))

    def apply(self, changes: Sequence[Change]) -> Awaitable[list[Job[Any] | None]]:
        return ask(Call(self, "apply", (changes,), NOTHING)) if changes else _at_once()

    def due(self, limit: int, *, dead: Collection[str] = ()) -> Awaitable[list[Job[Any]]]:
        return ask(Call(self, "due", (limit,), {"dead": dead}))

    def events(self, job_id: str, *, after: int = 0, limit: int = 500) -> Awaitable[list[Event]]:
        return ask(Call(self, "events", (job_id,), {"after": after, "limit": limit}))

    def steps(self, job_id: str) -> Awaitable[list[Step]]:
        return ask(Call(self, "steps", (job_id,), NOTHING))

    def signals(self, job_id: str) -> Awaitable[list[Signal]]:
        return ask(Call(self, "signals", (job_id,), NOTHING))

    def purge(self, ids: Sequence[str], *, owner: Owner = ANY) -> Awaitable[list[str]]:
        return ask(Call(self, "purge", (ids,), {"owner": owner})) if ids else _at_once()


async def _at_once() -> list[Any]:
    """What an empty call answers."""
    return []
