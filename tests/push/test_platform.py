"""Where a process is killed with its answer, and after 10 s, every job comes to its end and nothing runs twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from outlast import Outlast, Status
from tests.web.ground import ended, eventually
from torture.crew.workers import Crew
from torture.history import flaws
from torture.serverless.platform import Platform
from torture.serverless.queue import Queue
from torture.serverless.site import CURRENT, NEXT, SECRET, TOKEN, running, watched

APP = "tests.push.functions:api"


@pytest.fixture
def notes(tmp_path: Path) -> Callable[[], Counter[str]]:
    """What the functions wrote down, and how often."""
    return lambda: Counter((tmp_path / "notes").read_text().splitlines())


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    async with Queue(TOKEN, CURRENT) as queue:
        yield queue


@pytest.fixture
async def platform(tmp_path: Path, queue: Queue) -> AsyncIterator[Platform]:
    async with running(APP, tmp_path, queue) as platform:
        yield platform


@pytest.fixture
async def http(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(platform) as http:
        yield http


def client_of(platform: Platform) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=platform.url, timeout=60, trust_env=False)


async def submitted(http: httpx2.AsyncClient, steps: int, seconds: float, **options: Any) -> Any:
    body = {"type": "report", "payload": {"steps": steps, "seconds": seconds}, **options}
    reply = await http.post("/jobs", json=body)
    assert reply.status_code == 202, reply.text
    return reply.json()


# -- slice after slice ----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_job_longer_than_any_function_completes_and_its_text_streams_across_the_slices(
    platform: Platform, queue: Queue, http: httpx2.AsyncClient, notes: Callable[[], Counter[str]]
) -> None:
    job = await submitted(http, steps=30, seconds=0.12)
    seen = await watched(http, job["urls"]["events"])
    assert seen[-1].event == "job.completed"
    assert [int(frame.id or 0) for frame in seen] == list(range(1, len(seen) + 1))
    done = notes()
    slices = done.pop("slice")
    assert slices >= 2 and done == Counter({f"step {number}": 1 for number in range(30)})
    text = (await http.get(f"{job['urls']['self']}/output")).text
    assert text == "".join(f"so {number} it {number} goes {number} " for number in range(30))
    assert "".join(frame.data["text"] for frame in seen if frame.event == "job.output.delta") == text
    now = (await http.get(job["urls"]["self"])).json()
    assert (now["status"], now["attempt"], now["result"]) == ("completed", 1, 30)
    assert queue.dead == [] and platform.counts["crashed"] == 0


@pytest.mark.slow
async def test_copies_of_each_call_run_nothing_twice_and_rolled_keys_are_known(
    platform: Platform, queue: Queue, http: httpx2.AsyncClient, notes: Callable[[], Counter[str]]
) -> None:
    queue.odds = {"doubled": 1.0}
    job = await submitted(http, steps=4, seconds=0.1)
    queue.key = NEXT
    assert (await ended(http, job["id"]))["status"] == "completed"
    assert {name: times for name, times in notes().items() if name != "slice"} == {f"step {n}": 1 for n in range(4)}
    assert queue.counts["doubled"] > 0


@pytest.mark.slow
async def test_what_a_killed_function_held_goes_on_by_the_queue_alone(
    platform: Platform, http: httpx2.AsyncClient, notes: Callable[[], Counter[str]]
) -> None:
    # A budget that the platform does not grant: the slice is killed in a step, and its lease is still good when the
    # queue calls again.
    platform.environ |= {"OUTLAST_PUSH": f"qstash:{platform.url}?budget=60s", "LEASE": "5"}
    platform.limit = 4.0
    # On a busy machine a slice comes no further than one step, or none.
    job = await submitted(http, steps=5, seconds=1.0, maxRetries=20)
    # Read past the platform, for a request there would sweep.
    async with Outlast(platform.environ["OUTLAST_STORE"]) as reader, asyncio.timeout(110):
        while not (now := await reader.get(job["id"])).ended:
            await asyncio.sleep(0.1)
    assert (now.status, now.result, platform.counts["killed at the limit"] > 0) == ("completed", 5, True)
    done = notes()
    assert 2 <= done.pop("slice") <= now.attempt and 5 <= sum(done.values()) < 5 + now.attempt


# -- frozen rather than killed --------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_process_that_was_frozen_with_its_answer_serves_another_request(
    platform: Platform, http: httpx2.AsyncClient, notes: Callable[[], Counter[str]]
) -> None:
    platform.warm = True
    for _ in range(2):
        job = await submitted(http, steps=6, seconds=0.5)
        assert (await ended(http, job["id"]))["result"] == 6
    assert platform.counts["thawed"] > 0 and platform.counts["killed with the answer"] == 0
    assert {name: times for name, times in notes().items() if name != "slice"} == {f"step {n}": 2 for n in range(6)}


@pytest.mark.slow
async def test_a_process_that_was_frozen_past_its_lease_changes_nothing_when_it_goes_on(
    tmp_path: Path, queue: Queue
) -> None:
    (tmp_path / "notes").touch()
    with (tmp_path / "log").open("wb") as log:
        async with (
            running(APP, tmp_path, queue, budget="8s", limit=30, log=log) as platform,
            client_of(platform) as http,
            Outlast(platform.environ["OUTLAST_STORE"]) as reader,
        ):
            platform.environ["LEASE"] = "2"
            job = await submitted(http, steps=3, seconds=0.6)

            async def is_in_a_step() -> bool:
                return "step 0" in (tmp_path / "notes").read_text()

            async def is_swept_to_its_end() -> bool:
                await http.post("/push/sweep", headers={"Authorization": f"Bearer {SECRET}"})
                return (await reader.get(job["id"])).ended

            await eventually(is_in_a_step)
            [frozen] = platform.working
            frozen.freeze()
            await eventually(is_swept_to_its_end)
            told = await reader.get(job["id"]), await reader.log(job["id"])
            frozen.thaw()
            await platform.idle()
            assert (await reader.get(job["id"]), await reader.log(job["id"])) == told
            assert (told[0].status, told[0].attempt, told[0].result_json) == (Status.COMPLETED, 2, "3")
            assert flaws(*told, await reader.steps(job["id"])) == []
    assert "attempt 1 lost its lease" in (tmp_path / "log").read_text()


# -- in the request, and with a worker ------------------------------------------------------------------------------


@pytest.mark.slow
async def test_of_those_who_prefer_to_wait_short_jobs_are_answered_at_once_and_long_ones_end_too(
    platform: Platform, http: httpx2.AsyncClient
) -> None:
    platform.limit = 30  # the wait is from when the function is there, however long that took

    async def asked(steps: int, seconds: float) -> httpx2.Response:
        body = {"type": "report", "payload": {"steps": steps, "seconds": seconds}}
        return await http.post("/jobs", json=body, headers={"Prefer": "wait=5"})

    short, longer, long = await asyncio.gather(asked(2, 0.1), asked(4, 0.7), asked(9, 0.9))
    assert (short.status_code, short.json()["result"], long.status_code) == (200, 2, 202)
    assert longer.status_code == (200 if longer.json()["status"] == "completed" else 202)
    for reply, steps in ((longer, 4), (long, 9)):
        now = await ended(http, reply.json()["id"])
        assert (now["status"], now["result"], now["attempt"]) == ("completed", steps, 1)


@pytest.mark.slow
async def test_fire_and_forget_hangs_there_for_ever(tmp_path: Path, queue: Queue) -> None:
    async with running("tests.push.functions:forgetful", tmp_path, queue) as platform:
        async with client_of(platform) as http:
            assert (await http.post("/goals")).status_code == 202
        async with asyncio.timeout(20):
            while not platform.counts["killed with the answer"]:
                await asyncio.sleep(0.01)
    assert (tmp_path / "notes").read_text() == "processing\n"


@pytest.mark.slow
async def test_a_worker_with_the_same_file_takes_a_job_over_in_its_middle(
    platform: Platform, queue: Queue, http: httpx2.AsyncClient, notes: Callable[[], Counter[str]], tmp_path: Path
) -> None:
    job = await submitted(http, steps=10, seconds=0.4)
    queue.odds = {"lost": 1.0}  # so that no function goes on with it
    async with Outlast(platform.environ["OUTLAST_STORE"]) as reader:

        async def has_yielded() -> bool:
            now = await reader.get(job["id"])
            return (now.status, now.attempt) == (Status.QUEUED, 1)

        await eventually(has_yielded)
        calls = platform.counts["calls"]
        with Crew(tmp_path, app="tests.push.functions:app", url=platform.environ["OUTLAST_STORE"]) as crew:
            crew.start(NOTES=platform.environ["NOTES"])
            now = await reader.wait(job["id"], 30)
    assert (now.result, now.attempt, platform.counts["calls"]) == (10, 1, calls)
    assert notes() == Counter({"slice": 2} | {f"step {number}": 1 for number in range(10)})
