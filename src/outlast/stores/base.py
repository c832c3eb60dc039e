"""What a store promises. Two interfaces: Store, many jobs at once; Records, small owned notes beside them.

Rules for every method of every engine
- A call is applied whole or not at all, and is durable at the level the store names in `describe()` before it returns.
- Every method takes many items and answers in their order. An empty call answers at once.
- A write that failed with StoreUnavailable has an unknown outcome. Inserts, moves, wishes, claims and renewals are safe
  to repeat; an append is not (it holds as long as the lease does), so an attempt then gives its lease up instead.
- Times come from the store's own clock, `now()`; callers pass durations, or times they read from it.
- A caller's read names the owner it reads for. Another's job is then absent; `owner=ANY` is trusted code.
- Methods may be called from several event loops and threads of the process at once.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self, runtime_checkable

from outlast.job import Change, Event, Job, NewJob, Signal, Status, Step
from outlast.report import Report

LEASE = 30.0
"""Seconds a claim, or a renewal, is good for."""

IDEMPOTENCY = 24 * 3600.0
"""Seconds after its submit for which a job holds its idempotency key."""


class Everyone(Enum):
    """The one value that stands for no owner in particular."""

    ANY = "any"


ANY = Everyone.ANY
"""For trusted code: the jobs of every owner."""

Owner = str | None | Literal[Everyone.ANY]


class Clock:
    """The wall clock. Tests put another in its place."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    async def checked(self) -> float:
        """`now`, once what keeps this clock was asked again, if need be: what is to last is counted from it."""
        return self.now()

    def doubt(self) -> None:
        """What keeps this clock may be another from now on, so that the next check asks it."""

    async def wait(self, event: asyncio.Event, until: float | None) -> bool:
        """Wait for the event, at most until a time of this clock; True if the event is set."""
        try:
            async with asyncio.timeout(None if until is None else max(until - self.now(), 0.0)):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True

    def alarm(self, at: float, ring: Callable[[], None]) -> Callable[[], object]:
        """Call `ring` on the running event loop once a time of this clock has come; answers how to call it off."""
        return asyncio.get_running_loop().call_later(max(at - self.now(), 0.0), ring).cancel


class Head(NamedTuple):
    """The two numbers that tell whether a job changed: every event raises `seq`, every move and wish `turn`."""

    seq: int
    turn: int


class Lease(NamedTuple):
    """The right to write a processing job."""

    job_id: str
    lease: str


class Batch(NamedTuple):
    """What callers that each have one item in hand make of many: the most items of one call, and the calls at once."""

    most: int = 500
    lanes: int = 1


class News(NamedTuple):
    """Something was written: to these jobs (None: another process wrote, to jobs unknown).

    `ready` is True if a job may have become claimable.
    """

    ids: frozenset[str] | None
    ready: bool


class Claimed(NamedTuple):
    """The jobs a claim took, and when the clock will next move a job of this store (None: never)."""

    jobs: list[Job[Any]]
    next_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which jobs a list or count is of; None means any. `before` is the id of the last job of the page before."""

    owner: Owner = ANY
    status: frozenset[Status] | None = None
    type: str | None = None
    tag: str | None = None
    batch_id: str | None = None
    created_after: float | None = None
    created_before: float | None = None
    updated_after: float | None = None
    before: str | None = None
    oldest_first: bool = False
    limit: int = 50

    def __post_init__(self) -> None:
        # Any collection will do, and a query is compared to others.
        if self.status is not None:
            object.__setattr__(self, "status", frozenset(self.status))


class Record(NamedTuple):
    """A small note under a key, such as a worker's sign of life. `version` rises with each put."""

    key: str
    value: Mapping[str, Any]
    version: int
    expires_at: float | None = None


class Description(NamedTuple):
    """What `outlast serve` prints first: where the store is, what it survives, and every relaxed setting.

    `schema` is the number of the last migration; None where there are no tables.
    """

    url: str
    engine: str
    version: str
    durability: str
    warnings: tuple[str, ...] = ()
    schema: int | None = None


class Records(Protocol):
    """Small notes with a version and an expiry, for workers, gates, tokens and their like.

    The bytes of attachments are notes too, of 4 MiB at most, each read by its key alone.
    """

    async def put(
        self, key: str, value: Mapping[str, Any], *, version: int | None = None, ttl: float | None = None
    ) -> Record | None:
        """Write the note if its version is still the one given (0: it must not exist; None: whatever it is).

        `ttl` is in seconds from now; None keeps it for ever. Answers the note written, or None if the version differs.
        """
        ...

    async def fetch(self, key: str) -> Record | None:
        """The note, or None; an expired one is absent."""
        ...

    async def scan(self, prefix: str) -> list[Record]:
        """All notes whose key begins with `prefix`, in the order of their keys; expired ones are absent."""
        ...

    async def drop(self, keys: Collection[str]) -> None:
        """Remove these notes, and any that expired."""
        ...


