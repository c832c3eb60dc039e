"""Steps with retries and a timeout of their own: tried again where they are, within one attempt."""

import asyncio
import threading
from itertools import pairwise
from typing import Any

import pytest

from outlast import Context, ContextClosed, Fail, Outlast, Retry, Status, StepTimeout, SyncContext
from outlast.job import Job
from outlast.testing import FakeClock
from outlast.worker import Worker
from tests.running.conftest import Until


class Flaky:
    """Raises as often as it is told to, and counts its calls."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.calls = 0
        self.keys: set[str] = set()
        self._failures = failures
        self._error = error or OSError("the line is cut")

    async def call(self, number: int = 7) -> int:
        ctx = Context.current()
        assert ctx is not None
        self.calls += 1
        self.keys.add(ctx.key)
        ctx.write(f"try {self.calls} ")
        if self.calls <= self._failures:
            raise self._error
        return number


async def statuses(app: Outlast, job: Job[Any]) -> list[str]:
    return [event.data["status"] for event in await app.log(job.id) if event.type == "job.step"]


async def test_a_step_is_tried_again_within_the_attempt_and_writes_its_text_once(app: Outlast) -> None:
    flaky = Flaky(2)

    @app.handler(retries=0)
    async def calls(ctx: Context) -> int:
        ctx.write("before ")
        found = await ctx.options(retries=2, backoff=0).step("flaky", flaky.call, 3)
        ctx.write("after")
        return found

    async with app.working():
        job = await app.wait(await calls.submit(), 10)
    assert (job.result, job.attempt, flaky.calls) == (3, 1, 3)
    assert await statuses(app, job) == ["running", "failed", "running", "failed", "running", "completed"]
    assert await app.output(job.id) == "before try 3 after"
    assert len(flaky.keys) == 1, "its key for a provider is the same in every try"
    assert [step.name for step in await app.steps(job.id)] == ["flaky"]


async def test_when_no_try_is_left_its_error_is_the_handlers(app: Outlast) -> None:
    flaky = Flaky(9)

    @app.handler(retries=0)
    async def calls(ctx: Context) -> str:
        try:
            await ctx.options(retries=2, backoff=0).step("flaky", flaky.call)
        except OSError as error:
            return str(error)
        return "unreached"

    async with app.working():
        assert (await app.wait(await calls.submit(), 10)).result == "the line is cut"
    assert flaky.calls == 3


@pytest.mark.parametrize("error", [Fail("no such page"), ExceptionGroup("both", [OSError("x"), Fail("no such page")])])
async def test_what_no_try_mends_is_not_tried_again(app: Outlast, error: Exception) -> None:
    flaky = Flaky(9, error)

    @app.handler
    async def calls(ctx: Context) -> None:
        await ctx.options(retries=5, backoff=0).step("flaky", flaky.call)

    @app.handler
    async def odd(ctx: Context) -> None:
        await ctx.options(retries=5, backoff=0).step("odd", lambda: flaky)

    async with app.working():
        jobs = [await app.wait(await handler.submit(), 10) for handler in (calls, odd)]
    assert [job.last_error.code for job in jobs if job.last_error] == ["handler_error", "result_not_json"]
    assert (flaky.calls, [job.attempt for job in jobs]) == (1, [1, 1])


async def test_tries_back_off(
    timeless: Outlast, clock: FakeClock, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.context.random", lambda: 0.5)
    flaky = Flaky(3)
    times: list[float] = []

    async def timed() -> int:
        times.append(clock.now())
        return await flaky.call()

    @timeless.handler(retries=0)
    async def calls(ctx: Context) -> int:
        return await ctx.options(retries=3, backoff=(4, 6)).step("flaky", timed)

    async with timeless.working() as worker:
        job = await calls.submit()
        for count, pause in enumerate((2, 3, 3), 1):
            await until(lambda n=count: paused(worker, flaky, n), f"try {count} fails")  # type: ignore[misc]
            clock.advance(pause)
        assert (await timeless.wait(job, 1000)).result == 7
    assert [later - earlier for earlier, later in pairwise(times)] == [2, 3, 3]


async def test_a_step_says_when_to_try_it_again(timeless: Outlast, clock: FakeClock, until: Until) -> None:
    flaky = Flaky(1, Retry("busy", after="20s", code="rate_limited"))

    @timeless.handler(retries=0)
    async def calls(ctx: Context) -> int:
        return await ctx.options(retries=1).step("flaky", flaky.call)

    async with timeless.working() as worker:
        job = await calls.submit()
        await until(lambda: paused(worker, flaky, 1), "the first try fails")
        clock.advance(19)
        assert flaky.calls == 1
        clock.advance(1)
        assert (await timeless.wait(job, 1000)).result == 7


async def test_a_pause_that_would_outlast_the_attempt_is_left_to_the_job(timeless: Outlast, until: Until) -> None:
    flaky = Flaky(1, Retry("busy", after="1h", code="rate_limited"))

    @timeless.handler(retries=1, timeout="15m")
    async def calls(ctx: Context) -> int:
        return await ctx.options(retries=5).step("flaky", flaky.call)

    async with timeless.working():
        job = await calls.submit()
        await until(lambda: has_status(timeless, job, Status.RETRYING), "the job is to be tried again")
        retrying = await timeless.get(job)
    assert (retrying.last_error and retrying.last_error.code, retrying.attempt) == ("rate_limited", 1)


async def test_a_step_past_its_timeout_is_cancelled_and_tried_again(
    timeless: Outlast, clock: FakeClock, until: Until
) -> None:
    begun: list[int] = []
    cleaned: list[int] = []

    async def slow() -> str:
        begun.append(1)
        if len(begun) == 2:
            return "in time"
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(1)
        return "unreached"

    @timeless.handler(retries=0)
    async def calls(ctx: Context) -> str:
        return await ctx.options(retries=1, timeout="10s", backoff=0).step("slow", slow)

    async with timeless.working():
        job = await calls.submit()
        await until(lambda: fact(len(begun) == 1), "it runs")
        clock.advance(11)
        ended = await timeless.wait(job, 1000)
    assert (ended.result, ended.attempt, cleaned) == ("in time", 1, [1])


async def test_a_step_that_ran_out_of_time_and_tries_says_so(timeless: Outlast, clock: FakeClock, until: Until) -> None:
    running = asyncio.Event()

    async def slow() -> None:
        running.set()
        await asyncio.sleep(3600)

    @timeless.handler(retries=0)
    async def calls(ctx: Context) -> str:
        with pytest.raises(StepTimeout) as caught:
            await ctx.options(timeout="10s").step("slow", slow)
        raise caught.value

    async with timeless.working():
        job = await calls.submit()
        await running.wait()
        clock.advance(11)
        ended = await timeless.wait(job, 1000)
    assert ended.last_error is not None
    assert ended.last_error.code == "timeout"
    assert ended.last_error.message == "step 'slow' ran longer than its timeout of 10 s"


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_thread_that_ran_out_of_time_is_left_behind_and_changes_nothing(
    app: Outlast, until: Until, blocking: bool
) -> None:
    gate = threading.Event()
    calls: list[int] = []
    heard: list[str] = []

    def slow() -> str:
        ctx = Context.current()
        assert ctx is not None
        calls.append(1)
        if len(calls) == 2:
            ctx.write("second")
            return "second"
        ctx.write("first")
        gate.wait(30)
        try:
            ctx.write("late")
        except ContextClosed as error:
            heard.append(str(error))
        return "first"

    async def awaits(ctx: Context) -> str:
        found = await ctx.options(retries=1, timeout=0.2, backoff=0).step("slow", slow)
        gate.set()
        await until(lambda: fact(bool(heard)), "the first try hears of it")
        return found

    def blocks(ctx: SyncContext) -> str:
        found = ctx.options(retries=1, timeout=0.2, backoff=0).step("slow", slow)
        gate.set()
        while not heard:
            ctx.sleep(0.005)
        return found

    handler: Any = app.handler(retries=0)(blocks if blocking else awaits)
    async with app.working():
        job = await app.wait(await handler.submit(), 10)
    assert (job.result, len(calls), len(heard)) == ("second", 2, 1)
    assert "its step ran out of time" in heard[0]
    assert await app.output(job.id) == "second"


async def test_a_deploy_ends_the_pause_and_burns_no_attempt(timeless: Outlast, until: Until) -> None:
    flaky = Flaky(1)

    @timeless.handler(retries=0)
    async def calls(ctx: Context) -> int:
        return await ctx.options(retries=1, backoff="10m").step("flaky", flaky.call)

    async with timeless.working() as worker:
        job = await calls.submit()
        await until(lambda: paused(worker, flaky, 1), "the first try fails")
    handed_back = await timeless.get(job)
    assert (handed_back.status, handed_back.attempt) == (Status.QUEUED, 1)
    async with timeless.working():
        ended = await timeless.wait(job, 1000)
    assert (ended.result, ended.attempt, flaky.calls) == (7, 1, 2)


async def test_a_cancel_ends_the_pause(timeless: Outlast, until: Until) -> None:
    flaky = Flaky(1)

    @timeless.handler
    async def calls(ctx: Context) -> int:
        return await ctx.options(retries=1, backoff="10m").step("flaky", flaky.call)

    async with timeless.working() as worker:
        job = await calls.submit()
        await until(lambda: paused(worker, flaky, 1), "the first try fails")
        await timeless.cancel(job)
        await until(lambda: has_status(timeless, job, Status.CANCELLED), "the job is cancelled")
    assert flaky.calls == 1


async def test_a_wait_beside_a_pause_does_not_park_the_job(app: Outlast, until: Until) -> None:
    flaky = Flaky(1, Retry(after=1.5))

    @app.handler
    async def both(ctx: Context) -> list[Any]:
        tried = ctx.options(retries=1).step("flaky", flaky.call)
        return list(await asyncio.gather(ctx.wait_for("go", timeout=5), tried))

    async with app.working():
        job = await both.submit()
        await until(lambda: fact(flaky.calls == 2), "it is tried again")
        assert "job.waiting" not in [event.type for event in await app.log(job.id)]
        await app.signal(job, "go", "on")
        assert (await app.wait(job, 10)).result == ["on", 7]


async def test_a_remembered_step_within_one_that_is_tried_again_is_not_called_again(app: Outlast) -> None:
    flaky, paid = Flaky(1), Flaky(0)

    async def outer(ctx: Context) -> list[int]:
        ctx.write("[")
        costly = [await ctx.step("paid", paid.call, number) for number in (1, 2)]
        found = await flaky.call()
        ctx.write("]")
        return [*costly, found]

    @app.handler(retries=0)
    async def nests(ctx: Context) -> list[int]:
        return await ctx.options(retries=1, backoff=0).step("outer", outer, ctx)

    async with app.working():
        job = await app.wait(await nests.submit(), 10)
    assert (job.result, paid.calls, flaky.calls) == ([1, 2, 7], 2, 2)
    assert await app.output(job.id) == "try 1 try 2 [try 2 ]"


async def test_a_step_is_remembered_with_and_without_options(app: Outlast) -> None:
    steady = Flaky(0)

    @app.handler(retries=1, backoff=0)
    async def calls(ctx: Context) -> int:
        if ctx.attempt == 1:
            await ctx.step("steady", steady.call)
            raise RuntimeError("again")
        return await ctx.options(retries=3, timeout="1m").step("steady", steady.call)

    async with app.working():
        job = await app.wait(await calls.submit(), 10)
    assert (job.result, job.attempt, steady.calls) == (7, 2, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "from 0 to 100"),
        ({"timeout": "soon"}, "a duration"),
        ({"timeout": 0}, "more than 0"),
        ({"backoff": (1, -1)}, "a duration"),
    ],
)
async def test_options_that_cannot_be_meant_are_refused(app: Outlast, options: dict[str, Any], message: str) -> None:
    @app.handler(retries=0)
    async def calls(ctx: Context) -> None:
        ctx.options(**options)

    async with app.working():
        job = await app.wait(await calls.submit(), 10)
    assert job.last_error is not None
    assert message in job.last_error.message


async def paused(worker: Worker, flaky: Flaky, calls: int) -> bool:
    """True once it was called so often, and the pause after that has begun."""
    contexts = [attempt._context for attempt in worker._running.values()]
    return flaky.calls == calls and any(context is not None and context._pauses for context in contexts)


async def has_status(app: Outlast, job: Job[Any], status: Status) -> bool:
    return (await app.get(job)).status is status


async def fact(fact: bool) -> bool:
    return fact
