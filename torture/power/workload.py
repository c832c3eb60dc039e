"""What is recorded: an app that submits, works, cancels, signals and deletes, and says what was acknowledged to it.

python -m torture.power.workload drive SEED     all of it, with a worker in the same process and for a while in a second
python -m torture.power.workload work           that second one
"""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from random import Random
from typing import Any

from outlast import Context, JobConflict, Outlast, Retry
from outlast.job import Job
from torture.power.facts import told
from torture.power.recording import say

app = Outlast(os.environ.get("WORKLOAD_STORE"), concurrency=20, lease=1.5, grace=0.2)

TYPES = ("stepped", "stepped", "asks", "goes_on", "brief")
PATIENCE = 240.0
"""Seconds, on a machine that is busy with others, after which the workload counts as stuck."""
HEAVY_EVERY = 8
"""Of so many seeds, one writes more than the log takes before it is brought into the file."""


async def remembered(ctx: Context, name: str, value: Any) -> Any:
    """A step; once it is recorded, that is said."""

    async def work(value: Any) -> Any:
        ctx.write(f"{name} ")
        await asyncio.sleep(0.002)
        return value

    value = await ctx.step(name, work, value)
    say("step", ctx.job.id, name, value)
    return value


@app.handler(backoff=0.05)
async def stepped(ctx: Context, size: int, filling: str) -> str:
    for number in range(3):
        await remembered(ctx, f"step {number}", number)
        ctx.progress(30 * number, "on its way")
    if ctx.attempt == 1:
        raise Retry("once more", after=0.02)
    return filling[:1] * size


@app.handler
async def asks(ctx: Context, filling: str) -> str:
    await remembered(ctx, "before", filling)
    answer = await ctx.wait_for("go", timeout=2.0)
    say("step", ctx.job.id, "wait_for go", {"value": answer})
    return str(answer)


@app.handler
async def goes_on(ctx: Context) -> None:
    """Until it is cancelled, or somebody else's patience ends."""
    for number in range(100):
        ctx.write(f"{number} ")
        await asyncio.sleep(0.02)


@app.handler(keep=0.05)
async def brief(ctx: Context) -> None:
    """Removed by the sweep as soon as it has ended."""
    await remembered(ctx, "only", 1)
    say("leaving", ctx.job.id)


async def drive(seed: int) -> None:
    """Waves of jobs at once, so that commits are shared; a second process is there for the middle ones."""
    chance = Random(seed)
    width = chance.choice((1, 4, 12))
    largest = chance.choice((200, 2_000, 20_000))
    async with asyncio.timeout(PATIENCE), app.lifespan():
        for wave in range(4):
            second = await start_second() if wave in (1, 2) else None
            await asyncio.gather(*(one(Random(chance.random()), largest) for _ in range(width)))
            if second is not None:
                second.send_signal(chance.choice((signal.SIGKILL, signal.SIGTERM)))
                await asyncio.to_thread(second.wait)
        if seed % HEAVY_EVERY == 0:
            await asyncio.gather(*(one(Random(chance.random()), 300_000, "stepped") for _ in range(80)))
    if chance.random() < 0.5:
        # Closed, the file is as small as it gets; then it all begins anew.
        async with app.lifespan():
            await asyncio.gather(*(one(Random(chance.random()), 200) for _ in range(width)))


async def start_second() -> "subprocess.Popen[bytes]":
    second = subprocess.Popen([sys.executable, "-m", "torture.power.workload", "work"])
    while second.pid not in {worker.pid for worker in await app.workers()}:
        if second.poll() is not None:
            raise RuntimeError(f"the second process ended by itself with {second.returncode}")
        await asyncio.sleep(0.01)
    return second


async def one(chance: Random, largest: int, type: str | None = None) -> None:
    """One job from its submit to its end, sometimes to its removal."""
    job = await submitted(chance, type or chance.choice(TYPES), largest)
    following = asyncio.create_task(followed(job))
    if job.type == "goes_on":
        await asyncio.sleep(chance.uniform(0, 0.2))
        asked = await app.cancel(job)
        say("cancelled", asked.id)
    if job.type == "asks":
        await asyncio.sleep(chance.uniform(0, 0.1))
        with suppress(JobConflict):
            # The second is one too many if the job has ended by then.
            for number in range(2):
                await app.signal(job, "go", number, key=f"key {number}")
                say("signal", job.id, "go", number)
    await following
    if job.type != "brief":
        ended = await app.get(job)
        say("ended", job.id, ended.status, ended.result_json)
        if chance.random() < 0.2:
            say("leaving", job.id)
            await app.delete(job)
            say("gone", job.id)


async def submitted(chance: Random, type: str, largest: int) -> Job[Any]:
    filling = chance.choice("abcdef") * chance.randint(1, largest)
    payload: dict[str, Any] = {}
    if type == "stepped":
        payload = {"size": chance.randint(1, largest), "filling": filling}
    elif type == "asks":
        payload = {"filling": filling[:500]}
    text = app.handlers[type].encode(payload)
    job, _ = await app.submit_json(type, text, owner=chance.choice((None, "ann", "bob")))
    say("submitted", job.id, text)
    return job


async def followed(job: Job[Any]) -> None:
    async for event in app.follow(job):
        say("event", job.id, told(event))


async def work() -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    async with app.lifespan():
        await told.wait()


if __name__ == "__main__":
    asyncio.run(work() if sys.argv[1] == "work" else drive(int(sys.argv[2])))
