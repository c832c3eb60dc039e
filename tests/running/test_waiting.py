"""Parking: a job that waits holds no worker, and nothing it waits for is lost."""

import asyncio

import pytest

from outlast import Context, JobConflict, Outlast, SignalTimeout, Status
from outlast.job import Job
from outlast.testing import FakeClock
from tests.running.conftest import Until


async def test_a_parked_job_holds_no_slot(app: Outlast, until: Until) -> None:
    app.concurrency = 1

    @app.handler
    async def waits(ctx: Context) -> str:
        return str(await ctx.wait_for("go"))

    @app.handler
    async def quick(ctx: Context) -> str:
        return "quick"

    async with app.working():
        parked = await waits.submit()
        await until(lambda: _is(app, parked.id, Status.WAITING), "the job parks")
        assert (await app.wait(await quick.submit(), 10)).result == "quick"
        await app.signal(parked.id, "go", "on")
        ended = await app.wait(parked, 10)
    assert (ended.result, ended.attempt) == ("on", 1)


async def test_a_signal_sent_before_the_wait_is_not_lost(app: Outlast) -> None:
    @app.handler
    async def waits(ctx: Context) -> list[object]:
        return [await ctx.wait_for("go"), await ctx.wait_for("go"), await ctx.wait_for("other")]

    job = await waits.submit()
    await app.signal(job.id, "go", 1)
    await app.signal(job.id, "other", {"late": None})
    await app.signal(job.id, "go", 2)
    async with app.working():
        ended = await app.wait(job, 10)
    assert ended.result == [1, 2, {"late": None}]
    assert "job.waiting" not in [event.type for event in await app.events(job.id)]


async def test_a_wait_for_a_signal_that_nobody_can_send_is_refused(app: Outlast) -> None:
    @app.handler(retries=0)
    async def waits(ctx: Context) -> None:
        await ctx.wait_for("")

    async with app.working():
        job = await app.wait(await waits.submit(), 10)
    assert job.last_error is not None
    assert "a signal is named by 1 to 128 printable characters" in job.last_error.message


async def test_the_same_signal_key_counts_once(app: Outlast) -> None:
    @app.handler
    async def waits(ctx: Context) -> None: ...

    job = await waits.submit()
    for _ in range(3):
        await app.signal(job.id, "go", 1, key="k1")
    assert (await app.get(job.id)).inbox == ("go",)


async def test_an_ended_job_takes_no_signal(app: Outlast) -> None:
    @app.handler
    async def waits(ctx: Context) -> None: ...

    job = await waits.submit()
    await app.cancel(job.id)
    with pytest.raises(JobConflict, match="has cancelled"):
        await app.signal(job.id, "go")


async def test_an_inbox_holds_a_hundred_signals(app: Outlast) -> None:
    @app.handler
    async def waits(ctx: Context) -> None: ...

    job = await waits.submit()
    for n in range(100):
        await app.signal(job.id, "go", n)
    with pytest.raises(JobConflict, match="100 signals"):
        await app.signal(job.id, "go", 100)


async def test_a_wait_that_times_out_raises_on_replay_too(timeless: Outlast, clock: FakeClock, until: Until) -> None:
    caught: list[int] = []

    @timeless.handler(retries=1, backoff=0)
    async def waits(ctx: Context) -> str:
        try:
            await ctx.wait_for("go", timeout="2d")
        except SignalTimeout:
            caught.append(ctx.attempt)
        if ctx.attempt == 1:
            raise RuntimeError("again")
        return "gave up"

    async with timeless.working():
        job = await waits.submit()
        await until(lambda: _is(timeless, job.id, Status.WAITING), "the job parks")
        clock.advance(2 * 86400 - 1)
        assert (await timeless.get(job.id)).status is Status.WAITING
        clock.advance(2)
        ended = await timeless.wait(job, 1000)
    assert (ended.result, caught) == ("gave up", [1, 2])


async def test_a_long_sleep_parks_and_is_slept_once(timeless: Outlast, clock: FakeClock, until: Until) -> None:
    runs: list[float] = []

    @timeless.handler
    async def naps(ctx: Context) -> float:
        runs.append(clock.now())
        await ctx.sleep("1h")
        return clock.now() - runs[0]

    async with timeless.working():
        job = await naps.submit()
        await until(lambda: _is(timeless, job.id, Status.WAITING), "the job parks")
        clock.advance(3600)
        ended = await timeless.wait(job, 1000)
    assert ended.result == 3600
    assert (len(runs), ended.attempt) == (2, 1)


async def test_parked_time_is_not_running_time(timeless: Outlast, clock: FakeClock, until: Until) -> None:
    @timeless.handler(timeout="1m")
    async def naps(ctx: Context) -> float | None:
        await ctx.sleep("3h")
        return ctx.remaining()

    async with timeless.working():
        job = await naps.submit()
        await until(lambda: _is(timeless, job.id, Status.WAITING), "the job parks")
        clock.advance(3 * 3600)
        ended = await timeless.wait(job, 1000)
    assert ended.result == pytest.approx(60, abs=1)


async def test_a_wait_beside_steps_lets_them_end_and_be_recorded(app: Outlast, until: Until) -> None:
    ran: list[str] = []

    async def work(name: str) -> str:
        ran.append(name)
        await asyncio.sleep(0.2)
        return name

    @app.handler
    async def both(ctx: Context) -> list[object]:
        async def chain() -> list[str]:
            return [await ctx.step("one", work, "one"), await ctx.step("two", work, "two")]

        return list(await asyncio.gather(ctx.wait_for("go"), chain()))

    async with app.working():
        job = await both.submit()
        await until(lambda: _is(app, job.id, Status.WAITING), "the job parks once its steps are done")
        assert ran == ["one", "two"]
        await app.signal(job.id, "go", "on")
        ended = await app.wait(job, 10)
    assert (ended.result, ran) == (["on", ["one", "two"]], ["one", "two"])


async def test_a_signal_that_comes_while_steps_run_is_taken_in_place(app: Outlast) -> None:
    started = asyncio.Event()

    async def work() -> str:
        started.set()
        await asyncio.sleep(0.2)
        return "worked"

    @app.handler
    async def both(ctx: Context) -> list[object]:
        return list(await asyncio.gather(ctx.wait_for("go"), ctx.step("work", work)))

    async with app.working():
        job = await both.submit()
        await started.wait()
        await app.signal(job.id, "go", "on")
        ended = await app.wait(job, 10)
    assert ended.result == ["on", "worked"]
    assert "job.waiting" not in [event.type for event in await app.events(job.id)]


async def test_unwinding_after_a_hand_back_changes_nothing(app: Outlast, until: Until) -> None:
    unwound: list[str] = []

    @app.handler
    async def waits(ctx: Context) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(3600))
                return str(await ctx.wait_for("go"))
        except asyncio.CancelledError:
            unwound.append("cancelled")
            raise
        finally:
            unwound.append("finally")
            ctx.write("must not be seen")
            ctx.progress(99)

    async with app.working():
        job = await waits.submit()
        await until(lambda: _is(app, job.id, Status.WAITING), "the job parks")
        await until(lambda: _true(unwound == ["cancelled", "finally"]), "the handler unwinds")
        parked = await app.get(job.id)
        assert (parked.progress, await app.output(job.id)) == (None, "")
        await app.cancel(job.id)
        assert (await app.get(job.id)).status is Status.CANCELLED


async def _is(app: Outlast, id: str, status: Status) -> bool:
    job: Job[object] = await app.get(id)
    return job.status is status


async def _true(fact: bool) -> bool:
    return fact
