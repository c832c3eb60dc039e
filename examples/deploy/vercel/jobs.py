"""The jobs. This file is the same on every platform: the store and the push come from the environment."""

import asyncio

from outlast import Context, Outlast

app = Outlast()


@app.handler(retries=3, steps=["task"])
async def plan(ctx: Context, goal: str, tasks: int = 5, seconds: float = 2.0) -> list[str]:
    """Make tasks of a goal, one call of a model for each; what is written shows while the job runs."""
    return [await ctx.step("task", write_task, ctx, goal, number, seconds) for number in range(1, tasks + 1)]


async def write_task(ctx: Context, goal: str, number: int, seconds: float) -> str:
    """Your model is called here: once for each step, however often the process ends."""
    await asyncio.sleep(seconds)
    task = f"{number}. {goal}, part {number}"
    ctx.write(f"{task}\n")
    return task
