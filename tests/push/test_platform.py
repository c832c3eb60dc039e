"""Where a process is killed with its answer, and after 10 s, every job comes to its end and nothing runs twice."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import qstash

from outlast import Outlast
from tests.web.ground import Frame, ended, frames
from torture.serverless.platform import Platform
from torture.serverless.queue import Queue
from torture.serverless.wire import head_of, read_request

CURRENT, NEXT = (f"sig_{letter * 28}" for letter in "ab")
TOKEN = "of-the-account"
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


@asynccontextmanager
async def running(app: str, folder: Path, queue: Queue) -> AsyncIterator[Platform]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OUTLAST", "QSTASH"))}
    environ |= {"OUTLAST_STORE": f"sqlite:///{folder}/jobs.db", "NOTES": f"{folder}/notes", "QSTASH_TOKEN": TOKEN}
    environ |= {"QSTASH_CURRENT_SIGNING_KEY": CURRENT, "QSTASH_NEXT_SIGNING_KEY": NEXT, "QSTASH_URL": queue.url}
    async with Platform(app, environ, limit=10) as platform:
        environ["OUTLAST_PUSH"] = f"qstash:{platform.url}?budget=2s"
        yield platform


@pytest.fixture
async def http(platform: Platform) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=platform.url, timeout=60, trust_env=False) as http:
        yield http


async def submitted(http: httpx2.AsyncClient, steps: int, seconds: float) -> Any:
    reply = await http.post("/jobs", json={"type": "report", "payload": {"steps": steps, "seconds": seconds}})
    assert reply.status_code == 202, reply.text
    return reply.json()


async def watched(http: httpx2.AsyncClient, path: str) -> list[Frame]:
    """Every event to the last, over as many connections as the platform makes of it."""
    seen: list[Frame] = []
    while not seen or not seen[-1].event.endswith(("completed", "failed", "cancelled")):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen[-1].id if seen else 0)}
        try:
            async with http.stream("GET", path, headers=headers) as reply:
                seen += [frame async for frame in frames(reply.aiter_lines()) if frame.id is not None]
        except httpx2.HTTPError:
            pass  # cut off at the limit
    return seen


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
    queue.copies = 3
    job = await submitted(http, steps=4, seconds=0.1)
    queue.key = NEXT
    assert (await ended(http, job["id"]))["status"] == "completed"
    assert {name: times for name, times in notes().items() if name != "slice"} == {f"step {n}": 1 for n in range(4)}


@pytest.mark.slow
async def test_what_a_killed_function_held_goes_on_by_the_queue_alone(
    platform: Platform, http: httpx2.AsyncClient, notes: Callable[[], Counter[str]]
) -> None:
    # A budget that the platform does not grant: the slice is killed in a step, and its lease is still good when the
    # queue calls again.
    platform.environ |= {"OUTLAST_PUSH": f"qstash:{platform.url}?budget=60s", "LEASE": "5"}
    platform.limit = 4.0
    job = await submitted(http, steps=5, seconds=1.0)
    # Read past the platform, for a request there would sweep.
    async with Outlast(platform.environ["OUTLAST_STORE"]) as reader, asyncio.timeout(60):
        while not (now := await reader.get(job["id"])).ended:
            await asyncio.sleep(0.1)
    assert (now.status, now.result, platform.counts["killed at the limit"] > 0) == ("completed", 5, True)
    done = notes()
    assert 2 <= done.pop("slice") <= now.attempt and 5 <= sum(done.values()) < 5 + now.attempt


@pytest.mark.slow
async def test_whoever_prefers_to_wait_gets_a_short_job_at_once_and_a_long_one_ends_too(
    http: httpx2.AsyncClient,
) -> None:
    async def asked(steps: int, seconds: float) -> httpx2.Response:
        body = {"type": "report", "payload": {"steps": steps, "seconds": seconds}}
        return await http.post("/jobs", json=body, headers={"Prefer": "wait=2"})

    short, long = await asyncio.gather(asked(2, 0.1), asked(4, 0.9))
    assert (short.status_code, short.json()["result"], long.status_code) == (200, 2, 202)
    now = await ended(http, long.json()["id"])
    assert (now["status"], now["result"]) == ("completed", 4)


@pytest.mark.slow
async def test_fire_and_forget_hangs_there_for_ever(tmp_path: Path, queue: Queue) -> None:
    async with running("tests.push.functions:forgetful", tmp_path, queue) as platform:
        async with httpx2.AsyncClient(base_url=platform.url, timeout=60, trust_env=False) as http:
            assert (await http.post("/goals")).status_code == 202
        async with asyncio.timeout(20):
            while not platform.counts["killed with the answer"]:
                await asyncio.sleep(0.01)
    assert (tmp_path / "notes").read_text() == "processing\n"


# -- the double of QStash -------------------------------------------------------------------------------------------


async def test_the_official_package_publishes_to_the_double_and_verifies_its_calls(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with taking([200]) as taker:
        theirs = qstash.QStash(TOKEN, base_url=queue.url)
        sent = {"url": taker.url, "body": "hello", "deduplication_id": "one", "retries": 0}
        first, second = [await asyncio.to_thread(theirs.message.publish, **sent) for _ in range(2)]
        assert first.message_id == second.message_id and second.deduplicated  # type: ignore[union-attr]
        headers, body = await taker.call()
        assert (headers["upstash-retried"], body, queue.counts["calls"]) == ("0", b"hello", 1)
        signature = headers["upstash-signature"]
        qstash.Receiver(CURRENT, NEXT).verify(signature=signature, body="hello", url=taker.url)


async def test_the_double_tries_again_and_gives_up_as_it_was_told(queue: Queue) -> None:
    async with taking([500, 503, 200]) as taker, httpx2.AsyncClient(trust_env=False) as http:
        headers = {"Authorization": f"Bearer {TOKEN}", "Upstash-Retries": "1", "Upstash-Retry-Delay": "10 + retried"}
        headers["Upstash-Failure-Callback"] = taker.url
        assert (await http.post(f"{queue.url}/v2/publish/{taker.url}", headers=headers)).status_code == 200
        assert [(await taker.call())[0]["upstash-retried"] for _ in range(2)] == ["0", "1"]
        assert b"sourceBody" in (await taker.call())[1] and len(queue.dead) == 1
        refused = await http.post(f"{queue.url}/v2/publish/{taker.url}", headers={"Authorization": "Bearer x"})
        assert refused.status_code == 401


class Taker:
    """A server that keeps what it is sent."""

    url = ""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def call(self) -> tuple[dict[str, str], bytes]:
        async with asyncio.timeout(20):
            return await self.calls.get()


@asynccontextmanager
async def taking(statuses: list[int]) -> AsyncIterator[Taker]:
    taker = Taker()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        taker.calls.put_nowait((dict(request.headers), request.body))
        writer.write(head_of(statuses.pop(0) if len(statuses) > 1 else statuses[0], {"content-length": "0"}))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    taker.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/take"
    try:
        yield taker
    finally:
        server.close()
