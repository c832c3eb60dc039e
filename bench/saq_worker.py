"""SAQ as it is measured: its worker on Redis or on PostgreSQL, with more connections than it takes by default.

A finished job is kept with its result for ten minutes, as it is by default.
"""

import asyncio
import logging
import platform
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from saq import Queue, Worker  # type: ignore[import-not-found]  # in an environment of its own
from saq.queue.postgres import PostgresQueue  # type: ignore[import-not-found]
from saq.queue.redis import RedisQueue  # type: ignore[import-not-found]

from bench.measured import WARM_UP, Numbers, Seen, awaiting, gathered, ready, repeated, resident, run, spaced

CONNECTIONS = 1000
"""To Redis, for each slot of a worker keeps one while it waits."""

POOL = 50
"""To PostgreSQL."""

SLOTS = 10
"""What it does unless told otherwise."""

seen = Seen()


async def noop(ctx: Any) -> None:
    seen.called()


async def sleeper(ctx: Any, seconds: float) -> None:
    seen.called()
    await asyncio.sleep(seconds)


async def numbered(ctx: Any, number: int) -> None:
    seen.called(number)


# -- the measurements ---------------------------------------------------------------------------------------------


async def drain(url: str, jobs: int, slots: int) -> Numbers:
    """Jobs that wait already: from before the worker starts until none is incomplete."""
    return {"rate": jobs / await until_done(url, jobs, slots, "noop"), "mib": resident()}


async def submits(url: str, jobs: int, callers: int) -> Numbers:
    async with opened(url) as queue:
        await repeated(WARM_UP, lambda: queue.enqueue("noop"))
        return {"rate": jobs / await gathered(callers, jobs, lambda: queue.enqueue("noop"))}


async def work(url: str, jobs: int) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    async with opened(url) as queue:
        done = seen.awaited(jobs)
        async with working(queue, SLOTS):
            # Its slots wait on the server before the first job comes.
            await asyncio.sleep(1)
            ready()
            await done.wait()
    return {"started": seen.in_order()}


async def submit(url: str, jobs: int, between: Sequence[float]) -> Numbers:
    async with opened(url) as queue:
        return {"submitted": await spaced(jobs, between, lambda number: queue.enqueue("numbered", number=number))}


async def sleepers(url: str, jobs: int) -> Numbers:
    """As `drain`, of jobs that sleep for a second, with a slot for each."""
    return {"seconds": await until_done(url, jobs, jobs, "sleeper", seconds=1.0)}


async def facts(url: str) -> Numbers:
    driver = {"redis-py": version("redis")} if on_redis(url) else {"psycopg": version("psycopg")}
    return {
        "versions": {"saq": version("saq"), "Python": platform.python_version(), **driver},
        "durability": "as the server",
    }


# -- how they are made ----------------------------------------------------------------------------------------------


def on_redis(url: str) -> bool:
    return url.startswith("redis:")


def queue_of(url: str) -> Queue:
    if on_redis(url):
        # It would let 20 calls at once through.
        return RedisQueue.from_url(f"{url}?max_connections={CONNECTIONS + 200}", max_concurrent_ops=200)
    return PostgresQueue.from_url(url, max_size=POOL)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Queue]:
    queue = queue_of(url)
    await queue.connect()
    try:
        yield queue
    finally:
        await queue.disconnect()


@asynccontextmanager
async def working(queue: Queue, slots: int) -> AsyncIterator[None]:
    worker: Worker[Any] = Worker(queue, [noop, sleeper, numbered], concurrency=slots)
    task = asyncio.create_task(worker.start())
    try:
        yield
    finally:
        await worker.stop()
        await task


async def until_done(url: str, jobs: int, slots: int, function: str, **arguments: object) -> float:
    async with opened(url) as queue:
        await gathered(50, jobs, lambda: queue.enqueue(function, **arguments))
        done = seen.awaited(jobs)
        began = time.perf_counter()
        async with working(queue, slots):
            await done.wait()
            while await queue.count("incomplete"):
                await asyncio.sleep(0.002)
            return time.perf_counter() - began


if __name__ == "__main__":
    # At each end it says that its slots did not end by themselves.
    logging.getLogger("saq").setLevel(logging.ERROR)
    commands = (drain, submits, work, submit, sleepers, facts)
    run({command.__name__: awaiting(command) for command in commands})
