"""The app that the commands are tried on: each handler ends as its test wants it to."""

import asyncio
import logging
import os
from pathlib import Path

from outlast import Context, Fail, Outlast

app = Outlast()


@app.handler
async def greet(ctx: Context, name: str, times: int = 3) -> str:
    for number in range(times):
        await ctx.step(f"part {number}", said, number)
        ctx.write(f"Hello {name}, {number}\n")
        ctx.progress(100 * number / times, f"said {number}")
    return f"Hello {name}"


async def said(number: int) -> int:
    return number


@app.handler
async def fail(ctx: Context, why: str) -> None:
    logging.getLogger("shop").warning("about to fail: \x1b[31m%s", why)
    raise Fail(why, advice="try another")


@app.handler
async def hold(ctx: Context, gate: str) -> dict[str, int]:
    """Runs until the file `gate` is there; each slice leaves its process id in a file beside it."""
    await ctx.step("before", said, 1)
    ctx.write("waiting\n")
    with Path(gate).with_suffix(".slices").open("a") as slices:
        slices.write(f"{os.getpid()}\n")
    while not os.path.exists(gate):
        await asyncio.sleep(0.01)
    ctx.write("through\n")
    return {"attempt": ctx.attempt}
