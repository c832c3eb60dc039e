"""Running jobs by hand: one, all that can, all until a time, one to its end; never hanging, never for real seconds."""

import asyncio
from time import monotonic
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from outlast import Context, Fail, InvalidRequest, Job, JobNotFound, Outlast, Retry, SignalTimeout, Status
from outlast.testing import Jobs, Stuck, using


async def test_a_job_is_submitted_and_run_and_nothing_else_is(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def double(ctx: Context, n: int) -> int:
        return 2 * n

    other = await double.submit(n=1)
    job = await jobs.run_now(double, n=21)
    assert (job.status, job.result, job.attempt) == (Status.COMPLETED, 42, 1)
    assert (await app.get(other)).status is Status.QUEUED
    assert (await jobs.run_now(other)).result == 2
    assert (await jobs.run_now("double", n=3)).result == 6
    assert (await jobs.run_now(double.options(owner="ada"), n=4)).owner == "ada"


async def test_a_payload_that_does_not_fit_is_refused_as_ever(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def double(ctx: Context, n: int) -> int:
        return 2 * n

    with pytest.raises(InvalidRequest):
        await jobs.run_now("double", n="many")
    with pytest.raises(InvalidRequest):
        await jobs.run_now("triple", n=1)


async def test_a_job_that_waits_or_is_to_be_tried_again_is_answered_as_it_is(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def asks(ctx: Context) -> Any:
        return await ctx.wait_for("answer")

    @app.handler
    async def stumbles(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise Retry(after="1h")
        return ctx.attempt

    asked, stumbled = await jobs.run_now(asks), await jobs.run_now(stumbles)
    assert (asked.status, stumbled.status) == (Status.WAITING, Status.RETRYING)
    await app.signal(asked, "answer", "yes")
    assert (await jobs.run_now(asked)).result == "yes"
    assert (await jobs.finish(stumbled)).result == 2


async def test_a_job_that_cannot_run_now_is_told_of_with_the_reason(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def quick(ctx: Context) -> None: ...

    with pytest.raises(Stuck, match=r"\(quick\) is queued, in 3600 s"):
        await jobs.run_now(quick.options(delay="1h"))
    done = await jobs.run_now(quick)
    with pytest.raises(Stuck, match=r"\(quick\) has completed"):
        await jobs.run_now(done)


async def test_draining_runs_what_is_claimable_and_what_that_submits_and_moves_no_time(
    app: Outlast, jobs: Jobs
) -> None:
    @app.handler
    async def parent(ctx: Context, n: int) -> int:
        children = [await child.submit(n=i) for i in range(n)]
        return sum([(await app.wait(one)).result for one in children])

    @app.handler
    async def child(ctx: Context, n: int) -> int:
        return n

    await parent.submit(n=4)
    await child.options(delay="1m").submit(n=100)
    before = jobs.clock.now()
    ran = await jobs.drain()
    assert [(job.type, job.result) for job in ran] == [("parent", 6), *(("child", n) for n in range(4))]
    assert await jobs.drain() == []
    assert jobs.clock.now() == before


async def test_time_that_passes_runs_what_becomes_due_when_it_does(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def naps(ctx: Context) -> list[float]:
        started = await ctx.step("start", passed)
        await ctx.sleep("10m")
        return [started, passed()]

    def passed() -> float:
        return jobs.clock.now() - began

    began = jobs.clock.now()
    await naps.submit()
    await naps.options(delay="5m").submit()
    await naps.options(delay="2h").submit()
    ran = await jobs.advance("1h")
    assert [job.result for job in ran] == [[0, 600], [300, 900]]
    assert passed() == 3600


async def test_the_clock_alone_moves_time_and_runs_nothing(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def naps(ctx: Context) -> None:
        await ctx.sleep("2h")

    job = await jobs.run_now(naps)
    jobs.clock.advance("2h")
    assert (await app.get(job)).status is Status.WAITING
    assert [job.status for job in await jobs.drain()] == [Status.COMPLETED]


async def test_a_wait_that_times_out_takes_no_time(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def asks(ctx: Context) -> str:
        try:
            await ctx.wait_for("answer", timeout="30d")
        except SignalTimeout:
            return "nobody answered"
        return "somebody did"

    began = monotonic()
    assert await jobs.call(asks) == "nobody answered"
    assert monotonic() - began < 5


async def test_a_job_that_only_a_signal_can_wake_is_an_error_and_no_hang(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def asks(ctx: Context) -> None:
        await ctx.wait_for("answer")

    job = await asks.submit()
    with pytest.raises(Stuck, match=rf"{job.id} \(asks\) waits for the signal 'answer', for ever"):
        await jobs.finish(job)
    with pytest.raises(Stuck, match="waits for the signal 'answer'"):
        await jobs.call(asks)


async def test_a_job_that_never_ends_is_an_error_and_no_hang(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def ticks(ctx: Context) -> None:
        raise Retry(after="1d")

    job = await ticks.options(retries=100, deadline=None).submit()
    assert (await jobs.finish(job)).attempt == 101

    @app.handler(timeout=None)
    async def naps(ctx: Context) -> None:
        while True:
            await ctx.sleep("1m")

    jobs.patience = 0.2
    with pytest.raises(Stuck, match=r"not come to an end within 0.2 s; .*\n.*\(naps\)"):
        await jobs.finish(await naps.submit())


async def test_a_handler_that_hangs_is_an_error_and_leaves_nothing_behind(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def hangs(ctx: Context) -> None:
        await ctx.step("listen", asyncio.Event().wait)

    jobs.patience = 1.0
    before = asyncio.all_tasks()
    with pytest.raises(Stuck, match=r"\(hangs\) is processing in step 'listen'.*"):
        await jobs.run_now(hangs)
    left = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not [name for name in left if name.startswith("outlast job_")]


async def test_a_call_gives_what_the_handler_returns_and_raises_what_it_raises(app: Outlast, jobs: Jobs) -> None:
    reason = ValueError("seven is too many")

    @app.handler
    async def counts(ctx: Context, n: int) -> int:
        if n == 7:
            raise reason
        if n == 8:
            raise Fail("no", code="budget")
        return n

    assert await jobs.call(counts, n=6) == 6
    with pytest.raises(ValueError, match="seven") as raised:
        await jobs.call(counts, n=7)
    assert raised.value is reason
    with pytest.raises(Fail, match="no"):
        await jobs.call(counts, n=8)


async def test_a_call_says_how_else_a_job_ended(app: Outlast, jobs: Jobs) -> None:
    @app.handler(timeout="15m", retries=0)
    async def slow(ctx: Context) -> None:
        await ctx.step("ask", ask)

    async def ask() -> None:
        jobs.clock.advance("20m")  # so long the model took
        await asyncio.Event().wait()

    with pytest.raises(Stuck, match=r"\(slow\) has failed: attempt 1 ran longer than its timeout of 900 s"):
        await jobs.call(slow)


async def test_a_short_sleep_that_is_over_takes_no_time_again(app: Outlast, jobs: Jobs) -> None:
    woken: list[float] = []

    @app.handler
    async def naps(ctx: Context) -> None:
        await ctx.sleep(3)
        await ctx.step("note", noted)
        woken.append(jobs.clock.now())
        await ctx.sleep("1h")

    async def noted() -> None: ...

    job = await jobs.run_now(naps)
    await jobs.finish(job)
    first, second = woken
    assert (first, second) == (job.created_at + 3, first + 3600)
    assert all(time <= second for time in jobs.clock._wanted), "nor does it pass later"


async def test_short_sleeps_pass_by_themselves_and_cost_no_lease(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def polls(ctx: Context) -> tuple[int, float]:
        began = jobs.clock.now()
        for _ in range(20):
            await ctx.sleep(5)
        return ctx.attempt, jobs.clock.now() - began

    @app.handler
    async def beside(ctx: Context) -> list[float]:
        async def sleeps(seconds: float) -> float:
            await ctx.sleep(seconds)
            return jobs.clock.now() - began

        began = jobs.clock.now()
        return list(await asyncio.gather(sleeps(3), sleeps(2), sleeps(4)))

    assert await jobs.call(polls) == (1, 100)
    assert await jobs.call(beside) == [3, 2, 4]


async def test_a_wait_beside_other_tasks_parks_in_no_time(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def both(ctx: Context) -> list[Any]:
        return list(await asyncio.gather(ctx.wait_for("one"), ctx.wait_for("two")))

    job = await jobs.run_now(both)
    assert job.status is Status.WAITING
    await app.signal(job, "two", 2)
    await app.signal(job, "one", 1)
    assert (await jobs.finish(job)).result == [1, 2]


async def test_the_resources_of_the_workers_are_there(jobs: Jobs) -> None:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def lifespan(app: Outlast) -> Any:
        yield {"model": "small"}

    app = Outlast("sqlite:////nowhere/at/all.db", lifespan=lifespan)

    @app.handler
    async def names(ctx: Context) -> str:
        return str(ctx.state["model"])

    with using(app) as jobs:
        assert await jobs.call(names) == "small"


async def test_what_the_app_does_on_its_moves_is_done_when_a_call_returns(app: Outlast, jobs: Jobs) -> None:
    alerts: list[str] = []

    @app.handler(retries=0)
    async def breaks(ctx: Context) -> None:
        raise ValueError("no")

    async def alert(job: Job[Any], error: BaseException | None) -> None:
        await asyncio.sleep(0)
        alerts.append(f"{job.type}: {error!r}")

    app.on("failed", alert)
    await jobs.run_now(breaks)
    assert alerts == ["breaks: ValueError('no')"]


async def test_attachments_are_there_for_as_long_as_they_would_be(app: Outlast, jobs: Jobs) -> None:
    @app.handler(keep="1h")
    async def measure(ctx: Context, image: str) -> int:
        return len((await ctx.attachment(image)).data)

    attached = await app.attach(b"four")
    assert await jobs.call(measure, image=attached.reference) == 4
    await jobs.advance("2h")
    await jobs.advance("2d")
    await jobs.drain()
    with pytest.raises(InvalidRequest, match="no such attachment"):
        await measure.submit(image=attached.reference)


def test_what_a_web_client_submits_lies_in_the_same_store(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def double(ctx: Context, n: int) -> int:
        return 2 * n

    host = Starlette(lifespan=app.lifespan)
    app.mount(host, "/jobs")
    client = TestClient(host, base_url="http://localhost")
    submitted = client.post("/jobs", json={"type": "double", "payload": {"n": 21}}).json()
    jobs.assert_submitted(double, n=21, times=1)
    jobs.sync(jobs.drain())
    assert client.get(submitted["urls"]["self"]).json()["result"] == 42


async def test_the_app_goes_on_with_its_own_store_afterwards(jobs: Jobs) -> None:
    async with Outlast("memory://") as app:

        @app.handler
        async def quick(ctx: Context) -> None: ...

        before = await quick.submit()
        with using(app) as inner:
            within = await inner.run_now(quick)
            with pytest.raises(JobNotFound):
                await app.get(before)
        assert (await app.get(before)).status is Status.QUEUED
        with pytest.raises(JobNotFound):
            await app.get(within)


async def test_a_handler_of_another_app_is_not_run_on_its_own_store(jobs: Jobs) -> None:
    other = Outlast("sqlite:////nowhere/at/all.db")

    @other.handler
    async def quick(ctx: Context) -> None: ...

    with pytest.raises(ValueError, match="'quick' belongs to another app"):
        await jobs.run_now(quick)


def test_a_plain_test_runs_the_same_calls(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def naps(ctx: Context) -> str:
        await ctx.sleep("1h")
        return "slept"

    job = jobs.sync(jobs.run_now(naps))
    assert job.status is Status.WAITING
    assert [one.result for one in jobs.sync(jobs.advance("1h"))] == ["slept"]
    assert app.sync(app.get(job)).status is Status.COMPLETED


async def test_what_code_without_a_loop_submits_lies_in_the_same_store(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def double(ctx: Context, n: int) -> int:
        return 2 * n

    job = await asyncio.to_thread(lambda: app.sync(double.submit(n=21)))
    jobs.assert_submitted(double, n=21)
    assert [ran.result for ran in await jobs.drain()] == [42]
    assert (await asyncio.to_thread(lambda: app.sync(app.get(job)))).result == 42


def test_code_without_a_loop_goes_on_with_its_own_store_afterwards() -> None:
    with Outlast("memory://") as app:

        @app.handler
        async def quick(ctx: Context) -> None: ...

        before = app.sync(quick.submit())
        for _ in range(2):
            with using(app) as jobs:
                assert jobs.sync(app.list()) == []
                jobs.sync(jobs.run_now(quick))
        assert [job.id for job in app.sync(app.list())] == [before.id]
