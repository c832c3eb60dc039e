"""Servers: workers die and pause by the dozen over PostgreSQL, Valkey and Redis, and then the server itself does.

For each kind of server, on loopback, from its wheel: first the trial of `kills` with three workers; then the server is
killed and started again under load, and the workers that were there go on by themselves.
"""

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from outlast import Outlast, Status
from outlast.errors import StoreUnavailable
from tests.ports import free_port
from tests.stores import postgres_server, redis_server
from torture.crew.torment import Damage, Torment, asking
from torture.crew.workers import Crew, until
from torture.kills import recovery
from torture.report import Report

T = TypeVar("T")

KILLS, JOBS, OUTAGES = 100, 1_000, 5
WORKERS, PAUSE_EVERY = 3, 2
SEED = 20261125
LEASE = 2.0
"""Seconds; a pause must outlast it."""

PAUSE = 14.0
"""Seconds; PostgreSQL takes up to 10 to end a transaction in which a worker was paused, and with it the locks on its
rows; only then can its jobs be taken over."""

BETWEEN = 60
"""Jobs that end between two deaths of the server."""


class Server(Protocol):
    """What the torture does with one."""

    def start(self) -> None: ...
    def kill(self) -> None: ...


@dataclass(slots=True)
class Toll:
    """What became of one kind of server."""

    name: str
    damage: Damage = field(default_factory=Damage)
    outages: int = 0
    back: list[float] = field(default_factory=list)
    """Seconds from a server's return to the next end of a job."""
    failures: list[str] = field(default_factory=list)


def run(fraction: float) -> Report:
    """Torment each kind of server; of the whole, this fraction."""
    began = time.monotonic()
    logging.disable()
    tolls = [asyncio.run(_torment(name, fraction)) for name in SERVERS]
    return _report(tolls, time.monotonic() - began)


async def _torment(name: str, fraction: float) -> Toll:
    toll = Toll(name)
    with (
        SERVERS[name]() as (server, url),
        tempfile.TemporaryDirectory(prefix="outlast-servers-") as folder,
        Crew(Path(folder), url=url, lease=LEASE) as crew,
    ):
        async with asking(crew) as app:
            try:
                await _workers_die(toll, crew, app, fraction)
                await _server_dies(toll, crew, app, server, max(round(OUTAGES * fraction), 1))
            except* TimeoutError as errors:
                tail = crew.log()[-2000:]
                toll.failures += [f"STUCK on {name}: {error}\n{tail}" for error in errors.exceptions]
    return toll


async def _workers_die(toll: Toll, crew: Crew, app: Outlast, fraction: float) -> None:
    torment = Torment(crew, app, SEED, seconds=0.4, workers=WORKERS, pause_every=PAUSE_EVERY, pause=PAUSE)
    toll.damage = torment.damage
    await torment.run(kills=max(round(KILLS * fraction), 6), jobs=max(round(JOBS * fraction), 60))
    toll.failures += [*toll.damage.lost, *toll.damage.doubled]


async def _server_dies(toll: Toll, crew: Crew, app: Outlast, server: Server, outages: int) -> None:
    count = BETWEEN * (outages + 2)
    jobs = await asyncio.gather(*(app.submit("three_steps", {"seconds": 0.4}) for _ in range(count)))
    for _ in range(outages):
        await _more_end(app, BETWEEN)
        server.kill()
        await asyncio.sleep(1)
        server.start()
        toll.outages += 1
        toll.back.append(await _more_end(app, 1))
    await until(lambda: _all_ended(app), "every job ends, though the server died", patience=120)
    crew.check()
    for submitted in jobs:
        job = await app.get(submitted)
        if (job.status, job.result) != (Status.COMPLETED, [0, 1, 4]):
            toll.failures.append(f"{toll.name}: {job.id} is {job.status} with {job.result}")


async def _more_end(app: Outlast, count: int) -> float:
    before = await _patient(lambda: _ended(app))

    async def there() -> bool:
        return await _patient(lambda: _ended(app)) >= before + count

    return await until(there, f"{count} more jobs end", patience=60)


async def _patient(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer, once the server is there again."""
    while True:
        try:
            return await ask()
        except StoreUnavailable:
            await asyncio.sleep(0.05)


async def _ended(app: Outlast) -> int:
    return sum(number for (_, status), number in (await app.count()).items() if status.ended)


async def _all_ended(app: Outlast) -> bool:
    return all(status.ended for _, status in await _patient(app.count))


def _report(tolls: list[Toll], seconds: float) -> Report:
    counters: dict[str, int] = {}
    figures: dict[str, str] = {}
    for toll in tolls:
        damage = toll.damage
        counters[f"{toll.name}: kills"] = damage.kills
        counters[f"{toll.name}: pauses past the lease"] = damage.pauses
        counters[f"{toll.name}: takeovers"] = damage.takeovers
        counters[f"{toll.name}: stale writes refused"] = damage.stale_writes_refused
        counters[f"{toll.name}: deaths of the server"] = toll.outages
        figures[f"{toll.name}: lost, recorded twice"] = f"{len(damage.lost)}, {len(damage.doubled)}"
        figures[f"{toll.name}: from a death to the next attempt"] = recovery(damage.recoveries)
        longest = max(toll.back, default=float("nan"))
        figures[f"{toll.name}: from the server's return to the next end, longest"] = f"{longest:.2f} s"
    return Report(
        name="servers",
        unit="jobs",
        trials=sum(toll.damage.jobs for toll in tolls),
        seeds=str(SEED),
        seconds=seconds,
        processes=os.cpu_count() or 1,
        counters=counters,
        figures=figures,
        failures=[failure for toll in tolls for failure in toll.failures],
    )


# -- the servers ----------------------------------------------------------------------------------------------------


class _Postgres:
    def __init__(self, server: postgres_server.Server) -> None:
        self._server = server

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        self._server.stop()


@contextmanager
def _postgres() -> Iterator[tuple[Server, str]]:
    with postgres_server.Server(postgres_server.wheel()) as server:
        yield _Postgres(server), server.url()


@contextmanager
def _redis(name: str) -> Iterator[tuple[Server, str]]:
    # A short path: that of a socket holds 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="outlast-"))
    server = redis_server.Server(redis_server.binary_of(name), folder, free_port())
    server.start()
    try:
        yield server, server.url
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


SERVERS: Mapping[str, Callable[[], AbstractContextManager[tuple[Server, str]]]] = {
    "PostgreSQL 18": _postgres,
    "Valkey 9": lambda: _redis("valkey9"),
    "Redis 6.2": lambda: _redis("redis6"),
}
