"""The app that the workers run. Each call of a step's body leaves a line in a file."""

import asyncio
import os
import time
from random import uniform

from outlast import Context, Outlast, SyncContext

app = Outlast(lease=float(os.environ.get("CREW_LEASE", "30")), grace=2.0)


def note(*words: object) -> None:
    """One line, in one write, so that the lines of several processes do not mix."""
    line = " ".join(map(str, words)) + "\n"
    fd = os.open(os.environ["CREW_CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


async def work(number: int, ctx: Context, seconds: float) -> int:
    note(ctx.job.id, number, ctx.attempt, os.getpid())
    ctx.write(f"{number}.")
    await asyncio.sleep(uniform(0, seconds))
    return number * number


@app.handler(retries=50, backoff=0)
async def three_steps(ctx: Context, seconds: float) -> list[int]:
    return [await ctx.step(f"step {n}", work, n, ctx, seconds) for n in range(3)]


@app.handler(retries=50, backoff=0)
async def side_by_side(ctx: Context) -> list[int]:
    """Five steps at once, of which three end soon and two only once a file is there."""

    async def held(number: int) -> int:
        note(ctx.job.id, number, ctx.attempt, os.getpid())
        while number >= 3 and not os.path.exists(os.environ["CREW_CALLS"] + ".go"):
            await asyncio.sleep(0.01)
        return number * number

    return list(await asyncio.gather(*(ctx.step(f"step {n}", held, n) for n in range(5))))


@app.handler(retries=50, backoff=0)
def blocking_steps(ctx: SyncContext) -> list[int]:
    """Three steps in threads, of which the last ends only once a file is there."""

    def held(number: int) -> int:
        note(ctx.job.id, number, ctx.attempt, os.getpid())
        ctx.write(f"{number}.")
        while number == 2 and not os.path.exists(os.environ["CREW_CALLS"] + ".go"):
            time.sleep(0.01)
        return number * number

    return [ctx.step(f"step {n}", held, n) for n in range(3)]


@app.handler(retries=50, backoff=0)
async def writes_on(ctx: Context) -> str:
    """Writes a word every few milliseconds for as long as its first attempt lives."""
    if ctx.attempt > 1:
        ctx.write("second ")
        return "second"
    while True:
        ctx.write("first ")
        note(ctx.job.id, "writes", ctx.attempt, os.getpid())
        await asyncio.sleep(0.02)


@app.handler(retries=2, backoff=0)
async def poison(ctx: Context) -> None:
    """Kills whatever process runs it."""
    note(ctx.job.id, "poison", ctx.attempt, os.getpid())
    os._exit(137)
