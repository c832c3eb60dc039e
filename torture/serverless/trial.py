"""A thousand jobs where processes are killed and frozen and calls go astray; then one that is longer than any function.

Half of the thousand run where each process is killed with its answer, half where it is frozen until the next request
comes; both on one PostgreSQL 18, on loopback, from its wheel. The queue loses, doubles and delays, processes are killed
or frozen past their leases in the middle of their work, somebody replays and forges calls, and a key is rolled. What
gets lost is found by a clock that sweeps.

The long job runs in functions of 10 s on a SQLite file that they share, and somebody reads its stream.
"""

import asyncio
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from outlast import Outlast, Status
from outlast.job import Event, Job, Step
from outlast.output import text
from outlast.push import QStash
from tests.stores import postgres_server
from tests.stores.postgres_ground import fresh
from torture.crew.workers import until
from torture.history import flaws
from torture.report import Report
from torture.serverless.app import WORDS
from torture.serverless.app import app as its_app
from torture.serverless.intruder import FORGERIES, Intruder
from torture.serverless.platform import Blow, Platform
from torture.serverless.queue import Fault, Queue
from torture.serverless.site import CURRENT, NEXT, SECRET, TOKEN, running, watched

APP = "torture.serverless.app:api"
JOBS, STEPS, SECONDS = 1_000, 5, (0.05, 0.4)
"""Jobs, their steps, and how long each step of a job takes: all of one job the same."""

SEED = 20261126
BUDGET, LIMIT, LEASE = 1.5, 15.0, 3.0
AT_ONCE, BACKLOG = 5, 8
"""Processes that run, and jobs that are live, at the same time, in each half."""

ODDS: Mapping[Fault, float] = {"lost": 0.05, "unanswered": 0.05, "doubled": 0.10, "late": 0.05}
LATE, SPREAD = LEASE + 1, 0.5
KILLED, FROZEN = 0.06, 0.06
"""How likely a process is struck. A blow comes within the first second; whoever has answered by then is spared."""

FREEZE = 8.0
"""Seconds; by then the lease is out, and a sweep has come by."""

SWEEP_EVERY = 3.0
REPLAYS, FORGES = 0.05, 0.10


@dataclass(slots=True)
class Toll:
    """What was done to the jobs, and what came of it."""

    jobs: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    def add(self, other: "Toll") -> None:
        self.jobs += other.jobs
        self.counts += other.counts
        for mine, its in zip(self._flaws, other._flaws, strict=True):
            mine += its

    @property
    def _flaws(self) -> tuple[list[str], ...]:
        return self.lost, self.doubled, self.accepted, self.stuck

    @property
    def failures(self) -> list[str]:
        return [flaw for flaws in self._flaws for flaw in flaws]


def run(fraction: float) -> Report:
    """Torment so many jobs, and run one that is so long."""
    began = time.monotonic()
    logging.disable()
    toll = asyncio.run(_all(fraction))
    return _report(toll, time.monotonic() - began)


async def _all(fraction: float) -> Toll:
    toll, half = Toll(), max(round(JOBS * fraction / 2), 1)
    with postgres_server.Server(postgres_server.wheel()) as server:
        halves = (torment(fresh(server.url()), warm=warm, jobs=half) for warm in (False, True))
        for its in await asyncio.gather(*halves):
            toll.add(its)
    toll.add(await long_job(seconds=3.0 * fraction, budget=max(9.0 * fraction, 2.2)))
    return toll


# -- many jobs, and everything goes wrong ---------------------------------------------------------------------------


