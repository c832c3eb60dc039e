"""Workers that die, pause and come back: nothing is lost, nothing recorded twice. Real processes on one file."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from outlast import Outlast, Status
from outlast.job import Event
from outlast.output import text
from torture.crew.torment import Torment, asking
from torture.crew.workers import Crew, until


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    with Crew(tmp_path) as crew:
        yield crew


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Crew]:
    """Workers whose leases last two seconds."""
    with Crew(tmp_path, lease=2.0) as crew:
        yield crew


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


async def test_a_blocking_handler_goes_on_behind_its_last_step_after_a_kill(crew: Crew) -> None:
    async with asking(crew) as app:
        worker = crew.start()
        job = await app.submit("blocking_steps")
        await until(lambda: noted(crew, job.id, 3), "its third step runs")
        crew.kill(worker)
        crew.go()
        crew.start()
        ended = await app.wait(job, 60)
        written = text(await whole_log(app, job.id))
    assert (ended.result, ended.attempt, written) == ([0, 1, 4], 2, "0.1.2.")
    calls = [(int(number), int(attempt)) for number, attempt, _ in crew.calls()[job.id]]
    assert calls == [(0, 1), (1, 1), (2, 1), (2, 2)]


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
    async with asking(hasty) as app:
        damage = await Torment(hasty, app, 20261123, seconds=1.0).run(kills=50, jobs=500)
    assert (damage.jobs, damage.kills) == (500, 50)
    assert (damage.lost, damage.doubled) == ([], [])
    assert damage.pauses and damage.takeovers and damage.stale_writes_refused and damage.extra_attempts, damage


async def recorded(app: Outlast, id: str, count: int) -> bool:
    return len([step for step in await app.steps(id) if step.status == "completed"]) == count


async def alive(app: Outlast, count: int) -> bool:
    return len(await app.workers()) == count


async def ended(app: Outlast, id: str) -> bool:
    return (await app.get(id)).ended


async def noted(crew: Crew, id: str, times: int = 1) -> bool:
    return len(crew.calls()[id]) >= times


async def said(crew: Crew, words: str) -> bool:
    return crew.said(words) > 0


async def whole_log(app: Outlast, id: str) -> list[Event]:
    log: list[Event] = []
    while page := await app.events(id, after=len(log), limit=1000):
        log += page
    return log
