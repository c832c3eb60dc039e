"""Workers that die, pause and come back: nothing is lost, nothing recorded twice. Real processes on one file."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from outlast import Outlast, Status
from outlast.job import Event, Job
from outlast.output import text
from tests.processes.crew import app as crew_app
from tests.processes.ground import Crew, until


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    with Crew(tmp_path) as crew:
        yield crew


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Crew]:
    """Workers whose leases last two seconds."""
    with Crew(tmp_path, lease=2.0) as crew:
        yield crew


@asynccontextmanager
async def asking(crew: Crew) -> AsyncIterator[Outlast]:
    """The app without a worker, to submit and to look."""
    async with Outlast(crew.url) as app:
        app.handlers = crew_app.handlers
        yield app


async def test_five_parallel_steps_survive_a_kill(crew: Crew) -> None:
    async with asking(crew) as app:
        worker = crew.start()
        job = await app.submit("side_by_side")
        await until(lambda: recorded(app, job.id, 3), "three steps are recorded")
        crew.kill(worker)
        crew.go()
        crew.start()
        ended = await app.wait(job, 60)
    assert ended.result == [0, 1, 4, 9, 16]
    calls = sorted((int(number), int(attempt)) for number, attempt, _ in crew.calls()[job.id])
    assert calls == [(0, 1), (1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (4, 2)]


async def test_the_jobs_of_a_dead_worker_go_on_within_three_seconds(crew: Crew) -> None:
    async with asking(crew) as app:
        first, second = crew.start(), crew.start()
        await until(lambda: alive(app, 2), "two workers are there")
        job = await app.submit("writes_on")
        await until(lambda: noted(crew, job.id), "the job writes")
        holder = first if int(crew.calls()[job.id][0][2]) == first.pid else second
        crew.kill(holder)
        took = await until(lambda: ended(app, job.id), "another worker takes the job over")
    assert took < 3.0
    assert crew.said("is gone; its jobs go on elsewhere") == 1


async def test_a_worker_paused_past_its_lease_writes_nothing_when_it_comes_back(hasty: Crew) -> None:
    async with asking(hasty) as app:
        paused = hasty.start()
        job = await app.submit("writes_on")
        await until(lambda: noted(hasty, job.id), "the job writes")
        paused.send_signal(signal.SIGSTOP)
        hasty.start()
        done = await app.wait(job, 60)
        before = await whole_log(app, job.id)
        paused.send_signal(signal.SIGCONT)
        await until(lambda: said(hasty, "lost its lease"), "the paused worker hears that its lease is lost")
        after = await whole_log(app, job.id)
    assert (done.result, done.attempt) == ("second", 2)
    assert before == after
    assert text(after) == "second "
    assert after[-1].type == "job.completed"


async def test_a_job_that_kills_its_worker_runs_out_of_tries(crew: Crew) -> None:
    async with asking(crew) as app:
        job = await app.submit("poison")
        for _ in range(3):
            crew.start().wait()
        crew.start()
        done = await app.wait(job, 60)
    assert (done.status, done.attempt) == (Status.FAILED, 3)
    assert done.last_error is not None
    assert done.last_error.code == "worker_died"
    assert len(crew.calls()[job.id]) == 3


async def test_a_worker_told_to_stop_hands_back_and_burns_no_attempt(crew: Crew) -> None:
    async with asking(crew) as app:
        worker = crew.start()
        job = await app.submit("three_steps", {"seconds": 1.0})
        await until(lambda: noted(crew, job.id), "the job runs")
        worker.terminate()
        assert worker.wait() == 0
        handed_back = await app.get(job.id)
        assert (handed_back.status, handed_back.attempt) == (Status.QUEUED, 1)
        crew.start()
        done = await app.wait(job, 60)
    assert (done.result, done.attempt) == ([0, 1, 4], 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_fifty_kills_over_five_hundred_jobs_lose_none_and_record_none_twice(hasty: Crew) -> None:
    chance = Random(20261123)
    async with asking(hasty) as app:
        for _ in range(3):
            hasty.start()
        jobs = [await app.submit("three_steps", {"seconds": 1.0}) for _ in range(500)]
        killed, pauses = await torment(hasty, app, chance, kills=50)
        await until(lambda: all_ended(app), "every job ends", patience=200)
        found = [await app.get(job.id) for job in jobs]
        logs = [await whole_log(app, job.id) for job in jobs]
        for job, log in zip(found, logs, strict=True):
            check(job, log)
            steps = await app.steps(job.id)
            assert [(step.name, step.status) for step in steps] == [(f"step {n}", "completed") for n in range(3)]
    figures = {
        "jobs": len(found),
        "kills": killed,
        "pauses": pauses,
        "takeovers": hasty.said("lease was taken over"),
        "stale writes refused": hasty.said("lost its lease"),
        "attempts by death": sum(job.attempt - 1 for job in found),
    }
    print("; ".join(f"{name}: {number}" for name, number in figures.items()))
    assert all(figures.values()), figures


async def torment(crew: Crew, app: Outlast, chance: Random, kills: int) -> tuple[int, int]:
    """Kill a worker that holds jobs, again and again; every fifth is first paused past its lease and let go on."""
    killed = pauses = 0
    while killed < kills:
        await until(lambda: busy(app), "jobs are being processed")
        await anyio.sleep(chance.uniform(0.0, 0.2))
        held = await holdings(crew, app)
        if held:
            pid = chance.choice(sorted(held))
            victim = next(worker for worker in crew.workers if worker.pid == pid)
            if killed % 5 == 0:
                pauses += await pause(crew, app, victim, held[pid])
            crew.kill(victim)
            crew.start()
            killed += 1
    return killed, pauses


async def holdings(crew: Crew, app: Outlast) -> dict[int, list[Job[Any]]]:
    """The jobs in the hands of each worker process that lives."""
    pids = {info.id: info.pid for info in await app.workers()}
    living = {worker.pid for worker in crew.workers}
    held: dict[int, list[Job[Any]]] = {}
    for job in await app.list(status=Status.PROCESSING, limit=200):
        pid = pids.get(job.worker or "")
        if pid in living:
            held.setdefault(pid, []).append(job)
    return held


async def pause(crew: Crew, app: Outlast, victim: Any, held: list[Job[Any]]) -> int:
    """Stop a worker until its leases are out and its jobs elsewhere; let it go on until it has heard of one of them."""
    victim.send_signal(signal.SIGSTOP)
    still = [job for job in held if (await app.get(job.id)).lease == job.lease]
    with anyio.move_on_after(6):
        while not all([await taken_over(app, job) for job in still]):
            await anyio.sleep(0.05)
    victim.send_signal(signal.SIGCONT)
    # One stopped amid a transaction keeps the file locked for all, and so keeps its leases.
    still = [job for job in still if await taken_over(app, job)]
    lines = "|".join(f"{job.id} .* attempt {job.attempt} lost its lease" for job in still)
    if still:
        await until(lambda: said(crew, lines), "the paused worker hears that its leases are lost", 20)
    return int(bool(still))


def check(job: Job[Any], log: list[Event]) -> None:
    """What must hold of every job, whatever died."""
    assert (job.status, job.result) == (Status.COMPLETED, [0, 1, 4])
    assert [event.seq for event in log] == list(range(1, len(log) + 1)), "numbered without a gap"
    assert [event.seq for event in log if event.is_end] == [len(log)], "one end, and it is the last"
    attempts = [event.attempt for event in log]
    assert attempts == sorted(attempts), "no attempt writes after a later one began"
    completed = [
        event.data["name"] for event in log if event.type == "job.step" and event.data["status"] == "completed"
    ]
    assert completed == [f"step {n}" for n in range(3)], "each step recorded once"
    assert text(log) == "0.1.2."


async def recorded(app: Outlast, id: str, count: int) -> bool:
    return len([step for step in await app.steps(id) if step.status == "completed"]) == count


async def alive(app: Outlast, count: int) -> bool:
    return len(await app.workers()) == count


async def ended(app: Outlast, id: str) -> bool:
    return (await app.get(id)).ended


async def all_ended(app: Outlast) -> bool:
    return all(status.ended for _, status in await app.count())


async def busy(app: Outlast) -> bool:
    return ("three_steps", Status.PROCESSING) in await app.count()


async def noted(crew: Crew, id: str) -> bool:
    return id in crew.calls()


async def said(crew: Crew, words: str) -> bool:
    return crew.said(words) > 0


async def taken_over(app: Outlast, job: Job[Any]) -> bool:
    # Not by the lease: the worker may have ended the job in the moment in which it was stopped.
    return (await app.get(job.id)).deaths > job.deaths


async def whole_log(app: Outlast, id: str) -> list[Event]:
    log: list[Event] = []
    while page := await app.events(id, after=len(log), limit=1000):
        log += page
    return log
