"""The double of QStash, the platform and the intruder do what the trial says that they do, and its judge sees it."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
import qstash

from outlast import Outlast, Status
from outlast.job import Event, Job, Step
from outlast.stores.memory import MemoryStore
from tests.push.ground import taking
from tests.web.ground import eventually
from torture.serverless import app as its_app
from torture.serverless.intruder import FORGERIES, Intruder
from torture.serverless.platform import Blow, Platform
from torture.serverless.queue import Queue
from torture.serverless.site import CURRENT, NEXT, TOKEN, running
from torture.serverless.trial import STEPS, Toll, flaws_of_long, judge


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    async with Queue(TOKEN, CURRENT) as queue:
        yield queue


async def published(queue: Queue, url: str, **headers: str) -> int:
    """The status that a publish was answered with; 0 if it was not."""
    headers = {f"Upstash-{name.replace('_', '-')}": value for name, value in headers.items()}
    headers["Authorization"] = f"Bearer {TOKEN}"
    body = b'{"jobId": "job_1", "turn": 1}'
    async with httpx2.AsyncClient(trust_env=False) as http:
        try:
            return (await http.post(f"{queue.url}/v2/publish/{url}", content=body, headers=headers)).status_code
        except httpx2.HTTPError:
            return 0


# -- the double of QStash -------------------------------------------------------------------------------------------


async def test_the_official_package_publishes_to_the_double_and_verifies_its_calls(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with taking(200) as taker:
        theirs = qstash.QStash(TOKEN, base_url=queue.url)
        sent = {"url": taker.url, "body": "hello", "deduplication_id": "one", "retries": 0}
        first, second = [await asyncio.to_thread(theirs.message.publish, **sent) for _ in range(2)]
        assert first.message_id == second.message_id and second.deduplicated  # type: ignore[union-attr]
        call = await taker.call()
        assert (call.headers["upstash-retried"], call.body, queue.counts["calls"]) == ("0", b"hello", 1)
        signature = call.headers["upstash-signature"]
        qstash.Receiver(CURRENT, NEXT).verify(signature=signature, body="hello", url=taker.url)


async def test_it_tries_again_and_gives_up_as_it_was_told(queue: Queue) -> None:
    async with taking(500, 503, 200) as taker:
        told = {"Retries": "1", "Retry_Delay": "10 + retried", "Failure_Callback": f"{taker.url}/dead"}
        assert await published(queue, f"{taker.url}/run", **told) == 200
        calls = [await taker.call() for _ in range(3)]
    assert [(call.target, call.headers["upstash-retried"]) for call in calls[:2]] == [("/run", "0"), ("/run", "1")]
    assert calls[2].target == "/dead" and len(queue.dead) == 1
    told_dead = json.loads(calls[2].body)
    assert (told_dead["status"], told_dead["retried"], told_dead["maxRetries"]) == (503, 1, 1)
    assert base64.b64decode(told_dead["sourceBody"]) == calls[0].body


async def test_it_takes_nothing_without_the_token(queue: Queue) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        refused = await http.post(f"{queue.url}/v2/publish/{queue.url}", headers={"Authorization": "Bearer x"})
    assert refused.status_code == 401


async def test_one_that_is_lost_is_acknowledged_and_never_called_for(queue: Queue) -> None:
    async with taking(200) as taker:
        queue.odds = {"lost": 1.0}
        assert await published(queue, f"{taker.url}/lost") == 200
        queue.odds = {}
        assert await published(queue, f"{taker.url}/found") == 200
        await queue.idle()
        assert ((await taker.call()).target, queue.counts["calls"], queue.counts["lost"]) == ("/found", 1, 1)


async def test_one_that_is_not_answered_is_taken_and_the_same_again_is_known(queue: Queue) -> None:
    async with taking(200) as taker:
        queue.odds = {"unanswered": 1.0}
        assert await published(queue, taker.url, Deduplication_Id="one") == 0
        queue.odds = {}
        assert await published(queue, taker.url, Deduplication_Id="one") == 202
        await queue.idle()
        assert (queue.counts["unanswered"], queue.counts["deduplicated"], queue.counts["calls"]) == (1, 1, 1)


async def test_the_same_id_is_another_message_once_the_window_is_over(queue: Queue) -> None:
    async with taking(200) as taker:
        queue.deduplicates = 0.0
        assert [await published(queue, taker.url, Deduplication_Id="one") for _ in range(2)] == [200, 200]
        await queue.idle()
        assert queue.counts["calls"] == 2


async def test_one_that_is_doubled_is_called_for_twice(queue: Queue) -> None:
    async with taking(200) as taker:
        queue.odds = {"doubled": 1.0}
        assert await published(queue, taker.url) == 200
        one, other = await taker.call(), await taker.call()
        assert one.body == other.body and one.headers["upstash-message-id"] == other.headers["upstash-message-id"]


async def test_one_that_is_late_is_overtaken(queue: Queue) -> None:
    async def is_late() -> bool:
        return queue.counts["late"] == 1

    async with taking(200) as taker:
        queue.odds, queue.late_by = {"late": 1.0}, 0.5
        await published(queue, f"{taker.url}/first")
        await eventually(is_late)
        queue.odds = {}
        await published(queue, f"{taker.url}/second")
        assert [(await taker.call()).target for _ in range(2)] == ["/second", "/first"]
        assert queue.counts["overtaken"] == 1


# -- the intruder ---------------------------------------------------------------------------------------------------


async def test_who_lets_everybody_in_is_found_out_and_who_refuses_is_not(queue: Queue) -> None:
    for status in (200, 401):
        intruder = Intruder(queue, Random(7), replays=1.0, forges=1.0, patience=0.01)
        async with taking(status) as taker, intruder:
            for _ in range(40):
                await published(queue, f"{taker.url}/push/qstash", Retries="0")
            await queue.idle()
        if status == 200:
            assert len(intruder.accepted) == 40 and intruder.counts == Counter({"replayed": 40})
        else:
            assert intruder.accepted == [] and {f"forged {how}" for how in FORGERIES} == intruder.counts.keys()


# -- the platform ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def platform(tmp_path: Path, queue: Queue) -> AsyncIterator[Platform]:
    queue.odds = {"lost": 1.0}  # no request but the tests' own
    async with running("torture.serverless.app:api", tmp_path, queue) as platform:
        yield platform


async def asked(platform: Platform) -> int:
    async with httpx2.AsyncClient(base_url=platform.url, timeout=60, trust_env=False) as http:
        body = {"type": "report", "payload": {"steps": 1, "seconds": 1.0}}
        return (await http.post("/jobs", json=body, headers={"Prefer": "wait=5"})).status_code


@pytest.mark.slow
async def test_one_that_is_killed_in_the_middle_gives_no_answer(platform: Platform) -> None:
    platform.blow = lambda: Blow(0.2)
    assert await asked(platform) == 504
    assert dict(platform.counts) == {"calls": 1, "killed in the middle": 1}


@pytest.mark.slow
async def test_one_that_is_frozen_in_the_middle_goes_on_and_gives_its_answer_later(platform: Platform) -> None:
    platform.blow = lambda: Blow(0.2, frozen=0.5)
    assert await asked(platform) == 200
    assert dict(platform.counts) == {"calls": 1, "frozen in the middle": 1, "killed with the answer": 1}


# -- the judge ------------------------------------------------------------------------------------------------------

History = tuple[Job[Any], list[Event], list[Step]]


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """A job of the trial that met no fault."""
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    return asyncio.run(lived())


async def lived() -> History:
    app = Outlast(MemoryStore())
    app.handlers = its_app.app.handlers
    async with app:
        job = await app.submit("report", {"steps": STEPS, "seconds": 0.0})
        assert await app.run_slice(job, budget=60)
        return await app.get(job), await app.log(job.id), await app.steps(job.id)


def judged(job: Job[Any], log: list[Event], steps: list[Step]) -> Toll:
    toll = Toll(1)
    judge(toll, job, log, steps)
    return toll


def test_a_job_that_is_as_it_should_be_is_not_told_of(history: History) -> None:
    assert judged(*history).failures == []


def test_a_job_that_did_not_complete_is_lost(history: History) -> None:
    job, log, steps = history
    assert judged(replace(job, status=Status.FAILED), log, steps).lost
    assert judged(replace(job, result=[0]), log, steps).lost


def test_a_word_too_many_and_a_step_too_few_are_seen(history: History) -> None:
    job, log, steps = history
    [*_, last] = (event for event in log if event.type == "job.output.delta")
    doubled = [replace(event, data={**event.data, "text": "4 4 4 4 "}) if event is last else event for event in log]
    assert any("its text is" in flaw for flaw in judged(job, doubled, steps).doubled)
    assert any("it has 4 steps" in flaw for flaw in judged(job, log, steps[1:]).doubled)


def test_what_is_amiss_with_the_long_job_is_seen() -> None:
    job = {"id": "job_1", "status": "failed", "attempt": 2}
    found = list(flaws_of_long(job, "0 ", "0 0 ", [1, 3], ["job_1 0", "job_1 0"]))
    assert len(found) == 4, found
