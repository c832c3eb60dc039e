"""What jobs of five minutes cost on each platform: `python -m torture.serverless.costs`

The app of examples/deploy runs on the platform of the trials, called by its queue, in functions that live as long as
the budget of each guide allows. Calls, publishes and the time that functions live are counted, and told for 1,000 jobs.
"""

import asyncio
import os
import tempfile
from typing import NamedTuple

import httpx2

from torture.serverless.platform import ROOT, Platform
from torture.serverless.queue import Queue

JOBS, STEPS, STEP = 5, 30, 10.0
"""Jobs of so many steps, each of so many seconds."""


class Guide(NamedTuple):
    """A platform of the guides: seconds that a call may take by its setting, and bytes that a function has there."""

    name: str
    budget: float
    memory: float


GIB = 1 << 30
GUIDES = (
    Guide("functions of 60 s", 55, 0.5),
    Guide("Vercel, 300 s", 280, 2.0),
    Guide("Lambda and SQS, 900 s", 840, 0.25),
)


class Cost(NamedTuple):
    """Of all jobs of a trial."""

    guide: Guide
    calls: int
    publishes: int
    seconds: float
    peak: int


async def main() -> None:
    costs = await asyncio.gather(*map(measured, GUIDES))
    print(f"for 1,000 jobs of {STEPS * STEP / 60:g} min ({STEPS} steps of {STEP:g} s), from {JOBS} of each:")
    for guide, calls, publishes, seconds, peak in costs:
        each = 1000 / JOBS
        print(
            f"{guide.name}: {calls * each:,.0f} calls, {publishes * each:,.0f} publishes, {seconds * each:,.0f} s, "
            f"{seconds * each * guide.memory:,.0f} GB-s at {guide.memory:g} GB; a function takes {peak >> 20} MiB"
        )


async def measured(guide: Guide) -> Cost:
    """What so many jobs cost, all at once."""
    with tempfile.TemporaryDirectory(prefix="outlast-costs-") as folder:
        environ = dict(os.environ, OUTLAST_STORE=f"sqlite:///{folder}/jobs.db", PYTHONPATH=str(ROOT / "src"))
        home = ROOT / "examples" / "deploy" / "vercel"
        async with (
            Queue("token", "key") as queue,
            Platform("api.index:app", environ, limit=guide.budget + 10, at_once=JOBS, folder=home) as platform,
            httpx2.AsyncClient(base_url=platform.url, timeout=60, trust_env=False) as client,
        ):
            environ |= {
                "OUTLAST_PUSH": f"qstash:{platform.url}?budget={guide.budget:g}s",
                "QSTASH_URL": queue.url,
                "QSTASH_TOKEN": queue.token,
                "QSTASH_CURRENT_SIGNING_KEY": queue.key,
            }
            await asyncio.gather(*(submitted(client) for _ in range(JOBS)))
            # None of what the queue has called has ended by now.
            submits = platform.seconds
            await queue.idle()
            await platform.idle()
            calls, seconds = platform.counts["calls"] - JOBS, platform.seconds - submits
            return Cost(guide, calls, queue.counts["published"], seconds, platform.peak)


async def submitted(client: httpx2.AsyncClient) -> None:
    payload = {"goal": "learn to sail", "tasks": STEPS, "seconds": STEP}
    answer = await client.post("/jobs", json={"type": "plan", "payload": payload})
    answer.raise_for_status()


if __name__ == "__main__":
    asyncio.run(main())
