"""Outlast on functions as it is measured: cold starts, calls to a warm one, and a job that is longer than they live."""

import asyncio
import json
import time

import httpx2

from bench import serverless_function
from bench.measured import Numbers, awaiting, run
from bench.serverless_calls import FIRST, HEALTH, KEY, NOWHERE, SITE, TOKEN, own_imports, run_of, settings, started
from bench.serverless_start import asked
from outlast import Context, Outlast, Status
from outlast.job import Job
from outlast.push import QStash
from outlast.web.service import service
from torture.serverless.platform import Platform
from torture.serverless.queue import Queue

app = Outlast()
handed_back: set[str] = set()
recorded = asyncio.Event()


@app.handler(steps=["same"])
async def resumed(ctx: Context, steps: int) -> None:
    """Stays where its steps are recorded, until it comes there again."""
    for number in range(steps):
        await ctx.step("same", same, number)
    if ctx.job.id not in handed_back:
        recorded.set()
        await asyncio.Event().wait()


async def same(number: int) -> int:
    return number


async def cold(url: str, starts: int) -> Numbers:
    """From the first line of a fresh process to the first byte of the answer to the call that has run a job."""
    function = serverless_function.app
    function.store = url
    async with function:
        jobs = [await serverless_function.work.submit(0, 0.0) for _ in range(FIRST + starts)]
        more = [await serverless_function.work.submit(0, 0.0) for _ in range(starts)]
    environ = settings(url)
    times = [started("ask", json.dumps(run_of(job)), environ) for job in jobs]
    return {
        "ms": times[FIRST:],
        "together": times[FIRST:],
        "own": [own_imports(run_of(job), environ) for job in more],
        "health": [started("ask", json.dumps(HEALTH), environ) for _ in range(starts)],
    }


async def warm(url: str, jobs: int, steps: int) -> Numbers:
    """Whole calls, each of which claims a job, loads the steps that it has on record, and ends it."""
    app.store = url
    async with app:
        begun = [await _begun(steps) for _ in range(FIRST + jobs)]
    # Not before, so that nobody is called for what the calls are to find.
    app.push = QStash(SITE, token=TOKEN, keys=[KEY], api=NOWHERE)
    api = service(app, worker=False)
    times = []
    async with app:
        for job in begun:
            request, began = run_of(job), time.perf_counter()
            times.append((await asked(api, request) - began) * 1000)
            if (await app.get(job.id)).status is not Status.COMPLETED:
                raise RuntimeError("a call has not ended its job")
    return {"ms": times[FIRST:]}


async def _begun(steps: int) -> Job[None]:
    """A job that has recorded so many steps, and was handed back."""
    job = await resumed.submit(steps)
    recorded.clear()
    slice = asyncio.create_task(app.run_slice(job, budget=60))
    await recorded.wait()
    handed_back.add(job.id)
    slice.cancel()
    await asyncio.wait([slice])
    return job


async def slices(url: str, steps: int, seconds: float, budget: float) -> Numbers:
    """How long a job takes whose slices each have a fresh process, by how long its steps take."""
    environ = settings(url)
    async with (
        Queue(TOKEN, KEY) as queue,
        Platform("bench.serverless_function:api", environ, limit=budget + 5) as platform,
        httpx2.AsyncClient(base_url=platform.url, timeout=60, trust_env=False) as http,
        Outlast(url) as reader,
    ):
        environ |= settings(url, site=platform.url, queue=queue.url, budget=budget)
        payload, began = {"steps": steps, "seconds": seconds}, time.monotonic()
        reply = await http.post("/jobs", json={"type": "work", "payload": payload})
        job = await reader.wait(reply.raise_for_status().json()["id"], timeout=4 * steps * seconds)
        took, counts = time.monotonic() - began, dict(platform.counts)
    if job.attempt != 1 or set(counts) != {"calls", "killed with the answer"}:
        raise RuntimeError(f"a slice was cut off: attempt {job.attempt}, {counts}")
    return {"share": took / (steps * seconds), "calls": counts["calls"]}


if __name__ == "__main__":
    run({command.__name__: awaiting(command) for command in (cold, warm, slices)})
