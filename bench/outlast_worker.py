"""Outlast as it is measured: the public interface alone, the store as it is by default."""

import asyncio
import gc
import os
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.measured import WARM_UP, Numbers, Tally, milliseconds, pauses, ready, resident, run
from bench.outlast_claims import claims
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


async def drain(folder: str, jobs: int, slots: int) -> Numbers:
    """Jobs that wait already: from before the worker starts until all are recorded as completed."""
    async with opened(folder, slots):
        await fill(jobs, noop.submit)
        seconds = await until_completed(jobs)
        return {"rate": jobs / seconds, "mib": resident()}


async def submits(folder: str, jobs: int, callers: int) -> Numbers:
    """Each caller awaits one submit after the other, as web requests would; no worker runs."""
    async with opened(folder):
        await repeat(WARM_UP, noop.submit)
        began = time.perf_counter()
        await asyncio.gather(*(repeat(jobs // callers, noop.submit) for _ in range(callers)))
        return {"rate": jobs / (time.perf_counter() - began)}


async def pickup(folder: str, jobs: int, between: Sequence[float]) -> Numbers:
    """One job after the other on an idle worker of the same process."""
    async with opened(folder):
        done = awaited(jobs)
        async with app.working():
            submitted = await submit_spaced(jobs, between)
            await done.wait()
        return {"ms": milliseconds(submitted, seen.started)}


async def work(folder: str, jobs: int) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    async with opened(folder):
        done = awaited(jobs)
        async with app.working():
            ready()
            await done.wait()
        return {"started": [seen.started[number] for number in range(jobs)]}


async def submit(folder: str, jobs: int, between: Sequence[float]) -> Numbers:
    async with opened(folder):
        return {"submitted": await submit_spaced(jobs, between)}


async def sleepers(folder: str, jobs: int) -> Numbers:
    """As `drain`, of jobs that sleep for a second, with a slot for each."""
    async with opened(folder, jobs):
        await fill(jobs, lambda: sleeper.submit(1.0))
        before = resident()
        held: list[float] = []
        seconds = await until_completed(jobs, lambda: held.append(resident()))
        return {"seconds": seconds, "kib": (held[0] - before) * 1024 / jobs}


async def steps(folder: str, jobs: int, steps: int) -> Numbers:
    """Jobs one after the other, each of so many steps that return at once."""
    async with opened(folder):
        for _ in range(jobs):
            await stepped.submit(steps)
        await until_completed(jobs)
        return {"ms": seen.step_ms}


async def idle(folder: str, seconds: float) -> Numbers:
    """A worker that has nothing to do, past the time in which it is still awake from its start."""
    async with opened(folder), app.working():
        await asyncio.sleep(2)
        began = time.process_time()
        await asyncio.sleep(seconds)
        return {"percent": (time.process_time() - began) / seconds * 100, "mib": resident()}


async def facts(folder: str) -> Numbers:
    async with open_store(url(folder)) as store:
        about = store.describe()
    return {
        "versions": {"outlast": version("outlast"), "Python": platform.python_version(), "SQLite": about.version},
        "durability": about.durability,
    }


# -- how they are made ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(folder: str, slots: int = 10) -> AsyncIterator[None]:
    app.store, app.concurrency = url(folder), slots
    # As `outlast worker` does.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    async with app:
        yield


def url(folder: str) -> str:
    return f"sqlite:///{Path(folder).resolve()}/outlast.db"


async def fill(jobs: int, submit: Callable[[], Awaitable[object]]) -> None:
    await asyncio.gather(*(repeat(jobs // 100, submit) for _ in range(100)))


async def repeat(times: int, submit: Callable[[], Awaitable[object]]) -> None:
    for _ in range(times):
        await submit()


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


async def submit_spaced(jobs: int, between: Sequence[float]) -> list[float]:
    submitted = []
    for number, pause in enumerate(pauses(jobs, between)):
        await asyncio.sleep(pause)
        submitted.append(time.monotonic())
        await numbered.submit(number)
    return submitted


def awaiting(command: Callable[..., Coroutine[Any, Any, Numbers]]) -> Callable[..., Numbers]:
    return lambda **order: asyncio.run(command(**order))


if __name__ == "__main__":
    os.environ.pop("OUTLAST_STORE", None)
    commands = (drain, submits, pickup, work, submit, sleepers, steps, idle, facts, claims)
    run({command.__name__: awaiting(command) for command in commands})
