"""One trial: a worker dies at a call to its store, the next ones bring every job to its end, and nothing is amiss.

before it   two workers were killed, so that it has jobs to take over, for the first and for the second time
it          gets jobs that lead it past each of its calls; is told to stop once they have ended
after it    workers that do not die, until one has ended the job that every other handed back
"""

import asyncio
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from outlast import JobNotFound, Outlast, Status
from outlast.job import Job
from outlast.stores.base import Query
from torture.crew.workers import Crew, until
from torture.failing.app import app as handlers
from torture.failing.store import KILLED
from torture.history import flaws

COMPLETED, FAILED, CANCELLED = Status.COMPLETED, Status.FAILED, Status.CANCELLED

ENDS: Mapping[str, tuple[Status, Any]] = {
    "streams": (COMPLETED, [0, 1, 4]),
    "delayed": (COMPLETED, [0, 1, 4]),
    "asks": (COMPLETED, "yes"),
    "naps": (COMPLETED, "slept"),
    "stumbles": (COMPLETED, [0, 1]),
    "fails": (FAILED, "handler_error"),
    "late": (FAILED, "deadline_exceeded"),
    "goes on": (CANCELLED, None),
    "submits": (COMPLETED, None),
    "stays": (COMPLETED, 1),
    "died once": (COMPLETED, None),
    "died twice": (COMPLETED, None),
    "died too often": (FAILED, "worker_died"),
    "cancelled in vain": (CANCELLED, None),
}
"""How each job ends: with this result, or this code."""


PATIENCE = 180.0
"""Seconds after which a trial counts as stuck, on a machine that is busy with others."""


class Point(NamedTuple):
    """Where a worker dies: at the nth of its calls from a site, `before` or `after` it reached the file."""

    when: str
    site: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.when} {self.site}, call {self.nth}"


@dataclass(slots=True)
class Outcome:
    """What came of a trial. `died` tells whether the point was reached; `calls` how often each site was."""

    died: bool = False
    flaws: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)


async def die_at(point: Point | None, folder: Path) -> Outcome:
    """Run one trial in an empty folder; without a point nobody dies, and all sites are noted."""
    outcome, notes = Outcome(), folder / "notes"
    fatal = {"FAIL_NOTES": str(notes)}
    if point is not None:
        fatal |= {"FAIL_AT": f"{point.when} {point.site}", "FAIL_NTH": str(point.nth)}
    with Crew(folder, app="torture.failing.app:app") as crew:
        async with Outlast(crew.url) as app:
            app.handlers = handlers.handlers
            scene = Scene(crew, app)
            try:
                await scene.before()
                outcome.died = await scene.play(fatal)
                outcome.flaws += [*scene.flaws, *await scene.amiss()]
            except TimeoutError as error:
                outcome.flaws += [f"stuck: {error}", crew.log()[-2000:]]
    outcome.calls = Counter(notes.read_text().splitlines() if notes.exists() else ())
    return outcome


