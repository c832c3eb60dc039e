"""PgQueuer as it is measured: asyncpg with a pool, and uvloop, as its own command line has it.

A finished job is deleted, and a line is added to its log; those of a batch in one statement.
"""

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

import asyncpg  # type: ignore[import-not-found]  # in an environment of its own
import uvloop  # type: ignore[import-not-found,unused-ignore]
from pgqueuer import PgQueuer  # type: ignore[import-not-found]
from pgqueuer.models import Job  # type: ignore[import-not-found]
from pgqueuer.queries import Queries  # type: ignore[import-not-found]

from bench.measured import WARM_UP, Numbers, Seen, awaiting, gathered, ready, repeated, resident, run, spaced

BATCH = 10
"""Jobs that one query takes, unless told otherwise."""

CONNECTIONS = 20

seen = Seen()


async def drain(url: str, jobs: int, batch: int) -> Numbers:
    """Jobs that wait already: from before the worker starts until all have left the queue."""
    return {"rate": jobs / await until_done(url, jobs, "noop", batch), "mib": resident()}


async def submits(url: str, jobs: int, callers: int) -> Numbers:
    async with opened(url) as pool:
        queries = Queries.from_asyncpg_pool(pool)
        await repeated(WARM_UP, lambda: queries.enqueue("noop", None))
        return {"rate": jobs / await gathered(callers, jobs, lambda: queries.enqueue("noop", None))}


async def work(url: str, jobs: int) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    async with opened(url) as pool:
        done = seen.awaited(jobs)
        async with working(pool, BATCH):
            # It listens once it has looked at its tables.
            await asyncio.sleep(1)
            ready()
            await done.wait()
    return {"started": seen.in_order()}


async def submit(url: str, jobs: int, between: Sequence[float]) -> Numbers:
    async with connected(url) as pool:
        queries = Queries.from_asyncpg_pool(pool)
        return {"submitted": await spaced(jobs, between, lambda n: queries.enqueue("numbered", str(n).encode()))}


async def sleepers(url: str, jobs: int, batch: int) -> Numbers:
    """As `drain`, of jobs that sleep for a second."""
    return {"seconds": await until_done(url, jobs, "sleeper", batch)}


async def facts(url: str) -> Numbers:
    async with opened(url) as pool:
        commit = await pool.fetchval("show synchronous_commit")
    versions = {name: version(name) for name in ("pgqueuer", "asyncpg", "uvloop")}
    return {
        "versions": {**versions, "Python": platform.python_version()},
        "durability": f"synchronous_commit={commit}, logged tables; no result is kept",
    }


# -- how they are made ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        yield pool


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[asyncpg.Pool]:
    """With its tables, and the settings for them that it recommends."""
    async with connected(url) as pool:
        queries = Queries.from_asyncpg_pool(pool)
        await queries.install()
        await queries.optimize_autovacuum()
        yield pool


@asynccontextmanager
async def working(pool: asyncpg.Pool, batch: int) -> AsyncIterator[None]:
    pgq = PgQueuer.from_asyncpg_pool(pool)

    @pgq.entrypoint("noop")  # type: ignore[untyped-decorator]
    async def noop(job: Job) -> None:
        seen.called()

    @pgq.entrypoint("sleeper")  # type: ignore[untyped-decorator]
    async def sleeper(job: Job) -> None:
        seen.called()
        await asyncio.sleep(1)

    @pgq.entrypoint("numbered")  # type: ignore[untyped-decorator]
    async def numbered(job: Job) -> None:
        seen.called(int(job.payload))

    task = asyncio.create_task(pgq.qm.run(batch_size=batch))
    try:
        yield
    finally:
        pgq.shutdown.set()
        with suppress(asyncio.CancelledError):
            await task


async def until_done(url: str, jobs: int, entrypoint: str, batch: int) -> float:
    async with opened(url) as pool:
        await Queries.from_asyncpg_pool(pool).enqueue([entrypoint] * jobs, [None] * jobs, [0] * jobs)
        done = seen.awaited(jobs)
        began = time.perf_counter()
        async with working(pool, batch):
            await done.wait()
            while await pool.fetchval("select exists (select from pgqueuer)"):
                await asyncio.sleep(0.002)
            return time.perf_counter() - began


if __name__ == "__main__":
    commands = (drain, submits, work, submit, sleepers, facts)
    run({command.__name__: awaiting(command, uvloop.run) for command in commands})
