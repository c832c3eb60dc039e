"""`def` handlers: the verbs of the Context, each of which blocks until it is done."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from outlast import ConfigurationError, Context, ContextClosed, Outlast, SignalTimeout, Status, SyncContext
from outlast.job import Job
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from tests.running.conftest import Until


@pytest.fixture(autouse=True)
def brief_unwinding(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits ten seconds for a thread that it holds up itself."""
    monkeypatch.setattr("outlast.attempt.UNWIND", 0.2)


def double(number: int) -> int:
    return 2 * number


async def half(number: int) -> int:
    await asyncio.sleep(0)
    return number // 2


# -- the verbs ------------------------------------------------------------------------------------------------------


async def test_its_steps_are_remembered_whether_they_block_or_not(app: Outlast) -> None:
    ran: list[int] = []

    def noted(number: int) -> int:
        ran.append(number)
        return double(number)

    @app.handler(retries=1, backoff=0)
    def counts(ctx: SyncContext, number: int) -> list[int]:
        found = [ctx.step("double", noted, number), ctx.step("half", half, number)]
        if ctx.attempt == 1:
            raise RuntimeError("after its steps")
        return found

    async with app.working():
        job = await app.wait(await counts.submit(10), 10)
    assert (job.result, job.attempt, ran) == ([20, 5], 2, [10])


async def test_what_it_shows_is_seen_in_its_order(app: Outlast) -> None:
    @app.handler
    def shows(ctx: Context) -> str:
        ctx.write("one ")
        ctx.progress(30, "begun")
        ctx.log("a line")
        ctx.usage(input_tokens=7)
        ctx.step("double", double, 1)
        ctx.write("two")
        return f"{ctx.job.type} {ctx.attempt} {ctx.remaining() is not None} {ctx.should_yield()} {ctx.state}"

    async with app.working():
        job = await app.wait(await shows.submit(), 10)
    assert (job.result, job.message, job.usage) == ("shows 1 True False None", "begun", {"inputTokens": 7})
    assert await app.output(job.id) == "one two"
    assert [event.data["message"] for event in await app.log(job.id) if event.type == "job.log"] == ["a line"]


async def test_each_place_has_the_context_that_fits_it(app: Outlast) -> None:
    def in_thread() -> list[Any]:
        return [type(Context.current()).__name__, SyncContext.current() is Context.current()]

    async def on_loop() -> list[Any]:
        return [type(Context.current()).__name__, SyncContext.current()]

    @app.handler
    def places(ctx: Context) -> list[Any]:
        assert isinstance(ctx, SyncContext)
        assert Context.current() is ctx
        keys = {ctx.key, ctx.step("key", lambda: str(SyncContext.current().key))}  # type: ignore[union-attr]
        return [ctx.step("thread", in_thread), ctx.step("loop", on_loop), len(keys)]

    async with app.working():
        job = await app.wait(await places.submit(), 10)
    assert job.result == [["SyncContext", True], ["Context", None], 2]
    assert SyncContext.current() is None


async def test_a_step_within_a_blocking_step_is_remembered_by_itself(app: Outlast) -> None:
    ran: list[int] = []

    def inner(number: int) -> int:
        ran.append(number)
        return number

    def outer(number: int) -> int:
        ctx = SyncContext.current()
        assert ctx is not None
        found = ctx.step("inner", inner, number)
        if ctx.attempt == 1:
            raise RuntimeError("after the inner step")
        return found

    @app.handler(retries=1, backoff=0)
    def nests(ctx: SyncContext) -> int:
        return ctx.step("outer", outer, 3)

    async with app.working():
        job = await app.wait(await nests.submit(), 10)
    assert (job.result, ran) == (3, [3])


async def test_its_threads_run_steps_side_by_side(app: Outlast) -> None:
    together = threading.Barrier(3, timeout=10)

    def meets(number: int) -> int:
        together.wait()
        return number

    @app.handler(retries=0)
    def side_by_side(ctx: SyncContext) -> list[int]:
        with ThreadPoolExecutor() as pool:
            calls = [pool.submit(copy_context().run, ctx.step, "meets", meets, number) for number in range(3)]
            return [call.result() for call in calls]

    async with app.working():
        job = await app.wait(await side_by_side.submit(), 10)
    assert job.result == [0, 1, 2]
    assert len(await app.steps(job.id)) == 3


