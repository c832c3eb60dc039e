"""What the platform of the tests runs: an app without a worker, and one without Outlast."""

import asyncio
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from outlast import Context, Outlast
from outlast.policy import Limits
from outlast.web.service import service

NOTES = Path(os.environ.get("NOTES", "notes"))
"""Where what really happened is written down, by whichever process."""

app = Outlast(limits=Limits(stream=4.0), lease=float(os.environ.get("LEASE", "30")))


def note(words: str) -> None:
    with NOTES.open("a") as file:
        file.write(f"{words}\n")


async def write_one(number: int, seconds: float) -> str:
    note(f"step {number}")
    context = Context.current()
    assert context is not None
    for word in ("so", "it", "goes"):
        context.write(f"{word} {number} ")
        await asyncio.sleep(seconds / 3)
    return f"so {number} it {number} goes {number} "


@app.handler
async def report(ctx: Context, steps: int, seconds: float) -> int:
    note("slice")
    return len([await ctx.step("write", write_one, number, seconds) for number in range(steps)])


api = service(app, worker=False)


async def set_goal(request: Request) -> PlainTextResponse:
    note("processing")
    asyncio.get_running_loop().create_task(reach_goal())
    return PlainTextResponse("accepted", 202)


async def reach_goal() -> None:
    await asyncio.sleep(0.5)
    note("completed")


forgetful = Starlette(routes=[Route("/goals", set_goal, methods=["POST"])])
"""Fire and forget: what goes on beside the answer dies with it."""