async def torment(store: str, *, warm: bool, jobs: int) -> Toll:
    """Run so many jobs on a platform that kills its processes, or freezes them; then look at each."""
    toll, chance = Toll(jobs), Random(SEED + warm)
    with tempfile.TemporaryDirectory(prefix="outlast-serverless-") as name, Path(name, "log").open("wb") as log:
        folder, blow = Path(name), _blows(Random(chance.random()))
        settings: dict[str, Any] = {"limit": LIMIT, "at_once": AT_ONCE, "warm": warm, "blow": blow, "log": log}
        async with (
            Queue(TOKEN, CURRENT, odds=ODDS, late_by=LATE, spread=SPREAD, chance=Random(chance.random())) as queue,
            running(APP, folder, queue, store=store, budget=f"{BUDGET}s", **settings) as platform,
            _asking(platform, queue) as asking,
        ):
            platform.environ["LEASE"] = f"{LEASE}"
            hears = Random(chance.random())
            intruder = Intruder(queue, hears, replays=REPLAYS, forges=FORGES, patience=10)
            try:
                async with intruder, _swept(platform):
                    ids = await _submitted(asking, queue, jobs, chance)
                    await until(lambda: _all_ended(asking), "every job ends", patience=180, every=0.1)
                    await queue.idle()
                await platform.idle()
                await _examine(toll, asking, ids, folder)
            except TimeoutError as error:
                toll.stuck.append(f"STUCK: {error}\n{(folder / 'log').read_text(errors='replace')[-2000:]}")
            toll.counts += queue.counts + platform.counts + intruder.counts
            toll.accepted += intruder.accepted
    return toll


def _blows(chance: Random) -> Callable[[], Blow | None]:
    def blow() -> Blow | None:
        drawn, after = chance.random(), chance.random()
        if drawn < KILLED:
            return Blow(after)
        return Blow(after, FREEZE) if drawn < KILLED + FROZEN else None

    return blow


@asynccontextmanager
async def _asking(platform: Platform, queue: Queue) -> AsyncIterator[Outlast]:
    """The app as the trial itself has it, to submit and to look."""
    push = QStash(platform.url, token=TOKEN, keys=[CURRENT], api=queue.url, budget=BUDGET)
    app = Outlast(platform.environ["OUTLAST_STORE"], push=push)
    app.handlers = its_app.handlers
    async with app:
        yield app


@asynccontextmanager
async def _swept(platform: Platform) -> AsyncIterator[None]:
    """A clock calls every few seconds, whether or not its last call is over."""
    headers = {"Authorization": f"Bearer {SECRET}"}
    calls: set[asyncio.Task[None]] = set()

    async def call(http: httpx2.AsyncClient) -> None:
        with suppress(httpx2.HTTPError):
            await http.post("/push/sweep", headers=headers)

    async def tick(http: httpx2.AsyncClient) -> None:
        while True:
            calls.add(asyncio.create_task(call(http)))
            await asyncio.sleep(SWEEP_EVERY)

    async with httpx2.AsyncClient(base_url=platform.url, timeout=None, trust_env=False) as http:
        ticking = asyncio.create_task(tick(http))
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, *calls, return_exceptions=True)


async def _submitted(app: Outlast, queue: Queue, jobs: int, chance: Random) -> list[str]:
    ids: list[str] = []
    while len(ids) < jobs:
        await until(lambda: _has_room(app), "jobs end, so that others may follow", patience=120, every=0.1)
        if len(ids) >= jobs / 2:
            queue.key = NEXT
        for _ in range(min(BACKLOG - await _live(app), jobs - len(ids))):
            payload = {"steps": STEPS, "seconds": chance.uniform(*SECONDS)}
            ids.append((await app.submit("report", payload)).id)
    return ids


async def _live(app: Outlast) -> int:
    return sum(number for (_, status), number in (await app.count()).items() if not status.ended)


async def _has_room(app: Outlast) -> bool:
    return await _live(app) < BACKLOG


async def _all_ended(app: Outlast) -> bool:
    return await _live(app) == 0


async def _examine(toll: Toll, app: Outlast, ids: list[str], folder: Path) -> None:
    calls = Counter(line.split()[0] for line in (folder / "notes").read_text().splitlines())
    for id in ids:
        job, log, steps = await asyncio.gather(app.get(id), app.log(id), app.steps(id))
        judge(toll, job, log, steps)
        toll.counts["slices"] += sum(event.type == "job.started" for event in log)
        toll.counts["takeovers"] += job.deaths
        toll.counts["extra calls of a step"] += calls[id] - STEPS
    if (there := sum((await app.count()).values())) != len(ids):
        toll.doubled.append(f"{len(ids)} jobs were submitted, and there are {there}")
    toll.counts["stale writes refused"] += (folder / "log").read_text(errors="replace").count("lost its lease")