async def test_what_a_step_raises_reaches_the_handler(app: Outlast) -> None:
    async def breaks() -> None:
        raise KeyError("gone")

    @app.handler(retries=0)
    def copes(ctx: SyncContext) -> str:
        try:
            ctx.step("breaks", breaks)
        except KeyError as error:
            return str(error)
        return "unreached"

    async with app.working():
        assert (await app.wait(await copes.submit(), 10)).result == "'gone'"


async def test_blocking_the_event_loop_with_it_is_refused(app: Outlast) -> None:
    @app.handler(retries=0)
    def confuses(ctx: SyncContext) -> None:
        async def blocks() -> int:
            return ctx.step("double", double, 1)

        ctx.step("blocks", blocks)

    async with app.working():
        job = await app.wait(await confuses.submit(), 10)
    assert job.last_error is not None
    assert "in it, use Context.current()" in job.last_error.message


async def test_handlers_that_can_be_neither_are_refused_with_a_way_out(app: Outlast) -> None:
    async def on_loop(ctx: SyncContext) -> None: ...

    def yields(ctx: Context) -> Any:
        yield 1

    with pytest.raises(ConfigurationError, match="make it `ctx: Context`"):
        app.handler(on_loop)
    with pytest.raises(ConfigurationError, match=r"`ctx.write` what comes on the way"):
        app.handler(yields)

    @app.handler(retries=0)
    def forgets(ctx: Context) -> Any:
        return half(2)

    async with app.working():
        job = await app.wait(await forgets.submit(), 10)
    assert job.last_error is not None
    assert "a handler that awaits is an `async def`" in job.last_error.message


# -- parking --------------------------------------------------------------------------------------------------------


async def test_a_parked_one_holds_neither_a_slot_nor_a_thread(app: Outlast, until: Until) -> None:
    app.concurrency = 1
    unwound: list[str] = []

    @app.handler
    def waits(ctx: SyncContext) -> str:
        try:
            return str(ctx.wait_for("go"))
        except Exception as error:
            unwound.append(f"caught {error!r}")
            raise
        finally:
            unwound.append("let go")
            if not unwound[1:]:
                with pytest.raises(ContextClosed):
                    ctx.write("must not be seen")
                with pytest.raises(ContextClosed):
                    ctx.step("late", double, 1)

    @app.handler
    def quick(ctx: SyncContext) -> str:
        return "quick"

    async with app.working():
        parked = await waits.submit()
        await until(lambda: _is(app, parked, Status.WAITING), "the job parks")
        await until(lambda: _fact(unwound == ["let go"]), "its thread unwinds")
        assert (await app.wait(await quick.submit(), 10)).result == "quick"
        await app.signal(parked, "go", "on")
        ended = await app.wait(parked, 10)
    assert (ended.result, ended.attempt, unwound) == ("on", 1, ["let go", "let go"])
    assert await app.output(parked.id) == ""
    assert [step.name for step in await app.steps(parked.id)] == ["wait_for go"]
    assert not threads_named("waits")


async def test_a_long_sleep_parks_and_is_slept_once(timeless: Outlast, clock: FakeClock, until: Until) -> None:
    begun: list[float] = []

    @timeless.handler
    def naps(ctx: SyncContext) -> float:
        begun.append(clock.now())
        ctx.sleep("1h")
        return clock.now() - begun[0]

    async with timeless.working():
        job = await naps.submit()
        await until(lambda: _is(timeless, job, Status.WAITING), "the job parks")
        clock.advance(3600)
        ended = await timeless.wait(job, 1000)
    assert (ended.result, len(begun), ended.attempt) == (3600, 2, 1)


