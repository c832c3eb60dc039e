"""The smallest function that is measured: one handler, a push, the service. The environment names push and store."""

import asyncio

from outlast import Context, Outlast
from outlast.web.service import service

app = Outlast()


@app.handler(steps=["work"])
async def work(ctx: Context, steps: int, seconds: float) -> int:
    for _ in range(steps):
        await ctx.step("work", worked, seconds)
    return steps


async def worked(seconds: float) -> None:
    await asyncio.sleep(seconds)


api = service(app, worker=False)
