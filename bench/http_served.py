"""What the HTTP suite puts on a socket, in a process of its own: `python -m bench.http_served outlast|starlette`.

Both by the same server with the same settings. Its first line is the URL. The Starlette app answers with what Outlast
answers, ready as JSON's values: less than that no service can do.
"""

import asyncio
import gc
import json
import os
import sys
import time
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from outlast import Context, Outlast
from outlast.principal import Principal
from outlast.web.server import config_of, listen, run, url_of
from outlast.web.service import service

app = Outlast()


@app.handler
async def noop(ctx: Context, n: int = 0) -> None: ...


@app.handler
async def beats(ctx: Context, count: int, seconds: float) -> None:
    """Tells the time, again and again, once it is told to and all have heard that it goes on."""
    await ctx.wait_for("go")
    await asyncio.sleep(2)
    for number in range(count):
        ctx.progress(number % 100, message=f"{time.monotonic():.6f}")
        await asyncio.sleep(seconds)


@app.handler
async def tokens(ctx: Context, count: int) -> float:
    """A thousand a second, if the loop is free; answers how many seconds they took."""
    await ctx.wait_for("go")
    began = time.monotonic()
    for number in range(count):
        ctx.write(f"token{number} ")
        await asyncio.sleep(max(0.0, began + number / 1000 - time.monotonic()))
    return time.monotonic() - began


def outlast(*, worker: bool) -> None:
    """With OWNER set, whoever asks is that owner."""
    owner = os.environ.get("OWNER")
    known = None if owner is None else lambda request: Principal(owner)
    run(service(app, worker=worker, authenticate=known), app, port=0, ready=_say)


def starlette() -> None:
    with listen("127.0.0.1", 0) as listening:
        _say(url_of(listening, "127.0.0.1"))
        uvicorn.Server(config_of(bare())).run([listening])


def bare() -> ASGIApp:
    """One route to take JSON and answer it, and two that answer what there is."""
    job, summary = asyncio.run(_answers())

    async def echo(request: Request) -> Response:
        return JSONResponse(await request.json(), 202)

    async def one(request: Request) -> Response:
        return JSONResponse(job)

    async def many(request: Request) -> Response:
        return JSONResponse(summary)

    return Starlette(
        routes=[Route("/jobs", echo, methods=["POST"]), Route("/jobs/summary", many), Route("/jobs/{id}", one)]
    )


async def _answers() -> tuple[Any, Any]:
    """A job and a summary, as Outlast shows them."""
    app.store = "memory://"
    transport = httpx2.ASGITransport(service(app, worker=False))
    async with app, httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        jobs = [(await http.post("/jobs", json={"type": "noop", "payload": {"n": n}})).json() for n in range(5)]
        return (await http.get(f"/jobs/{jobs[0]['id']}")).json(), (await http.get("/jobs/summary")).json()


def _say(url: str) -> None:
    print(json.dumps({"url": url}), flush=True)


if __name__ == "__main__":
    which, *options = sys.argv[1:]
    # As `outlast serve` does.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    starlette() if which == "starlette" else outlast(worker="--worker" in options)