async def test_a_wait_beside_steps_in_other_threads_lets_them_end(app: Outlast, until: Until) -> None:
    ran: list[int] = []

    def works(number: int) -> int:
        time.sleep(0.1)
        ran.append(number)
        return number

    @app.handler
    def both(ctx: SyncContext) -> list[Any]:
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(copy_context().run, ctx.wait_for, "go")
            return [[ctx.step("works", works, number) for number in range(3)], waiting.result()]

    async with app.working():
        job = await both.submit()
        await until(lambda: _is(app, job, Status.WAITING), "the job parks once its steps are done")
        assert ran == [0, 1, 2]
        await app.signal(job, "go", "on")
        assert (await app.wait(job, 10)).result == [[0, 1, 2], "on"]
    assert ran == [0, 1, 2]


async def test_a_wait_that_times_out_raises(timeless: Outlast, clock: FakeClock, until: Until) -> None:
    @timeless.handler
    def waits(ctx: SyncContext) -> str:
        try:
            return str(ctx.wait_for("go", timeout="2d"))
        except SignalTimeout:
            return "gave up"

    async with timeless.working():
        job = await waits.submit()
        await until(lambda: _is(timeless, job, Status.WAITING), "the job parks")
        clock.advance(2 * 86400 + 1)
        assert (await timeless.wait(job, 1000)).result == "gave up"


async def test_a_worker_that_stops_hands_it_back_between_two_steps(app: Outlast) -> None:
    running = asyncio.Event()
    loop = asyncio.get_running_loop()
    ran: list[str] = []

    def works(name: str) -> str:
        ran.append(name)
        loop.call_soon_threadsafe(running.set)
        time.sleep(0.1)
        return name

    @app.handler(retries=0)
    def long(ctx: SyncContext) -> list[str]:
        return [ctx.step(name, works, name) for name in ("one", "two")]

    job = await long.submit()
    async with app.working():
        await running.wait()
    handed_back = await app.get(job.id)
    assert (handed_back.status, handed_back.attempt, ran) == (Status.QUEUED, 1, ["one"])
    async with app.working():
        assert (await app.wait(job, 10)).result == ["one", "two"]
    assert ran == ["one", "two"]


# -- left behind ----------------------------------------------------------------------------------------------------


