"""Handlers that lead a worker past every call it makes to its store.

What a step's body and a step's return leave in the file of calls tells whether a recorded step was called again.
"""

import asyncio
import os

from outlast import Context, Fail, Outlast, Retry
from outlast.errors import SignalTimeout
from outlast.stores import open_store
from torture.crew.app import note
from torture.failing.store import failing

LEASE = 1.5

app = Outlast(
    failing(open_store(os.environ["OUTLAST_STORE"])) if "OUTLAST_STORE" in os.environ else None,
    lease=LEASE,
    grace=1.0,
    concurrency=50,
)


async def remembered(ctx: Context, number: int) -> int:
    async def body(number: int) -> int:
        note(ctx.job.id, "called", number)
        ctx.write(f"{number}.")
        await asyncio.sleep(0.02)
        return number * number

    value = await ctx.step(f"step {number}", body, number)
    note(ctx.job.id, "returned", number)
    return value


@app.handler(retries=50, backoff=0)
async def streams(ctx: Context) -> list[int]:
    ctx.write("0 to 2: ")
    await asyncio.sleep(0.1)
    values = [await remembered(ctx, number) for number in range(3)]
    ctx.progress(90)
    return values


@app.handler(retries=50, backoff=0)
async def asks(ctx: Context) -> str:
    await remembered(ctx, 0)
    return str(await ctx.wait_for("go", timeout=60))


@app.handler(retries=50, backoff=0)
async def naps(ctx: Context) -> str:
    try:
        await ctx.wait_for("never", timeout=1.0)
    except SignalTimeout:
        return "slept"
    return "woken"


@app.handler(retries=50, backoff=0)
async def stumbles(ctx: Context) -> list[int]:
    """Its text is taken back, for the first attempt breaks off within a step."""

    async def breaks_off() -> int:
        ctx.write("thrown away")
        await asyncio.sleep(0.1)
        if ctx.attempt == 1:
            raise Retry("once more", after=0.1)
        ctx.write("kept")
        return 1

    first = await remembered(ctx, 0)
    return [first, await ctx.step("breaks off", breaks_off)]


@app.handler(retries=50, backoff=0)
async def fails(ctx: Context) -> None:
    raise Fail("as it should")


@app.handler(retries=50, backoff=0, deadline=2.5)
async def late(ctx: Context) -> None:
    """Parked before its deadline, by a worker that takes its time to start."""
    await ctx.wait_for("never")


@app.handler(retries=50, backoff=0)
async def goes_on(ctx: Context) -> None:
    """Until it is cancelled."""
    while True:
        ctx.write(".")
        await asyncio.sleep(0.02)


@app.handler(retries=50, backoff=0, keep=0.05)
async def brief(ctx: Context) -> None:
    """Removed as soon as it has ended."""


@app.handler(retries=50, backoff=0)
async def submits(ctx: Context) -> str:
    async def submit() -> str:
        child = await app.submit("streams", {}, idempotency_key=ctx.key)
        return child.id

    return await ctx.step("submit", submit)


@app.handler(retries=50, backoff=0)
async def stays(ctx: Context) -> int:
    """Until the last worker: every other hands it back."""
    await remembered(ctx, 0)
    while not os.path.exists(os.environ["CREW_CALLS"] + ".go"):
        await asyncio.sleep(0.01)
    return await remembered(ctx, 1)


@app.handler(retries=50, backoff=0)
async def held(ctx: Context, attempts: int) -> int:
    """Held for so many attempts, which only the death of their workers ends."""
    note(ctx.job.id, "held", ctx.attempt)
    while ctx.attempt <= attempts:
        await asyncio.sleep(0.01)
    return ctx.attempt
