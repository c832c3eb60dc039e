"""Cron: a clock that calls `/push/sweep` is enough for every job to come to its end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from outlast import ConfigurationError, Context, Outlast, Status
from outlast.job import Job
from outlast.push import Cron, Incoming
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.service import service
from tests.push.ground import SECRET, make_app
from tests.web.ground import client

BEARER = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def app(clock: FakeClock) -> AsyncIterator[Outlast]:
    async with make_app(MemoryStore(clock=clock), push=Cron(secret=SECRET, budget=10)) as app:
        yield app


@pytest.fixture
async def http(app: Outlast) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(service(app, worker=False)) as http:
        yield http


async def swept(http: httpx2.AsyncClient, path: str = "/push/sweep") -> int:
    reply = await http.get(path, headers=BEARER)
    assert reply.status_code == 200, reply.text
    return int(reply.json()["ran"])


# -- what a call does -----------------------------------------------------------------------------------------------


async def test_call_by_call_a_job_longer_than_any_call_comes_to_its_end(app: Outlast, http: httpx2.AsyncClient) -> None:
    job = await app.submit("count", {"to": 7})
    # Three steps of 3 s go into 10 s, and none begins a slice in the second half.
    assert [await swept(http) for _ in range(4)] == [1, 1, 1, 0]
    ended = await app.get(job)
    assert (ended.result, ended.attempt) == (list(range(7)), 1)


async def test_what_is_due_is_done_first(app: Outlast, http: httpx2.AsyncClient, clock: FakeClock) -> None:
    job = await app.submit("count", {"to": 1}, delay=60)
    assert (await swept(http), (await app.get(job)).status) == (0, Status.QUEUED)
    clock.advance(60)
    assert (await swept(http), (await app.get(job)).status) == (1, Status.COMPLETED)


async def test_a_job_whose_process_was_killed_is_taken_over(
    app: Outlast, http: httpx2.AsyncClient, clock: FakeClock
) -> None:
    job = await app.submit("count", {"to": 1})
    assert app._opened is not None
    await app._opened.store.claim(1, ["count"], "gone")
    assert await swept(http) == 0
    clock.advance(30)
    assert (await swept(http), (await app.get(job)).attempt) == (1, 2)


async def test_any_number_of_calls_at_once_run_each_job_once(app: Outlast, http: httpx2.AsyncClient) -> None:
    started: list[str] = []

    @app.handler
    async def note(ctx: Context) -> None:
        started.append(ctx.job.id)
        await asyncio.sleep(0)

    jobs = [await note.submit() for _ in range(30)]
    assert sum(await asyncio.gather(*(swept(http) for _ in range(5)))) == 30
    assert sorted(started) == sorted(job.id for job in jobs)


async def test_a_call_runs_no_more_at_once_than_a_worker_would(app: Outlast, http: httpx2.AsyncClient) -> None:
    app.concurrency, running, most = 3, 0, 0

    @app.handler
    async def note(ctx: Context) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(10):
            await asyncio.sleep(0)
        running -= 1

    for _ in range(10):
        await note.submit()
    assert (await swept(http), most) == (10, 3)


async def test_no_slice_begins_once_half_the_time_is_over(
    app: Outlast, http: httpx2.AsyncClient, clock: FakeClock
) -> None:
    app.concurrency = 1
    jobs = [await app.submit("count", {"to": 1}) for _ in range(5)]
    assert await swept(http) == 2
    assert [(await app.get(job)).status.value for job in jobs] == ["completed"] * 2 + ["queued"] * 3


async def test_however_long_a_sweep_takes_no_slice_begins_in_the_second_half_of_its_call(
    app: Outlast, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(until: float) -> int:
        clock.advance(4)
        return 0

    app.concurrency = 1
    monkeypatch.setattr(app, "_recover", slow)
    for _ in range(3):
        await app.submit("count", {"to": 1})
    # A step takes 3 s of the 6 that are left, and the next slice would have the last 3 alone.
    assert await app.run_due(budget=10) == 1


async def test_a_handler_that_fails_is_no_failure_of_the_call(app: Outlast, http: httpx2.AsyncClient) -> None:
    job = await app.submit("broken", {})
    assert (await swept(http), (await app.get(job)).status) == (1, Status.FAILED)


async def test_a_call_that_is_called_off_hands_its_jobs_back(app: Outlast) -> None:
    began = asyncio.Event()

    @app.handler
    async def endless(ctx: Context) -> None:
        began.set()
        await asyncio.Event().wait()

    job: Job[None] = await endless.submit()
    task = asyncio.create_task(app.run_due(budget=10))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await app.get(job.id)).status is Status.QUEUED


# -- who may call ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {SECRET}",
        SECRET,
        f"Bearer {SECRET}x",
        f"Bearer {SECRET[:-1]}",
        "Bearer é",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_call_without_the_secret_is_refused_and_does_nothing(
    app: Outlast, http: httpx2.AsyncClient, method: str, authorization: str | None
) -> None:
    job = await app.submit("count", {"to": 1})
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    reply = await http.request(method, "/push/sweep", headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")
    assert SECRET not in reply.text and (await app.get(job)).status is Status.QUEUED


async def test_the_secret_opens_it_by_get_and_by_post(http: httpx2.AsyncClient) -> None:
    for method in ("GET", "POST"):
        reply = await http.request(method, "/push/sweep", headers={"authorization": f"bearer {SECRET}"})
        assert (reply.status_code, reply.json()) == (200, {"ran": 0})


async def test_where_no_push_is_set_there_is_nothing_to_call() -> None:
    async with make_app() as app, client(service(app, worker=False)) as http:
        assert (await http.get("/push/sweep", headers=BEARER)).status_code == 404


@pytest.mark.parametrize(("mounted", "called"), [("/jobs", "/push/sweep"), ("/api/v1/jobs", "/api/v1/push/sweep")])
async def test_it_is_mounted_beside_the_jobs(app: Outlast, mounted: str, called: str) -> None:
    host = Starlette()
    app.mount(host, mounted)
    async with client(host) as http:
        assert await swept(http, called) == 0


# -- by the clocks of platforms ---------------------------------------------------------------------------------------


async def test_the_call_that_vercel_s_cron_makes_is_taken(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    monkeypatch.setenv("CRON_SECRET", SECRET)
    called = {
        "User-Agent": "vercel-cron/1.0",
        "X-Vercel-Cron-Schedule": "0 5 * * *",
        "Authorization": f"Bearer {SECRET}",
    }
    async with make_app(MemoryStore(clock=clock), push="cron:") as app, client(service(app, worker=False)) as http:
        job = await app.submit("count", {"to": 1})
        reply = await http.get("/push/sweep", headers=called)
        assert (reply.status_code, reply.json()) == (200, {"ran": 1})
        assert (await app.get(job)).status is Status.COMPLETED
        del called["Authorization"]
        # Whatever else it says of itself anybody can say.
        assert (await http.get("/push/sweep", headers=called)).status_code == 401


# -- how it is chosen -----------------------------------------------------------------------------------------------


def test_it_is_chosen_by_argument_by_url_or_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Outlast("memory://").push is None
    monkeypatch.setenv("CRON_SECRET", SECRET)
    assert Outlast("memory://").push is None
    chosen = [Outlast("memory://", push=Cron()), Outlast("memory://", push="cron:?budget=280s")]
    monkeypatch.setenv("OUTLAST_PUSH", "cron:")
    chosen.append(Outlast("memory://"))
    assert [(type(app.push), app.push and app.push.budget) for app in chosen] == [(Cron, 55), (Cron, 280), (Cron, 55)]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("crown:", "OUTLAST_PUSH: no push is known for 'crown:'"),
        ("cron://somewhere", "no push is known"),
        ("cron:?budget=soon", "a duration is written like"),
        ("cron:?budget=0s", "a budget is how long a call may take"),
        ("cron:?bugdet=5s", "there is no setting 'bugdet'"),
        ("", None),
    ],
)
def test_what_names_no_push_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str | None
) -> None:
    monkeypatch.setenv("CRON_SECRET", SECRET)
    monkeypatch.setenv("OUTLAST_PUSH", url)
    if said is None:
        assert Outlast("memory://").push is None
        return
    with pytest.raises(ConfigurationError, match=said):
        Outlast("memory://")


@pytest.mark.parametrize(("push", "missing"), [(Cron, "budget"), (object(), "name, budget, received"), (7, "name")])
def test_what_is_no_push_is_refused_with_what_it_lacks(push: Any, missing: str) -> None:
    with pytest.raises(ConfigurationError, match=f"such as Cron.*has no {missing}"):
        Outlast("memory://", push=push)


@pytest.mark.parametrize(("secret", "said"), [(None, "needs a secret"), ("", "needs a secret"), ("short", "guessed")])
def test_a_secret_is_needed_and_one_that_can_be_guessed_is_refused(
    monkeypatch: pytest.MonkeyPatch, secret: str | None, said: str
) -> None:
    monkeypatch.delenv("CRON_SECRET", raising=False)
    with pytest.raises(ConfigurationError, match=said) as refused:
        Cron(secret=secret)
    assert "short" not in str(refused.value)


def test_the_line_end_that_came_with_a_secret_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRON_SECRET", f"{SECRET}\n")
    assert Cron().received(Incoming("sweep", {"authorization": f"Bearer {SECRET}"}, b"")) is None
    monkeypatch.setenv("CRON_SECRET", "short" + " " * 20)
    with pytest.raises(ConfigurationError, match="guessed"):
        Cron()
