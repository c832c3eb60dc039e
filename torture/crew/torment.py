"""Workers that are killed and paused while they hold jobs, again and again; afterwards nothing is lost or doubled."""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from subprocess import Popen
from typing import Any

from outlast import Outlast, Status
from outlast.errors import StoreUnavailable
from outlast.job import Event, Job, Step
from outlast.output import text
from outlast.stores import open_store
from torture.crew.app import app as crew_app
from torture.crew.workers import Crew, until
from torture.history import flaws

WORKERS, PAUSE_EVERY = 4, 2

BACKLOG = 60
"""Jobs that may be live before the next worker is killed: those that hold up others are killed no more often for it."""

STEPS = 3
CHUNK = 200


@asynccontextmanager
async def asking(crew: Crew) -> AsyncIterator[Outlast]:
    """The app of a crew without a worker, to submit and to look."""
    async with Outlast(crew.url) as app:
        app.handlers = crew_app.handlers
        yield app


@dataclass(slots=True)
class Damage:
    """What the torment did, and what came of it; times in seconds."""

    jobs: int = 0
    kills: int = 0
    pauses: int = 0
    pauses_amid_commits: int = 0
    submits_again: int = 0
    takeovers: int = 0
    stale_writes_refused: int = 0
    extra_attempts: int = 0
    extra_calls: int = 0
    recoveries: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Death:
    """A job was in the hands of a worker that was killed at this time."""

    job: Job[Any]
    at: float