class Stuck:
    """A `def` handler's body that nothing can stop, until the test lets go of it."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.gate = threading.Event()
        self.heard: list[str] = []

    def hold(self, ctx: SyncContext) -> str:
        self.running.set()
        self.gate.wait(30)
        for verb in (lambda: ctx.write("late"), lambda: ctx.step("late", double, 1), ctx.should_yield, ctx.remaining):
            try:
                verb()
                self.heard.append("nothing")
            except ContextClosed:
                self.heard.append("closed")
        return "late"


async def test_one_past_its_timeout_ends_its_job_in_time_and_frees_the_slot(app: Outlast, until: Until) -> None:
    app.concurrency = 1
    stuck = Stuck()

    @app.handler(timeout=0.2, retries=0)
    def sleeps(ctx: SyncContext) -> str:
        return stuck.hold(ctx)

    @app.handler
    def quick(ctx: SyncContext) -> str:
        return "quick"

    async with app.working():
        began = time.monotonic()
        job = await app.wait(await sleeps.submit(), 10)
        assert time.monotonic() - began < 3
        assert (await app.wait(await quick.submit(), 10)).result == "quick"
        assert threads_named("sleeps"), "it still runs"
        log = await app.log(job.id)
        stuck.gate.set()
        await until(lambda: _fact(not threads_named("sleeps")), "the thread ends")
    assert job.last_error is not None
    assert (job.status, job.last_error.code) == (Status.FAILED, "timeout")
    assert stuck.heard == ["closed"] * 4
    assert (await app.get(job.id), await app.log(job.id)) == (job, log), "the late result changes nothing"


async def test_a_cancelled_one_ends_at_once(app: Outlast, until: Until) -> None:
    stuck = Stuck()

    @app.handler
    def sleeps(ctx: SyncContext) -> str:
        return stuck.hold(ctx)

    async with app.working():
        job = await sleeps.submit()
        await asyncio.to_thread(stuck.running.wait)
        await app.cancel(job)
        ended = await app.wait(job, 5)
        stuck.gate.set()
        await until(lambda: _fact(not threads_named("sleeps")), "the thread ends")
    assert (ended.status, stuck.heard) == (Status.CANCELLED, ["closed"] * 4)
    assert (await app.get(job.id)).seq == ended.seq


async def test_a_cancel_reaches_an_awaiting_step_of_it(app: Outlast) -> None:
    running = asyncio.Event()
    cleaned: list[str] = []

    async def works() -> None:
        running.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append("up")

    @app.handler
    def calls(ctx: SyncContext) -> None:
        ctx.step("works", works)

    async with app.working():
        job = await calls.submit()
        await running.wait()
        await app.cancel(job)
        assert (await app.wait(job, 10)).status is Status.CANCELLED
        assert cleaned == ["up"], "it was given the time to clean up before the end"


async def test_one_whose_lease_is_lost_is_refused(until: Until) -> None:
    stuck = Stuck()
    async with Outlast(MemoryStore()) as app:

        @app.handler
        def sleeps(ctx: SyncContext) -> str:
            if ctx.attempt == 1:
                return stuck.hold(ctx)
            return "the second"

        async with app.working() as worker:
            job = await sleeps.submit()
            await asyncio.to_thread(stuck.running.wait)
            [attempt] = worker._running.values()
            attempt.lose()
            await until(lambda: _fact(not worker._running), "the slot is free")
            stuck.gate.set()
            await until(lambda: _fact(not threads_named("sleeps")), "the thread ends")
            assert (await app.get(job.id)).status is Status.PROCESSING
    assert stuck.heard == ["closed"] * 4


async def test_a_step_that_hangs_in_a_thread_does_not_hold_the_end_of_its_job(app: Outlast) -> None:
    gate = threading.Event()

    @app.handler(timeout=0.2, retries=0)
    async def calls(ctx: Context) -> None:
        await ctx.step("hangs", gate.wait, 30)

    async with app.working():
        job = await app.wait(await calls.submit(), 5)
        gate.set()
    assert job.last_error is not None
    assert job.last_error.code == "timeout"


# -- too many of them -----------------------------------------------------------------------------------------------


async def test_a_worker_that_is_full_of_them_hands_its_work_back_and_gives_up(app: Outlast, until: Until) -> None:
    app.concurrency = 4
    gate = threading.Event()

    @app.handler(timeout=0.1, retries=0)
    def hangs(ctx: SyncContext) -> None:
        gate.wait(30)

    @app.handler(timeout=0.1, retries=0)
    async def hangs_in_a_step(ctx: Context) -> None:
        await ctx.step("hangs", gate.wait, 30)

    @app.handler(retries=0)
    async def works(ctx: Context) -> None:
        await asyncio.sleep(3600)

    async with app.working() as worker:
        held = await works.submit()
        await app.wait(await hangs.submit(), 10)
        await until(lambda: _fact(app.observe.counts["handler.hung"] == 1), "it is left behind")
        assert not app.stuck, "one of four slots is no more than a quarter"
        await app.wait(await hangs_in_a_step.submit(), 10)
        await until(lambda: _fact(worker.ended.is_set()), "the worker gives up")
        assert app.stuck
        late = await works.submit()
        handed_back = await app.get(held)
        assert (handed_back.status, handed_back.attempt) == (Status.QUEUED, 1)
        assert (await app.get(late)).status is Status.QUEUED
        gate.set()
    assert app.observe.counts["worker.stuck"] == 1


async def test_threads_that_end_after_all_are_forgotten(app: Outlast, until: Until) -> None:
    app.concurrency = 4
    let_go = threading.Event()

    @app.handler(timeout=0.1, retries=0)
    def lingers(ctx: SyncContext) -> None:
        let_go.wait()

    async with app.working() as worker:
        for count in (1, 2, 3):
            let_go.clear()
            await app.wait(await lingers.submit(), 10)
            await until(lambda n=count: _fact(app.observe.counts["handler.hung"] == n), "it is left behind")  # type: ignore[misc]
            let_go.set()
            await until(lambda: _fact(not threads_named("lingers")), "it ends")
        assert not worker.ended.is_set()


def threads_named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"outlast {name}"]


async def _is(app: Outlast, job: Job[Any], status: Status) -> bool:
    return (await app.get(job.id)).status is status


async def _fact(fact: bool) -> bool:
    return fact
