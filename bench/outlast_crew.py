"""Outlast with several worker processes on one store: jobs that take the processor, until all are recorded."""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from bench.measured import Numbers, gathered, ready
from bench.outlast_claims import apart
from outlast import Context, Outlast, Status
from outlast.stores.base import Query

app = Outlast()
Pipe = TypeVar("Pipe")

CPU = 0.001
"""Seconds of the processor that a job takes."""

SLOTS = 100
LOOK = 0.02
"""Seconds between two looks at how far they are, which cost the store something too."""


@app.handler
async def busy(ctx: Context) -> None:
    until = time.thread_time() + CPU
    while time.thread_time() < until:
        pass


async def crews(url: str, jobs: int, processes: dict[str, int]) -> Numbers:
    """Each number of processes on a store of its own: from the word to go until all jobs are recorded."""
    return {name: jobs / await _seconds(apart(url, name), jobs, number) for name, number in processes.items()}


async def _seconds(url: str, jobs: int, processes: int) -> float:
    app.store = url
    async with app:
        await gathered(100, jobs, busy.submit)
        async with AsyncExitStack() as stack:
            crew = [await stack.enter_async_context(_member(url)) for _ in range(processes)]
            began = time.perf_counter()
            for member in crew:
                _pipe(member.stdin).write(b"go\n")
            while sum((await app.count(Query(status=frozenset({Status.COMPLETED})))).values()) < jobs:
                await asyncio.sleep(LOOK)
            return time.perf_counter() - began


@asynccontextmanager
async def _member(url: str) -> AsyncIterator[Process]:
    """A worker process that waits for the word; it ends when its input does."""
    words = [sys.executable, "-m", "bench.outlast_worker", "crew", json.dumps({"url": url})]
    process = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE)
    try:
        if (await _pipe(process.stdout).readline()).strip() != b"ready":
            raise RuntimeError("a worker process did not begin")
        yield process
        _pipe(process.stdin).close()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def crew(url: str) -> Numbers:
    """One worker process of `crews`."""
    app.store, app.concurrency = url, SLOTS
    async with app:
        ready()
        await asyncio.to_thread(sys.stdin.readline)
        async with app.working():
            await asyncio.to_thread(sys.stdin.readline)
    return {}


def _pipe(pipe: Pipe | None) -> Pipe:
    if pipe is None:
        raise RuntimeError("the process has no such pipe")
    return pipe