class Store(Records, Protocol):
    """Where jobs live."""

    clock: Clock

    async def __aenter__(self) -> Self:
        """Open, and close at the end of the `async with` block."""
        ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def open(self) -> None:
        """Connect, bring the schema up to date, check what the store can keep. Idempotent.

        Raises StoreRefused if it cannot keep the promises, StoreUnavailable if it does not answer.
        """
        ...

    async def close(self) -> None:
        """Finish what is being written and let go of every connection and thread. Idempotent."""
        ...

    def describe(self) -> Description:
        """Facts for the first log line and `outlast doctor`."""
        ...

    def now(self) -> float:
        """The store's clock, in seconds since 1970."""
        ...

    @property
    def batch(self) -> Batch:
        """How the store is called best where there is much to do."""
        ...

    @property
    def locks(self) -> Path | None:
        """A folder on this host for the lock files by which workers show that they live; None: use the system's."""
        ...

    def listen(self, hear: Callable[[News], None]) -> Callable[[], None]:
        """Call `hear` on the running event loop soon after every write, other processes' too; answers how to stop.

        News may be merged and may name jobs that did not change, but no write goes unheard for long: 10 ms at the
        median where the engine can notify.
        """
        ...

    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        """Store new jobs with their events and steps.

        A job whose id is already stored is not stored again, nor is one whose (owner, idempotency_key) is held by a
        job submitted less than 24 h ago; the answer is then that job, told apart by its id or `fingerprint`. Of two
        such jobs in flight at once one is stored. `place` gives the job its tag, as in `apply`.
        """
        ...

    async def get(self, ids: Sequence[str], *, owner: Owner = ANY, payload: bool = False) -> list[Job[Any] | None]:
        """The jobs with their results, and with their payloads if asked; None for absent or foreign ones."""
        ...

    async def find(self, query: Query) -> list[Job[Any]]:
        """A page of jobs, newest first unless asked otherwise, without payloads and results."""
        ...

    async def count(self, query: Query) -> dict[tuple[str, Status], int]:
        """How many jobs there are by (type, status); `before` and `limit` do not count."""
        ...

    async def claim(
        self, n: int, types: Collection[str], worker: str, *, ids: Sequence[str] | None = None, ttl: float = LEASE
    ) -> Claimed:
        """Take up to `n` claimable jobs of these types (and, if given, of these ids) for `worker`.

        The one move a store makes by itself. Claimable: status queued or retrying, with a tag. Order: priority high to
        low, then tag, then id. Each is changed by `lifecycle.claim` with a fresh random 128-bit lease until `ttl`
        seconds from now, in the same atomic act in which it was chosen, so that no two claims get one job. A job that
        lifecycle cancels at this moment is not among the answer. Jobs come with their payloads.
        `Claimed.next_at` is the soonest `next_at` or `lease_until` of any live job.
        """
        ...

    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE) -> list[Head | None]:
        """Make each lease that is still the job's own last until `ttl` seconds from now; None where it is not.

        A lease that ran out and that nobody took is still the job's own.
        """
        ...

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        """Write each change that holds, whole: None. Where it does not, write nothing and answer the job as it now is.

        Later changes see the earlier ones of the same call. `Change.applied` gives the new job and numbers its events,
        under the job's own lock. A completed step is never overwritten. `place` gives the job its tag within its
        priority: "front" is the least tag of the ready jobs (0 if none), "back" is the greater of that and one more
        than the greatest tag of this owner's ready jobs. A change to a job that is not there answers a JobNotFound
        raised for the whole call, with nothing of the call written.
        """
        ...

    async def due(self, limit: int, *, dead: Collection[str] = ()) -> list[Job[Any]]:
        """Jobs whose `next_at` or `lease_until` has come, the longest due first, and those held by dead workers.

        Ended jobs, to be purged once their `next_at` has come, or to be told of before (`lifecycle.owes`), follow
        behind all live ones, so that these never wait for them. All come without payloads and results.
        """
        ...

    async def events(self, job_id: str, *, after: int = 0, limit: int = 500, output: bool = True) -> list[Event]:
        """The job's log from number `after` + 1 on, in order; without output events if not wanted."""
        ...

    async def steps(self, job_id: str) -> list[Step]:
        """The job's recorded steps by index, waits among them."""
        ...

    async def signals(self, job_id: str) -> list[Signal]:
        """All signals the job ever got, in order; `taken` marks those the handler has."""
        ...

    async def reports(self, job_id: str) -> list[Report]:
        """What the job's slices left for whoever operates, oldest first: the newest `REPORTS` of them."""
        ...

    async def changed(self, seen: Mapping[str, Head]) -> dict[str, Head | None]:
        """Of the jobs named, those whose head is no longer the one given; None for a job that is gone."""
        ...

    async def purge(self, ids: Sequence[str], *, owner: Owner = ANY) -> list[str]:
        """Remove these jobs with all that belongs to them, if they have ended; answers the ids removed."""
        ...


@runtime_checkable
class Joins(Protocol):
    """What a store adds whose jobs may be submitted within a transaction of the caller's own."""

    async def insert_within(self, connection: Any, new: Sequence[NewJob]) -> list[Job[Any]]:
        """As `Store.insert`, by the caller's connection: nothing is stored, and nobody hears of it, until they commit.

        Raises ConfigurationError if the connection is none that this store can join.
        """
        ...


@runtime_checkable
class Scripted(Protocol):
    """What a store adds whose tables others may have to make."""

    def script(self) -> str:
        """The statements that make them, for whoever runs such things by hand."""
        ...


class Listeners:
    """The callbacks of one store, each called on the loop it was given on."""

    def __init__(self) -> None:
        self._hearers: dict[int, tuple[asyncio.AbstractEventLoop, Callable[[News], None]]] = {}
        self._next = 0

    def __bool__(self) -> bool:
        return bool(self._hearers)

    def add(self, hear: Callable[[News], None]) -> Callable[[], None]:
        self._next += 1
        key = self._next
        self._hearers[key] = (asyncio.get_running_loop(), hear)

        def stop() -> None:
            self._hearers.pop(key, None)

        return stop

    def tell(self, news: News) -> None:
        """Call every listener; may be called from any thread."""
        for loop, hear in list(self._hearers.values()):
            with _closed_loops():
                loop.call_soon_threadsafe(hear, news)


@contextmanager
def _closed_loops() -> Iterator[None]:
    """A loop that is closing no longer takes calls, and nobody there waits for news."""
    try:
        yield
    except RuntimeError as error:
        if "closed" not in str(error):
            raise
