"""Outlast as it is measured: the public interface alone, the store as it is by default."""

import asyncio
import gc
import os
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from bench.measured import (
    WARM_UP,
    Numbers,
    Tally,
    awaiting,
    gathered,
    milliseconds,
    ready,
    repeated,
    resident,
    run,
    spaced,
)
from bench.outlast_claims import claims
from bench.outlast_crew import crew, crews
from bench.sampling import sampled
from outlast import Context, Outlast, Status
from outlast.stores import open_store
from outlast.stores.base import Query

app = Outlast()


class Seen:
    """What the handlers leave for the measurement."""

    def __init__(self) -> None:
        self.tally = Tally(0, lambda: None)
        self.started: dict[int, float] = {}
        self.step_ms: list[float] = []


seen = Seen()

ENGINES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "redis": "Redis", "valkey": "Valkey"}


@app.handler
async def noop(ctx: Context) -> None:
    seen.tally.add()


@app.handler
async def sleeper(ctx: Context, seconds: float) -> None:
    seen.tally.add()
    await asyncio.sleep(seconds)


@app.handler
async def numbered(ctx: Context, number: int) -> None:
    seen.started[number] = time.monotonic()
    seen.tally.add()


@app.handler
async def stepped(ctx: Context, steps: int) -> None:
    began = time.perf_counter()
    for number in range(steps):
        await ctx.step("same", same, number)
    seen.step_ms.append((time.perf_counter() - began) * 1000 / steps)
    seen.tally.add()


async def same(number: int) -> int:
    return number


# -- the measurements ---------------------------------------------------------------------------------------------


async def drain(url: str, jobs: int, slots: int) -> Numbers:
    """Jobs that wait already: from before the worker starts until all are recorded as completed."""
    async with opened(url, slots):
        await fill(jobs, noop.submit)
        seconds = await until_completed(jobs)
        return {"rate": jobs / seconds, "mib": resident()}


async def submits(url: str, jobs: int, callers: int) -> Numbers:
    """Each caller awaits one submit after the other, as web requests would; no worker runs."""
    async with opened(url):
        await repeated(WARM_UP, noop.submit)
        return {"rate": jobs / await gathered(callers, jobs, noop.submit)}


async def pickup(url: str, jobs: int, between: Sequence[float]) -> Numbers:
    """One job after the other on an idle worker of the same process."""
    async with opened(url):
        done = awaited(jobs)
        async with app.working():
            submitted = await spaced(jobs, between, numbered.submit)
            await done.wait()
        return {"ms": milliseconds(submitted, seen.started)}


async def work(url: str, jobs: int) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    async with opened(url):
        done = awaited(jobs)
        async with app.working():
            ready()
            await done.wait()
        return {"started": [seen.started[number] for number in range(jobs)]}


async def submit(url: str, jobs: int, between: Sequence[float]) -> Numbers:
    async with opened(url):
        return {"submitted": await spaced(jobs, between, numbered.submit)}


async def sleepers(url: str, jobs: int) -> Numbers:
    """As `drain`, of jobs that sleep for a second, with a slot for each."""
    async with opened(url, jobs):
        await fill(jobs, lambda: sleeper.submit(1.0))
        before = resident()
        held: list[float] = []
        seconds = await until_completed(jobs, lambda: held.append(resident()))
        return {"seconds": seconds, "kib": (held[0] - before) * 1024 / jobs}


async def steps(url: str, jobs: int, steps: int) -> Numbers:
    """Jobs one after the other, each of so many steps that return at once."""
    async with opened(url):
        for _ in range(jobs):
            await stepped.submit(steps)
        await until_completed(jobs)
        return {"ms": seen.step_ms}


async def idle(url: str, seconds: float) -> Numbers:
    """A worker that has nothing to do, past the time in which it is still awake from its start."""
    async with opened(url), app.working():
        await asyncio.sleep(2)
        began = time.process_time()
        await asyncio.sleep(seconds)
        return {"percent": (time.process_time() - began) / seconds * 100, "mib": resident()}


async def facts(url: str) -> Numbers:
    async with open_store(url) as store:
        about = store.describe()
    return {
        "versions": {
            "outlast": version("outlast"),
            "Python": platform.python_version(),
            ENGINES[about.engine]: about.version,
        },
        "durability": about.durability,
    }


# -- how they are made ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(url: str, slots: int = 10) -> AsyncIterator[None]:
    app.store, app.concurrency = url, slots
    # As `outlast worker` does.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    async with app:
        yield


async def fill(jobs: int, submit: Callable[[], Awaitable[object]]) -> None:
    await gathered(100, jobs, submit)


def awaited(jobs: int) -> asyncio.Event:
    """Set once the handlers were called so many times."""
    done = asyncio.Event()
    seen.tally = Tally(jobs, done.set)
    return done


async def until_completed(jobs: int, all_called: Callable[[], object] = lambda: None) -> float:
    """Seconds until all jobs are recorded as completed, from before the worker starts."""
    done = awaited(jobs)
    began = time.perf_counter()
    async with sampled(), app.working():
        await done.wait()
        all_called()
        while sum((await app.count(Query(status=frozenset({Status.COMPLETED})))).values()) < jobs:
            await asyncio.sleep(0.001)
        return time.perf_counter() - began


if __name__ == "__main__":
    os.environ.pop("OUTLAST_STORE", None)
    commands = (drain, submits, pickup, work, submit, sleepers, steps, idle, facts, claims, crews, crew)
    run({command.__name__: awaiting(command) for command in commands})