class Scene:
    """The jobs of a trial, and the workers that come and go."""

    def __init__(self, crew: Crew, app: Outlast) -> None:
        self._crew, self._app = crew, app
        self._jobs: dict[str, Job[Any]] = {}
        self.flaws: list[str] = []

    async def before(self) -> None:
        """Two workers die with jobs in hand."""
        for name, retries in (("died twice", 50), ("died too often", 1), ("cancelled in vain", 50)):
            await self._submit(name, "held", {"attempts": 2}, retries=retries)
        await self._kill_once(held=3)
        await self._submit("died once", "held", {"attempts": 1})
        await self._kill_once(held=3 + 4)
        await self._app.cancel(self._jobs["cancelled in vain"])

    async def play(self, fatal: Mapping[str, str]) -> bool:
        """All the rest; True if the worker that was to die did."""
        for name in ENDS.keys() - self._jobs.keys() - {"delayed"}:
            await self._submit(name, name.replace(" ", "_"))
        await self._submit("delayed", "streams", delay=0.3)
        brief = await self._app.submit("brief")
        worker = first = self._crew.start(**fatal)
        async with self._others():
            while not await self._settled(brief):
                worker = self._living(worker)
                await asyncio.sleep(0.02)
        await until(lambda: self._is_up(worker), "the worker is up", PATIENCE)
        code = await self._stop(worker)
        if code != 0 and worker is not first:
            self.flaws.append(f"told to stop, the worker ended with {code}")
        self._crew.go()
        last = self._crew.start()
        await until(self._all_ended, "every job has ended", PATIENCE)
        if code := await self._stop(last):
            self.flaws.append(f"told to stop, the last worker ended with {code}")
        return first.returncode == KILLED

    async def amiss(self) -> list[str]:
        """What is wrong with the jobs once all have ended."""
        found = []
        for name, job in self._jobs.items():
            now = await self._app.get(job)
            log, steps = await self._app.log(job.id), await self._app.steps(job.id)
            told = now.result if now.status is COMPLETED else now.last_error.code if now.last_error else None
            status, expected = ENDS[name]
            if now.status is not status or (expected is not None and told != expected):
                found.append(f"{name}: it is {now.status} with {told!r}, not {status} with {expected!r}")
            found += [f"{name}: {flaw}" for flaw in flaws(now, log, steps)]
        found += self._called_again()
        children = await self._app.find(Query(type="streams", limit=200))
        if len(children) != 3:
            found.append(
                f"there are {len(children)} jobs of type streams instead of 3: one was submitted twice, or lost"
            )
        return found

    # -- the parts ----------------------------------------------------------------------------------------------------

    async def _submit(self, name: str, type: str, payload: Mapping[str, Any] | None = None, **options: Any) -> None:
        self._jobs[name] = await self._app.submit(type, payload or {}, **options)

    async def _kill_once(self, held: int) -> None:
        worker = self._crew.start()
        await until(lambda: self._are(held), "the worker holds its jobs", PATIENCE)
        self._crew.kill(worker)

    async def _are(self, held: int) -> bool:
        return sum(words[0] == "held" for calls in self._crew.calls().values() for words in calls) >= held

    def _living(self, worker: "subprocess.Popen[bytes]") -> "subprocess.Popen[bytes]":
        if worker.poll() is None:
            return worker
        if worker.returncode != KILLED:
            self.flaws.append(f"a worker ended by itself with {worker.returncode}")
        return self._crew.start()

    async def _is_up(self, worker: "subprocess.Popen[bytes]") -> bool:
        """It is at work, or has ended. Told to stop before it listens for that, it would end as a process does."""
        return worker.poll() is not None or worker.pid in {info.pid for info in await self._app.workers()}

    async def _stop(self, worker: "subprocess.Popen[bytes]") -> int:
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(worker.wait, PATIENCE)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"a worker did not end within {PATIENCE} s of being told to") from None

    @asynccontextmanager
    async def _others(self) -> AsyncIterator[None]:
        """Callers who signal and cancel."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._signal(self._jobs["asks"]))
            group.create_task(self._cancel(self._jobs["goes on"]))
            yield

    async def _signal(self, job: Job[Any]) -> None:
        await until(lambda: self._is(job, Status.WAITING), "the job asks", PATIENCE)
        await self._app.signal(job, "go", "yes")

    async def _cancel(self, job: Job[Any]) -> None:
        # Long enough for its lease to be renewed.
        await until(lambda: self._wrote(job, events=20), "the job goes on", PATIENCE)
        await self._app.cancel(job)

    async def _wrote(self, job: Job[Any], events: int) -> bool:
        return (await self._app.get(job)).seq >= events

    async def _is(self, job: Job[Any], status: Status) -> bool:
        return (await self._app.get(job)).status is status

    async def _settled(self, brief: Job[Any]) -> bool:
        """All jobs have ended but the one that stays, and the brief one is gone."""
        try:
            await self._app.get(brief)
        except JobNotFound:
            live = [type for (type, status), n in (await self._app.count()).items() if not status.ended]
            return live == ["stays"]
        return False

    async def _all_ended(self) -> bool:
        return all(status.ended for _, status in await self._app.count())

    def _called_again(self) -> Sequence[str]:
        found = []
        for id, lines in self._crew.calls().items():
            returned: set[str] = set()
            for word, number, *_ in lines:
                if word == "called" and number in returned:
                    found.append(f"{id}: step {number} was called again although it had been recorded")
                if word == "returned":
                    returned.add(number)
        return found