class Torment:
    """Kills workers of a crew.

    Parameters
    ----------
    app: asks the store that the crew works on.
    seconds: how long a step takes at most.
    workers: that are alive at any time, those that are paused apart.
    pause_every: of so many workers that are killed, one is first paused past its lease and let go on.
    pause: seconds after which it goes on although nobody has taken its jobs.
    """

    def __init__(
        self,
        crew: Crew,
        app: Outlast,
        seed: int,
        *,
        seconds: float,
        workers: int = WORKERS,
        pause_every: int = PAUSE_EVERY,
        pause: float = 6.0,
    ) -> None:
        self._crew, self._app, self._seconds = crew, app, seconds
        self._workers, self._pause_every, self._pause_for = workers, pause_every, pause
        self._store = open_store(crew.url)
        self._chance = Random(seed)
        self._ids: list[str] = []
        self._deaths: list[Death] = []
        self._paused: set[int] = set()
        self.damage = Damage()

    async def run(self, *, kills: int, jobs: int) -> Damage:
        """Submit so many jobs and meanwhile kill so many workers; then look at every job.

        Raises TimeoutError if it does not get on.
        """
        for _ in range(self._workers):
            self._crew.start()
        async with self._store, asyncio.TaskGroup() as group:
            for number in range(kills):
                await self._submit(jobs * (number + 1) // kills - len(self._ids))
                victim, held = await self._victim()
                if number % self._pause_every == 0:
                    self._paused.add(victim.pid)
                    group.create_task(self._pause(victim, held))
                else:
                    self._kill(victim, held)
                self._crew.start()
        await until(self._all_ended, "every job ends", patience=300)
        await self._examine()
        return self.damage

    async def _submit(self, count: int) -> None:
        keys = [f"job-{len(self._ids) + number}" for number in range(count)]
        self._ids += await asyncio.gather(*map(self._submitted, keys))

    async def _submitted(self, key: str) -> str:
        while True:
            try:
                payload = {"seconds": self._seconds}
                return (await self._app.submit("three_steps", payload, idempotency_key=key)).id
            except StoreUnavailable:
                # One that is paused as it takes the file's lock keeps all others out; with the key it is the same job.
                self.damage.submits_again += 1

    # -- kills and pauses ---------------------------------------------------------------------------------------------

    async def _victim(self) -> tuple["Popen[bytes]", list[Job[Any]]]:
        """A worker that lives and holds jobs, and these."""
        while True:
            await until(self._busy, "jobs are being processed, and not too many wait", patience=120)
            await asyncio.sleep(self._chance.uniform(0.0, 0.2))
            if held := await self._holdings():
                pid = self._chance.choice(sorted(held))
                return next(worker for worker in self._crew.workers if worker.pid == pid), held[pid]

    async def _holdings(self) -> dict[int, list[Job[Any]]]:
        pids = {info.id: info.pid for info in await self._app.workers()}
        living = {worker.pid for worker in self._crew.workers} - self._paused
        held: dict[int, list[Job[Any]]] = {}
        for job in await self._app.list(status=Status.PROCESSING, limit=200):
            pid = pids.get(job.worker or "")
            if pid in living:
                held.setdefault(pid, []).append(job)
        return held

    def _kill(self, victim: "Popen[bytes]", held: Sequence[Job[Any]]) -> None:
        self._deaths += [Death(job, time.time()) for job in held]
        self._crew.kill(victim)
        self.damage.kills += 1

    async def _pause(self, victim: "Popen[bytes]", held: Sequence[Job[Any]]) -> None:
        """Stop it until its leases are out and its jobs elsewhere; let it go on until it has heard of one of them."""
        logged = self._crew.logged
        await self._stop(victim)
        still = [job for job in held if (await self._app.get(job.id)).lease == job.lease]
        with suppress(TimeoutError):
            await until(lambda: self._are_elsewhere(still), "all its jobs are elsewhere", self._pause_for)
        victim.send_signal(signal.SIGCONT)
        if lost := await self._taken_over(still):
            await self._hears(lost, logged)
            self.damage.pauses += 1
        self._kill(victim, [])
        self._paused.discard(victim.pid)

    async def _stop(self, victim: "Popen[bytes]") -> None:
        """Pause the worker, and not amid a transaction: as long as it has the file's lock, nobody can take over."""
        while True:
            victim.send_signal(signal.SIGSTOP)
            try:
                async with asyncio.timeout(0.5):
                    await self._store.put("torment", {}, ttl=60)
                return
            except TimeoutError:
                self.damage.pauses_amid_commits += 1
                victim.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.02)

    async def _hears(self, lost: Sequence[Job[Any]], logged: int) -> None:
        """Wait until the paused worker has heard of one of these. Raises TimeoutError with what was logged of them."""
        ids = "|".join(job.id for job in lost)
        lines = "|".join(f"{job.id} .* attempt {job.attempt} (lost its lease|broke off)" for job in lost)
        try:
            await until(lambda: self._said(lines, logged), "a paused worker hears that its leases are lost", 60)
        except TimeoutError as error:
            found = [line for line in self._crew.log(logged).splitlines() if re.search(ids, line)]
            raise TimeoutError("\n".join([str(error), *found])) from None

    async def _are_elsewhere(self, jobs: Sequence[Job[Any]]) -> bool:
        return len(await self._taken_over(jobs)) == len(jobs)

    async def _taken_over(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        """Those whose worker has been counted as dead since; not told by the lease, for some may just have ended."""
        now = await self._store.get([job.id for job in jobs])
        return [job for job, found in zip(jobs, now, strict=True) if found is not None and found.deaths > job.deaths]

    async def _said(self, words: str, since: int) -> bool:
        self._crew.check()
        return self._crew.said(words, since) > 0

    async def _busy(self) -> bool:
        self._crew.check()
        count = {status: number for (_, status), number in (await self._app.count()).items() if not status.ended}
        return Status.PROCESSING in count and sum(count.values()) < BACKLOG

    async def _all_ended(self) -> bool:
        return all(status.ended for _, status in await self._app.count())

    # -- what came of it ----------------------------------------------------------------------------------------------

    async def _examine(self) -> None:
        damage, calls = self.damage, self._crew.calls()
        logs: dict[str, list[Event]] = {}
        for start in range(0, len(self._ids), CHUNK):
            ids = self._ids[start : start + CHUNK]
            jobs = await asyncio.gather(*map(self._app.get, ids))
            its_logs = await asyncio.gather(*map(self._app.log, ids))
            its_steps = await asyncio.gather(*map(self._app.steps, ids))
            for job, log, steps in zip(jobs, its_logs, its_steps, strict=True):
                self._judge(job, log, steps)
                logs[job.id] = log
                damage.extra_attempts += job.attempt - 1
                damage.extra_calls += len(calls[job.id]) - STEPS
        damage.jobs = len(logs)
        if (there := sum((await self._app.count()).values())) != damage.jobs:
            damage.doubled.append(f"{damage.jobs} jobs were submitted, and there are {there}")
        damage.takeovers = self._crew.said("lease was taken over")
        damage.stale_writes_refused = self._crew.said("lost its lease")
        damage.recoveries = sorted(took for death in self._deaths for took in _recovery(death, logs[death.job.id]))

    def _judge(self, job: Job[Any], log: Sequence[Event], steps: Sequence[Step]) -> None:
        if (job.status, job.result) != (Status.COMPLETED, [0, 1, 4]):
            self.damage.lost.append(f"{job.id}: it is {job.status} with {job.result}")
        wrong = flaws(job, log, steps)
        if text(log) != "0.1.2.":
            wrong.append(f"its text is {text(log)!r}")
        if [step.name for step in steps] != [f"step {number}" for number in range(STEPS)]:
            wrong.append(f"its steps are {[step.name for step in steps]}")
        self.damage.doubled += [f"{job.id}: {flaw}" for flaw in wrong]


def _recovery(death: Death, log: Sequence[Event]) -> Iterator[float]:
    """Seconds from the death of the worker to the next attempt; none if the job ended in that moment."""
    for event in log:
        if event.type == "job.started" and event.attempt > death.job.attempt:
            yield max(event.time - death.at, 0.0)
            return
