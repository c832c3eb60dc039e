"""What the platform runs in the trial: an app without a worker. Each call of a step's body leaves a line in a file."""

import asyncio
import os

from outlast import Context, Outlast
from outlast.policy import Limits
from outlast.web.service import service

# Few at once, so that sweeps leave most of the work to the queue.
app = Outlast(concurrency=2, limits=Limits(stream=4.0), lease=float(os.environ.get("LEASE", "30")))


async def write(number: int, ctx: Context, seconds: float) -> int:
    note(ctx.job.id, number)
    for _ in range(WORDS):
        ctx.write(f"{number} ")
        await asyncio.sleep(seconds / WORDS)
    return number * number


WORDS = 3
"""That a step writes."""


def note(*words: object) -> None:
    """One line, in one write, so that the lines of several processes do not mix."""
    line = " ".join(map(str, words)) + "\n"
    fd = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


@app.handler(retries=50, backoff=0, steps=["write"])
async def report(ctx: Context, steps: int, seconds: float) -> list[int]:
    return [await ctx.step("write", write, number, ctx, seconds) for number in range(steps)]


api = service(app, worker=False)