def judge(toll: Toll, job: Job[Any], log: list[Event], steps: list[Step]) -> None:
    if (job.status, job.result) != (Status.COMPLETED, [number * number for number in range(STEPS)]):
        toll.lost.append(f"{job.id}: it is {job.status} with {job.result}")
    wrong = flaws(job, log, steps)
    if text(log) != _written(STEPS):
        wrong.append(f"its text is {text(log)!r}")
    if len(steps) != STEPS:
        wrong.append(f"it has {len(steps)} steps")
    toll.doubled += [f"{job.id}: {flaw}" for flaw in wrong]


def _written(steps: int) -> str:
    return "".join(f"{number} " * WORDS for number in range(steps))


# -- one job that is longer than any function -----------------------------------------------------------------------

LONG = 30
"""Steps."""


async def long_job(*, seconds: float, budget: float) -> Toll:
    """Run a job of many steps, each of so many seconds, and read it as it goes."""
    toll = Toll()
    with tempfile.TemporaryDirectory(prefix="outlast-serverless-") as name:
        async with (
            Queue(TOKEN, CURRENT) as queue,
            running(APP, Path(name), queue, budget=f"{budget}s") as platform,
            httpx2.AsyncClient(base_url=platform.url, timeout=60, trust_env=False) as http,
        ):
            body = {"type": "report", "payload": {"steps": LONG, "seconds": seconds}}
            job = (await http.post("/jobs", json=body)).raise_for_status().json()
            seen = await watched(http, job["urls"]["events"])
            output = (await http.get(f"{job['urls']['self']}/output")).raise_for_status().text
            ended = (await http.get(job["urls"]["self"])).raise_for_status().json()
        deltas = "".join(frame.data["text"] for frame in seen if frame.event == "job.output.delta")
        numbers = [int(frame.id or 0) for frame in seen]
        calls = Path(name, "notes").read_text().splitlines()
        toll.doubled += flaws_of_long(ended, deltas, output, numbers, calls)
    toll.counts["slices of the long job"] = sum(frame.event == "job.started" for frame in seen)
    return toll


def flaws_of_long(job: Any, deltas: str, output: str, numbers: list[int], calls: list[str]) -> Iterator[str]:
    of = f"the long job, {job['id']}"
    if (job["status"], job["attempt"]) != ("completed", 1):
        yield f"{of}: it is {job['status']} in attempt {job['attempt']}"
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"{of}: its events came as {numbers}"
    if not deltas == output == _written(LONG):
        yield f"{of}: its text is {output!r}, and was read as {deltas!r}"
    if calls != [f"{job['id']} {number}" for number in range(LONG)]:
        yield f"{of}: its steps were called as {calls}"


# -- the report -----------------------------------------------------------------------------------------------------

MET = {
    "calls made twice": "doubled",
    "publishes lost": "lost",
    "publishes whose answer was lost": "unanswered",
    "calls late by more than a lease": "late",
    "calls overtaken by later ones": "overtaken",
    "processes killed in the middle": "killed in the middle",
    "processes frozen in the middle": "frozen in the middle",
    "processes killed with their answer": "killed with the answer",
    "processes thawed for another request": "thawed",
    "leases taken over": "takeovers",
    "stale writes refused": "stale writes refused",
    "calls replayed": "replayed",
    "calls replayed in vain": "replayed in vain",
    **{f"calls forged {how}, and refused": f"forged {how}" for how in FORGERIES},
    "slices of the long job": "slices of the long job",
}
"""The faults that were met, and how they are counted."""


def _report(toll: Toll, seconds: float) -> Report:
    counts = toll.counts
    killed = counts["killed in the middle"] / max(counts["slices"], 1)
    return Report(
        name="serverless",
        unit="jobs",
        trials=toll.jobs,
        seeds=f"{SEED}..{SEED + 1}",
        seconds=seconds,
        processes=os.cpu_count() or 1,
        counters={words: counts[counted] for words, counted in MET.items()},
        figures={
            "slices, and processes killed in the middle of them": f"{counts['slices']:,}, {killed:.1%}",
            "extra calls of a step": f"{counts['extra calls of a step']:,} of {toll.jobs * STEPS:,}",
            "publishes taken for known ones": f"{counts['deduplicated']:,}",
            "lost": f"{len(toll.lost):,}",
            "recorded twice, or otherwise amiss": f"{len(toll.doubled):,}",
            "forged calls taken": f"{len(toll.accepted):,}",
        },
        failures=toll.failures,
    )
