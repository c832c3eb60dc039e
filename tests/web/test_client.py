"""`outlast.Client`: the verbs of `Outlast` over HTTP, against a real server."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from outlast import (
    Client,
    IdempotencyKeyReused,
    InvalidRequest,
    JobConflict,
    JobNotFound,
    NotAllowed,
    Outlast,
    ServerUnavailable,
    Status,
    WaitTimeout,
)
from outlast.client import TRIES, job_of
from outlast.web.service import service
from tests.web.ground import SECRET, entry, make_app, serving
from tests.web.test_docs import blocks


@pytest.fixture
async def remote(app: Outlast) -> AsyncIterator[Client]:
    async with serving(service(app), app) as url, Client(f"{url}/jobs") as client:
        yield client


async def test_a_job_is_submitted_and_waited_for(remote: Client) -> None:
    job = await remote.submit("greet", {"name": "Ada"}, tags=["a"], metadata={"snake_case": 1}, external_id="7")
    done = await remote.wait(job, 10)
    assert (done.status, done.result, done.tags) == (Status.COMPLETED, {"greeting": "Hello Ada"}, ("a",))
    assert (done.metadata, done.external_id, done.attempt) == ({"snake_case": 1}, "7", 1)
    assert await remote.output(job) == "Hello Ada. "


async def test_what_it_shows_is_what_the_app_shows(remote: Client, app: Outlast) -> None:
    for type, payload in (("greet", {"name": "Ada"}), ("broken", {}), ("ask", {"question": "?"})):
        job = await remote.submit(type, payload, priority="high", deadline="1h", wait=1)
        mine, theirs = await app.get(job.id), await remote.get(job)
        for name in ("id", "type", "status", "priority", "attempt", "seq", "version", "result", "progress", "waiting"):
            assert getattr(theirs, name) == getattr(mine, name), name
        assert theirs.deadline == pytest.approx(mine.deadline, abs=0.001)
        if mine.last_error is not None and theirs.last_error is not None:
            assert theirs.last_error.wire() == mine.last_error.wire()


async def test_it_acts_for_an_owner_and_reads_by_a_share_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", entry("shop", "shop", "jobs:read+jobs:write+owner:any"))
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)
    app = make_app()
    async with serving(service(app), app) as url:
        async with Client(f"{url}/jobs", key="shop", owner="ann") as anns, Client(f"{url}/jobs", key="shop") as shops:
            job = await anns.submit("greet", {"name": "Ada"})
            assert (await app.get(job.id)).owner == "ann"
            with pytest.raises(JobNotFound):
                await shops.get(job)
        token, _ = await app.tokens.job(job)
        async with Client(f"{url}/jobs", key=token) as browser:
            done = await browser.wait(job, 10)
            assert (done.result, done.owner) == ({"greeting": "Hello Ada"}, None)
            assert [event.seq async for event in browser.follow(job)] == list(range(1, done.seq + 1))
            with pytest.raises(NotAllowed, match="share token"):
                await browser.list()


async def test_a_submit_may_wait_itself(remote: Client) -> None:
    assert (await remote.submit("greet", {"name": "Ada"}, wait="10s")).status is Status.COMPLETED
    with pytest.raises(WaitTimeout, match="it goes on"):
        await remote.wait(await remote.submit("endless"), 0.1)


async def test_options_go_by_the_names_of_a_submit(remote: Client, app: Outlast) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    job = await remote.submit("greet", {"name": "Ada"}, run_at=later, keep="2d", retries=7, batch="night")
    stored = await app.get(job.id)
    assert (stored.keep, stored.max_retries, stored.batch_id) == (2 * 86400, 7, "night")
    assert stored.next_at == pytest.approx(later.timestamp(), abs=0.001)
    assert [one.id for one in await remote.list(batch="night", status="queued")] == [job.id]
    with pytest.raises(TypeError, match="no option 'prio'; it has delay"):
        await remote.submit("greet", prio="high")


async def test_a_job_is_followed_to_its_end(remote: Client) -> None:
    job = await remote.submit("count", {"to": 5})
    events = [event async for event in remote.follow(job)]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].type == "job.completed"
    assert [event.seq async for event in remote.follow(job, after=3)] == [event.seq for event in events[3:]]
    assert [event async for event in remote.follow(job, after=len(events))] == []


async def test_a_job_is_steered(remote: Client) -> None:
    job = await remote.submit("ask", {"question": "?"})
    await remote.signal(job, "answer", {"is": 42})
    assert (await remote.wait(job, 10)).result == {"is": 42}
    endless = await remote.submit("endless")
    await remote.cancel(endless, reason="enough")
    assert (await remote.wait(endless, 10)).cancel_reason == "enough"
    again = await remote.retry(endless)
    assert again.retry_of == endless.id
    with pytest.raises(JobConflict) as conflict:
        await remote.delete(again)
    assert (conflict.value.code, conflict.value.job_id) == ("job_live", again.id)
    await remote.delete(job)
    with pytest.raises(JobNotFound, match=job.id):
        await remote.get(job)


async def test_refusals_are_the_errors_of_the_app(remote: Client) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await remote.submit("gret")
    assert refusal.value.code == "unknown_type"
    with pytest.raises(InvalidRequest) as refusal:
        await remote.submit("greet", {"nam": 1})
    assert refusal.value.errors[0]["pointer"].startswith("/payload")
    await remote.submit("greet", {"name": "Ada"}, idempotency_key="k")
    with pytest.raises(IdempotencyKeyReused):
        await remote.submit("greet", {"name": "Bob"}, idempotency_key="k")
    for path in ("job_none", "../../etc", "a/b"):
        with pytest.raises(JobNotFound):
            await remote.get(path)


async def test_a_key_is_sent_and_a_wrong_one_is_told(app: Outlast, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"right").hexdigest()
    monkeypatch.setenv("OUTLAST_KEYS", f"one:ada:jobs:read+jobs:write:{digest}")
    async with serving(service(app), app) as url:
        async with Client(f"{url}/jobs", key="right") as client:
            job = await client.submit("endless")
            with pytest.raises(NotAllowed, match="jobs:cancel") as refusal:
                await client.cancel(job)
            assert refusal.value.code == "forbidden_scope"
        async with Client(f"{url}/jobs", key="wrong") as client:
            with pytest.raises(NotAllowed) as refusal:
                await client.get(job)
            assert (refusal.value.code, "wrong" in str(refusal.value)) == ("unauthenticated", False)


@asynccontextmanager
async def flaky(*answers: Any) -> AsyncIterator[tuple[Client, list[Request]]]:
    """A client of a server that gives these answers, one after the other, and what it was asked."""
    asked, left = list[Request](), iter(answers)

    async def answer(request: Request) -> Response:
        await request.body()
        asked.append(request)
        given = next(left)
        if isinstance(given, Exception):
            raise given
        return given  # type: ignore[no-any-return]

    asgi = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=asgi)) as http:
        yield Client("http://there/jobs", http=http), asked


async def test_a_submit_whose_answer_was_lost_is_sent_again_under_the_same_key(app: Outlast) -> None:
    job = '{"id": "job_1", "type": "greet", "status": "queued"}'
    lost = httpx2.ReadError("gone")
    async with flaky(lost, Response(None, 503), Response(job, 202)) as (client, asked):
        assert (await client.submit("greet")).id == "job_1"
    assert len({request.headers["idempotency-key"] for request in asked}) == 1
    assert len(asked) == 3


async def test_a_server_that_stays_away_is_given_up(app: Outlast) -> None:
    async with flaky(*[httpx2.ReadError("gone")] * TRIES) as (client, asked):
        with pytest.raises(ServerUnavailable, match="safe to send again"):
            await client.get("job_1")
    assert len(asked) == TRIES
    async with flaky(PlainTextResponse("hello", 404)) as (client, _):
        with pytest.raises(ServerUnavailable, match="is it the address"):
            await client.get("job_1")


async def test_a_follower_goes_on_where_its_connection_broke() -> None:
    def frames(*numbers: int, end: bool = False) -> Response:
        data = '{{"type":"job.log","jobId":"j","seq":{0},"time":"2026-11-22T10:00:00.000Z","attempt":1,"message":"m"}}'
        text = "".join(f"id: {n}\nevent: job.log\ndata: {data.format(n)}\n\n" for n in numbers)
        return Response(text.replace("job.log", "job.completed") if end else text, 200, media_type="text/event-stream")

    live = Response('{"id": "j", "type": "x", "status": "processing"}', 200)
    gone, away = httpx2.ReadError("gone"), Response(None, 503)
    answers = frames(1, 2), gone, away, frames(3), frames(), live, frames(4, end=True)
    async with flaky(*answers) as (client, asked):
        assert [event.seq async for event in client.follow("j")] == [1, 2, 3, 4]
    cursors = [request.headers.get("last-event-id") for request in asked]
    assert cursors == ["0", "2", "2", "2", "3", None, "3"]


async def test_the_example_of_the_page_is_what_happens(app: Outlast) -> None:
    [example] = [code for code in blocks("python") if "Client(" in code]
    async with serving(service(app), app) as url:
        code = example.replace("http://127.0.0.1:8000", url)
        done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "1 job.created", done.stderr
    assert lines[-1] == "{'greeting': 'Hello Ada'}"


def test_what_a_newer_server_adds_is_let_pass() -> None:
    job = job_of({"id": "j", "type": "x", "status": "queued", "newField": {"a": 1}, "urls": {}, "steps": []})
    assert job.id == "j"


def test_it_costs_no_import_to_who_does_not_use_it() -> None:
    code = "import outlast, sys; sys.exit('httpx2' in sys.modules or 'outlast.client' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_many_wait_at_once_on_one_client(remote: Client) -> None:
    jobs = await asyncio.gather(*(remote.submit("count", {"to": 2}) for _ in range(30)))
    assert {job.result for job in await asyncio.gather(*(remote.wait(job, 20) for job in jobs))} == {2}
