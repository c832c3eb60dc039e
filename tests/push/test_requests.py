"""What a request does itself where no worker is: run what is waited for, and sweep for a job that is stale."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from outlast import Context, Outlast, Status, WaitTimeout
from outlast.errors import StoreUnavailable
from outlast.job import Change, Job
from outlast.policy import Limits
from outlast.push import Cron
from outlast.stores.base import Query
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.service import service
from tests.push.ground import SECRET, make_app
from tests.push.test_calls import Recorded
from tests.web.ground import client, eventually


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def app(clock: FakeClock) -> AsyncIterator[Outlast]:
    async with make_app(MemoryStore(clock=clock), push=Cron(secret=SECRET, budget=100)) as app:
        yield app


@pytest.fixture
async def http(app: Outlast) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(service(app, worker=False)) as http:
        yield http


# -- whoever waits runs it ------------------------------------------------------------------------------------------


async def test_a_short_job_is_answered_by_the_request_that_submits_it(http: httpx2.AsyncClient) -> None:
    body = {"type": "count", "payload": {"to": 2}}
    reply = await http.post("/jobs", json=body, headers={"Prefer": "wait=20"})
    assert (reply.status_code, reply.json()["status"], reply.json()["result"]) == (200, "completed", [0, 1])


async def test_a_long_job_is_accepted_and_goes_on_with_the_next_call(
    app: Outlast, http: httpx2.AsyncClient, clock: FakeClock
) -> None:
    body = {"type": "count", "payload": {"to": 9}}
    asking = asyncio.create_task(http.post("/jobs", json=body, headers={"Prefer": "wait=10"}))
    await eventually(lambda: _has_yielded(app))
    clock.advance(1)
    reply = await asking
    assert (reply.status_code, reply.json()["status"]) == (202, "queued")
    job = await app.get(reply.json()["id"])
    assert len(await app.steps(job.id)) == 3
    while await app.run_slice(job, budget=10):
        pass
    assert ((await app.get(job)).status, (await app.get(job)).attempt) == (Status.COMPLETED, 1)


async def _has_yielded(app: Outlast) -> bool:
    return any(job.attempt == 1 and job.status is Status.QUEUED for job in await app.list())


async def test_a_wait_that_is_too_short_for_a_step_costs_no_attempt(app: Outlast, clock: FakeClock) -> None:
    async def long() -> str:
        clock.advance(4)
        if clock.now() < began + 5:
            await asyncio.Event().wait()
        return "done"

    @app.handler(retries=0)
    async def slow(ctx: Context) -> str:
        return await ctx.step("long", long)

    job, began = await slow.submit(), clock.now()
    with pytest.raises(WaitTimeout):
        await app.wait(job, 4)
    now = await app.get(job.id)
    assert (now.status, now.resumes) == (Status.QUEUED, True)
    assert await app.run_slice(now, budget=60)
    assert ((await app.get(job)).result, (await app.get(job)).attempt) == ("done", 1)


async def test_a_job_whose_like_take_longer_than_the_wait_is_left_to_its_call(clock: FakeClock) -> None:
    store, calls = MemoryStore(clock=clock), 0
    push = Recorded(store)

    async def model() -> None:
        nonlocal calls
        calls += 1
        clock.advance(5)

    async with make_app(store, push=push) as app:

        @app.handler
        async def report(ctx: Context) -> None:
            await ctx.step("model", model)

        first = await app.wait(await report.submit(), 9)
        assert (first.status, calls) == (Status.COMPLETED, 1), "nobody could say how long it takes"
        second = await report.submit()
        waiting = asyncio.create_task(app.wait(second, 2))

        async def has_passed() -> bool:
            clock.advance(1)
            return waiting.done()

        await eventually(has_passed)
        assert isinstance(waiting.exception(), WaitTimeout)
        assert ((await app.get(second)).attempt, calls) == (0, 1)
        third = await app.wait(await report.submit(), 9)
        assert (third.status, calls) == (Status.COMPLETED, 2), "the wait is long enough"


async def test_who_waits_is_answered_though_nobody_can_say_how_long_such_jobs_take(clock: FakeClock) -> None:
    class Slow(MemoryStore):
        async def find(self, query: Query) -> list[Job[Any]]:
            raise StoreUnavailable("it takes too long")

    store = Slow(clock=clock)
    async with make_app(store, push=Recorded(store)) as app:
        job = await app.submit("count", {"to": 2})
        waiting = asyncio.create_task(app.wait(job, 9))
        await eventually(lambda: _is(app.observe.counts["slice.broke"] == 1))
        assert await app.run_slice(job, budget=9), "its call comes"
        assert (await waiting).status is Status.COMPLETED


async def test_a_submit_that_was_accepted_says_so_although_its_slice_cannot_begin(clock: FakeClock) -> None:
    @asynccontextmanager
    async def no_resources(app: Outlast) -> AsyncIterator[None]:
        raise OSError("the model is not there")
        yield

    store = MemoryStore(clock=clock)
    push = Recorded(store)
    async with make_app(store, push=push, lifespan=no_resources) as app, client(service(app, worker=False)) as http:
        submit = {"type": "count", "payload": {"to": 1}}
        sent = asyncio.create_task(http.post("/jobs", json=submit, headers={"Prefer": "wait=1"}))
        await eventually(lambda: _is(app.observe.counts["slice.broke"] == 1))
        clock.advance(1)
        reply = await sent
        assert (reply.status_code, reply.json()["status"]) == (202, "queued")
        assert push.taken() == [(reply.json()["id"], None, "queued")], "it is called for all the same"


async def test_only_the_first_slice_is_run_by_who_waits(app: Outlast) -> None:
    job = await app.submit("count", {"to": 9})
    assert await app.run_slice(job, budget=10)
    with pytest.raises(WaitTimeout):
        await app.wait(job, 0)
    assert len(await app.steps(job.id)) == 3


async def test_those_who_wait_run_no_more_at_once_than_a_worker_would(app: Outlast, clock: FakeClock) -> None:
    running, released = 0, asyncio.Event()

    @app.handler
    async def held(ctx: Context) -> None:
        nonlocal running
        running += 1
        await released.wait()

    app.concurrency = 2
    jobs = [await held.submit() for _ in range(5)]
    waits = [asyncio.create_task(app.wait(job, 9)) for job in jobs]
    await eventually(lambda: _is(running == 2))
    released.set()
    await eventually(lambda: _have_ended(app, 2))
    clock.advance(9)
    ended = await asyncio.gather(*waits, return_exceptions=True)
    assert (running, sum(isinstance(one, WaitTimeout) for one in ended)) == (2, 3)


async def _have_ended(app: Outlast, number: int) -> bool:
    return sum([job.ended for job in await app.list()]) == number


async def test_where_a_worker_takes_such_jobs_it_is_left_to_it(app: Outlast) -> None:
    other = make_app(app.store)

    @other.handler
    async def elsewhere(ctx: Context) -> str:
        return str(ctx.job.worker)

    @app.handler(name="elsewhere")
    async def here(ctx: Context) -> str:
        return "here"

    async with other, other.working(types=["elsewhere"]) as worker:
        assert (await app.wait(await app.submit("elsewhere", {}))).result == worker.id
        assert (await app.wait(await app.submit("count", {"to": 1}))).result == [0]


async def test_without_a_push_a_wait_only_waits(clock: FakeClock) -> None:
    async with make_app(MemoryStore(clock=clock)) as app:
        with pytest.raises(WaitTimeout):
            await app.wait(await app.submit("count", {"to": 1}), 0)


# -- whoever asks sweeps --------------------------------------------------------------------------------------------


async def test_to_ask_for_a_job_of_a_killed_process_takes_it_over(
    app: Outlast, http: httpx2.AsyncClient, clock: FakeClock
) -> None:
    job, store = await app.submit("count", {"to": 1}), app.store
    assert isinstance(store, MemoryStore)
    await store.claim(1, ["count"], "gone")
    assert (await http.get(f"/jobs/{job.id}")).json()["status"] == "processing"
    clock.advance(30)
    assert (await http.get(f"/jobs/{job.id}")).json()["status"] == "queued"


async def test_to_ask_for_a_job_that_nobody_was_called_for_calls(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock)
    push = Recorded(store)
    async with make_app(store, push=push) as app, client(service(app, worker=False)) as http:
        push.down = True
        job = await app.submit("count", {"to": 1})
        push.down = False
        await http.get(f"/jobs/{job.id}")
        assert push.taken() == [], "its own process still has time"
        clock.advance(10)
        await asyncio.gather(*(http.get(f"/jobs/{job.id}") for _ in range(5)))
        assert push.taken() == [(job.id, None, "queued")]


ASKS = {
    "the job": ("GET", "/jobs/{id}", None),
    "the job, and waiting": ("GET", "/jobs/{id}?wait=0", None),
    "its events": ("GET", "/jobs/{id}/events", "application/json"),
    "its stream": ("GET", "/jobs/{id}/events", "text/event-stream"),
    "its output": ("GET", "/jobs/{id}/output", None),
    "its result": ("GET", "/jobs/{id}/result", None),
    "a list": ("GET", "/jobs", None),
    "some by their ids": ("POST", "/jobs/status", None),
}


@pytest.mark.parametrize("asked", ASKS)
async def test_whatever_shows_a_job_looks_after_it(clock: FakeClock, asked: str) -> None:
    store = MemoryStore(clock=clock)
    method, path, accept = ASKS[asked]
    async with make_app(store, push=Cron(secret=SECRET), limits=Limits(stream=0)) as app:
        job = await app.submit("count", {"to": 1})
        await store.claim(1, ["count"], "gone")
        clock.advance(30)
        async with client(service(app, worker=False)) as http:
            body = {"ids": [job.id]} if method == "POST" else None
            headers = {"Accept": accept} if accept else {}
            reply = await http.request(method, path.format(id=job.id), json=body, headers=headers)
        assert reply.is_success and (await app.get(job)).status is Status.QUEUED
        if asked not in ("its events", "its stream", "its output"):
            assert "queued" in reply.text and "processing" not in reply.text


@pytest.mark.parametrize("asked", ["the job", "a list"])
async def test_a_store_that_is_read_and_not_written_shows_a_stale_job_as_it_is(
    app: Outlast, http: httpx2.AsyncClient, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    job, store = await app.submit("count", {"to": 1}), app.store
    assert isinstance(store, MemoryStore)
    await store.claim(1, ["count"], "gone")
    clock.advance(30)

    async def refused(changes: Sequence[Change]) -> list[Job[Any] | None]:
        raise StoreUnavailable("read only")

    monkeypatch.setattr(store, "apply", refused)
    reply = await http.get(ASKS[asked][1].format(id=job.id))
    assert reply.status_code == 200 and "processing" in reply.text
    assert app.observe.counts["sweep.failed"] == 1


async def test_one_sweep_is_under_way_at_a_time_and_nobody_else_waits_for_it(
    app: Outlast, http: httpx2.AsyncClient, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, store = await app.submit("count", {"to": 1}), app.store
    assert isinstance(store, MemoryStore)
    await store.claim(1, ["count"], "gone")
    clock.advance(30)
    sweeps, go = [0], asyncio.Event()

    async def slow(until: float | None = None) -> int:
        sweeps[0] += 1
        await go.wait()
        return 0

    monkeypatch.setattr(app, "_recover", slow)
    first = asyncio.create_task(http.get(f"/jobs/{job.id}"))
    await eventually(lambda: _is(sweeps == [1]))
    replies = [await http.get(f"/jobs/{job.id}"), await http.get("/jobs")]
    go.set()
    assert [reply.status_code for reply in [*replies, await first]] == [200, 200, 200] and sweeps == [1]


async def _is(fact: bool) -> bool:
    return fact


async def test_a_call_that_another_app_is_to_make_is_left_to_it(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(clock=clock)
    async with Outlast(store, push=Recorded(store)) as other, make_app(store, push=Recorded(store)) as app:

        @other.handler
        async def elsewhere(ctx: Context) -> None: ...

        theirs, ours, sweeps = await elsewhere.submit(), await app.submit("count", {"to": 1}), 0
        clock.advance(10)

        async def counted(until: float | None = None) -> int:
            nonlocal sweeps
            sweeps += 1
            return 0

        monkeypatch.setattr(app, "_recover", counted)
        async with client(service(app, worker=False)) as http:
            for job, expected in ((theirs, 0), (ours, 1)):
                await http.get(f"/jobs/{job.id}")
                assert sweeps == expected


async def test_without_a_push_to_ask_moves_nothing(clock: FakeClock) -> None:
    store = MemoryStore(clock=clock)
    async with make_app(store) as app, client(service(app, worker=False)) as http:
        job = await app.submit("count", {"to": 1})
        await store.claim(1, ["count"], "gone")
        clock.advance(30)
        assert (await http.get(f"/jobs/{job.id}")).json()["status"] == "processing"
