"""On AWS Lambda, with calls that fail by the dozen, every job comes to its end, once."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from outlast import Context, Outlast
from outlast.job import Job
from outlast.push import SQS
from tests.push.environments import Lambda
from tests.push.lambdas import FATES
from tests.push.queues import Queue, of_nobody_else, queues

pytestmark = pytest.mark.usefixtures("on_aws")

JOBS, STEPS, SEED = 200, 3, 20261126
WELL = 0.6
"""How many of the calls nothing happens in."""


@pytest.fixture
async def both(sqs: str) -> AsyncIterator[tuple[Queue, Queue]]:
    async with queues(sqs, hides=2, receives=100) as both:
        yield both


@pytest.fixture
async def app(tmp_path: Path, both: tuple[Queue, Queue]) -> AsyncIterator[Outlast]:
    """What submits and looks."""
    app = Outlast(f"sqlite:///{tmp_path}/jobs.db", push=SQS(both[0].url))

    @app.handler(retries=50)
    async def count(ctx: Context, to: int) -> list[int]:
        raise NotImplementedError

    async with app:
        yield app


@pytest.fixture
async def function(tmp_path: Path, both: tuple[Queue, Queue]) -> AsyncIterator[Lambda]:
    settings = {"OUTLAST_STORE": f"sqlite:///{tmp_path}/jobs.db", "OUTLAST_PUSH": f"sqs:{both[0].url}", "LEASE": "1.5"}
    async with Lambda("tests.push.lambdas:handler", of_nobody_else(os.environ) | settings, limit=60) as function:
        yield function


@pytest.mark.slow
async def test_two_hundred_jobs_end_once_each_though_the_store_is_away_and_processes_die(
    app: Outlast, both: tuple[Queue, Queue], function: Lambda
) -> None:
    queue, dead = both
    chance = random.Random(SEED)

    async def invoke(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return await function.invoke(event, "" if chance.random() < WELL else chance.choice(FATES))

    jobs = await asyncio.gather(*(app.submit("count", {"to": STEPS}) for _ in range(JOBS)))
    async with asyncio.timeout(100):
        await asyncio.gather(*(_poll(app, queue, invoke) for _ in range(3)))
    assert all(function.counts[fate] > 0 for fate in FATES), function.counts
    ended = [await app.get(job) for job in jobs]
    assert {(job.status.value, tuple(job.result or ())) for job in ended} == {("completed", tuple(range(STEPS)))}
    assert [job.id for job in ended if await _ends(app, job) != 1] == []
    assert await dead.count() == 0

    # Every message once more, in any order: all of them are late by now.
    chance.shuffle(queue.taken)
    for start in range(0, len(queue.taken), 50):
        assert await function.invoke({"Records": queue.taken[start : start + 50]}) == {"batchItemFailures": []}
    assert [await app.get(job) for job in jobs] == ended


async def _poll(app: Outlast, queue: Queue, invoke: Any) -> None:
    while not all(status.ended for _, status in await app.count()):
        await queue.deliver(invoke, most=5, wait=1)


async def _ends(app: Outlast, job: Job[Any]) -> int:
    return sum(event.is_end for event in await app.events(job.id))
