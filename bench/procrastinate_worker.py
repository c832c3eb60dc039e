"""Procrastinate as it is measured: psycopg with a pool, told of new jobs by the server.

A finished job is kept as a row, as it is by default; it knows no results.
"""

import asyncio
import logging
import platform
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from procrastinate import App, PsycopgConnector  # type: ignore[import-not-found]  # in an environment of its own

from bench.measured import WARM_UP, Numbers, Seen, awaiting, gathered, ready, repeated, resident, run, spaced

POOL = 50
SLOTS = 10
LEFT = "select count(*) as unfinished from procrastinate_jobs where status <> 'succeeded'"

# It would say that an app belongs into a module of its own, which matters for commands that import it.
logging.getLogger("procrastinate").setLevel(logging.ERROR)

seen = Seen()
app = App(connector=PsycopgConnector())


async def _noop() -> None:
    seen.called()


async def _sleeper(seconds: float) -> None:
    seen.called()
    await asyncio.sleep(seconds)


async def _numbered(number: int) -> None:
    seen.called(number)


noop: Any = app.task(_noop, name="noop")
sleeper: Any = app.task(_sleeper, name="sleeper")
numbered: Any = app.task(_numbered, name="numbered")


# -- the measurements ---------------------------------------------------------------------------------------------


async def drain(url: str, jobs: int, slots: int) -> Numbers:
    """Jobs that wait already: from before the worker starts until all are recorded."""
    async with opened(url):
        await noop.batch_defer_async(*({} for _ in range(jobs)))
        return {"rate": jobs / await until_done(jobs, slots), "mib": resident()}


async def submits(url: str, jobs: int, callers: int) -> Numbers:
    async with opened(url):
        await repeated(WARM_UP, noop.defer_async)
        return {"rate": jobs / await gathered(callers, jobs, noop.defer_async)}


async def work(url: str, jobs: int) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    async with opened(url):
        done = seen.awaited(jobs)
        async with working(SLOTS):
            # It listens before the first job comes.
            await asyncio.sleep(1)
            ready()
            await done.wait()
    return {"started": seen.in_order()}


async def submit(url: str, jobs: int, between: Sequence[float]) -> Numbers:
    async with connected(url):
        return {"submitted": await spaced(jobs, between, lambda number: numbered.defer_async(number=number))}


async def sleepers(url: str, jobs: int) -> Numbers:
    """As `drain`, of jobs that sleep for a second, with a slot for each."""
    async with opened(url):
        await sleeper.batch_defer_async(*({"seconds": 1.0} for _ in range(jobs)))
        return {"seconds": await until_done(jobs, jobs)}


async def facts(url: str) -> Numbers:
    return {
        "versions": {
            "procrastinate": version("procrastinate"),
            "psycopg": version("psycopg"),
            "Python": platform.python_version(),
        },
        "durability": "as the server",
    }


# -- how they are made ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[None]:
    with app.replace_connector(PsycopgConnector(conninfo=url, min_size=4, max_size=POOL)):
        async with app.open_async():
            yield


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[None]:
    """With its tables."""
    async with connected(url):
        await app.schema_manager.apply_schema_async()
        yield


@asynccontextmanager
async def working(slots: int) -> AsyncIterator[None]:
    task = asyncio.create_task(app.run_worker_async(concurrency=slots, install_signal_handlers=False))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until_done(jobs: int, slots: int) -> float:
    done = seen.awaited(jobs)
    began = time.perf_counter()
    async with working(slots):
        await done.wait()
        while (await app.connector.execute_query_one_async(LEFT))["unfinished"]:
            await asyncio.sleep(0.002)
        return time.perf_counter() - began


if __name__ == "__main__":
    commands = (drain, submits, work, submit, sleepers, facts)
    run({command.__name__: awaiting(command) for command in commands})
