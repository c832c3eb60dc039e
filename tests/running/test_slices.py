"""Slices of named jobs, where no worker is and time is limited: they end where steps end, and nothing is lost."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from math import inf
from time import monotonic
from typing import Any

import pytest

from outlast import Context, JobNotFound, Outlast, Retry, Status, SyncContext
from outlast.job import Change, Job
from outlast.opened import Opened
from outlast.stores import open_store
from outlast.stores.base import Claimed, Lease
from outlast.testing import FakeClock
from outlast.window import RECENT, Window, pauses_by, usual
from tests.running.conftest import Until


@pytest.fixture
def called(timeless: Outlast, clock: FakeClock) -> list[int]:
    """The numbers of the steps that were called, of the handler `count`: 3 s each, unless a job says otherwise."""
    numbers: list[int] = []

    async def one(number: int, takes: float) -> int:
        numbers.append(number)
        context = Context.current()
        assert context is not None
        context.write(f"{number} ")
        clock.advance(takes)
        return number

    @timeless.handler(retries=1)
    async def count(ctx: Context, to: int, takes: float = 3.0) -> int:
        for number in range(to):
            await ctx.step("count", one, number, takes)
        return to

    return numbers


async def reasons(app: Outlast, job: Job[object]) -> list[object]:
    """Why the job was queued again, each time."""
    return [event.data["reason"] for event in await app.log(job.id) if event.type == "job.queued"]


# -- how a slice ends -----------------------------------------------------------------------------------------------


async def test_a_slice_runs_steps_as_long_as_one_more_will_be_over_in_time(
    timeless: Outlast, called: list[int], clock: FakeClock
) -> None:
    job, began = await timeless.submit("count", {"to": 7}), clock.now()
    assert await timeless.run_slice(job, budget=10)
    # Of 10 s half a second is kept for the end: a fourth step of 3 s would not be over by 9.5 s.
    assert (called, clock.now()) == ([0, 1, 2], began + 9)
    now = await timeless.get(job)
    assert (now.status, now.attempt, now.lease, await reasons(timeless, job)) == (Status.QUEUED, 1, None, ["yield"])


async def test_a_job_goes_on_slice_after_slice_and_calls_no_step_twice(timeless: Outlast, called: list[int]) -> None:
    job = await timeless.submit("count", {"to": 7})
    ran = [await timeless.run_slice(job.id, budget="10s") for _ in range(4)]
    assert (ran, called) == ([True, True, True, False], list(range(7)))
    ended = await timeless.get(job)
    assert (ended.result, ended.attempt) == (7, 1)
    assert await timeless.output(job.id) == "0 1 2 3 4 5 6 "
    assert [event.seq for event in await timeless.log(job.id)] == list(range(1, ended.seq + 1))


async def test_a_step_longer_than_half_the_slice_is_begun_all_the_same(timeless: Outlast, called: list[int]) -> None:
    job = await timeless.submit("count", {"to": 3, "takes": 8})
    for number in range(3):
        assert await timeless.run_slice(job, budget=10)
        assert called == list(range(number + 1))
    assert (await timeless.get(job)).result == 3


async def test_a_step_that_outlasts_its_slice_is_cut_off_and_costs_an_attempt(
    timeless: Outlast, clock: FakeClock
) -> None:
    async def endless() -> None:
        clock.advance(10)
        await asyncio.Event().wait()

    @timeless.handler(retries=1)
    async def hangs(ctx: Context) -> None:
        await ctx.step("endless", endless)

    job = await hangs.submit()
    assert await timeless.run_slice(job, budget=10)
    assert ((await timeless.get(job)).status, (await timeless.get(job)).attempt) == (Status.QUEUED, 1)
    assert await timeless.run_slice(job, budget=10)
    failed = await timeless.get(job)
    assert (failed.status, failed.attempt, failed.last_error and failed.last_error.code) == ("failed", 2, "timeout")
    assert failed.last_error is not None and "give the job to a worker" in failed.last_error.message


async def test_a_step_that_is_being_recorded_as_the_time_ends_costs_no_attempt(
    timeless: Outlast, called: list[int], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await timeless.submit("count", {"to": 2, "takes": 9})
    opened = timeless._opened
    assert isinstance(opened, Opened)
    apply = opened.runtime.one.apply

    async def slow(change: Change) -> Job[Any] | None:
        if change.steps:
            clock.advance(1)
            await asyncio.sleep(0.05)
        return await apply(change)

    monkeypatch.setattr(opened.runtime.one, "apply", slow)
    assert await timeless.run_slice(job, budget=10) and await timeless.run_slice(job, budget=10)
    assert (called, (await timeless.get(job)).attempt) == ([0, 1], 1)


async def test_steps_that_run_side_by_side_are_all_recorded_before_the_slice_ends(
    timeless: Outlast, clock: FakeClock
) -> None:
    called: list[str] = []
    both = asyncio.Event()

    async def first() -> str:
        called.append("first")
        await both.wait()
        return "first"

    async def second() -> str:
        called.append("second")
        clock.advance(9)
        asyncio.get_running_loop().call_later(0.01, both.set)
        return "second"

    async def third() -> str:
        called.append("third")
        return "third"

    @timeless.handler
    async def pair(ctx: Context) -> list[str]:
        async def more() -> str:
            await ctx.step("second", second)
            return await ctx.step("third", third)

        return list(await asyncio.gather(ctx.step("first", first), more()))

    job = await pair.submit()
    assert await timeless.run_slice(job, budget=10)
    assert called == ["first", "second"]
    assert await timeless.run_slice(job, budget=10)
    assert (called, (await timeless.get(job)).result) == (["first", "second", "third"], ["first", "third"])


async def test_a_long_step_asks_whether_it_should_yield_and_its_part_is_kept(
    timeless: Outlast, clock: FakeClock
) -> None:
    read: list[int] = []

    async def some(ctx: Context, begin: int) -> int:
        for number in range(begin, 20):
            if ctx.should_yield():
                return number
            read.append(number)
            clock.advance(1)
        return 20

    @timeless.handler
    async def rows(ctx: Context) -> int:
        done = 0
        while done < 20:
            done = await ctx.step("some", some, ctx, done)
        return done

    job = await rows.submit()
    assert await timeless.run_slice(job, budget=10)
    assert read == list(range(9)), "9 s, for the last half second is kept and as much is left to return in"
    while await timeless.run_slice(job, budget=10):
        pass
    assert read == list(range(20)) and (await timeless.get(job)).result == 20


async def test_a_short_sleep_is_slept_once_however_many_slices_come_past_it(
    timeless: Outlast, clock: FakeClock
) -> None:
    looked: list[int] = []

    async def look(number: int) -> bool:
        looked.append(number)
        return number == 11

    @timeless.handler
    async def polls(ctx: Context) -> int:
        number = 0
        while not await ctx.step("look", look, number):
            passing = asyncio.get_running_loop().call_later(0.05, clock.advance, 4)
            await ctx.sleep(4)
            passing.cancel()
            number += 1
        return number

    job, began = await polls.submit(), clock.now()
    while await timeless.run_slice(job, budget=10):
        pass
    ended = await timeless.get(job)
    assert (ended.result, ended.attempt, looked) == (11, 1, list(range(12)))
    assert clock.now() - began >= 11 * 4


async def test_a_handler_learns_how_much_of_its_slice_remains(timeless: Outlast) -> None:
    left: list[float | None] = []

    @timeless.handler(timeout="20s")
    async def asks(ctx: Context) -> None:
        left.append(ctx.remaining())

    for budget in (10, 600):
        assert await timeless.run_slice(await asks.submit(), budget=budget)
    assert left == [9.5, 20.0]


async def test_a_def_handler_has_slices_and_learns_what_remains_too(timeless: Outlast, clock: FakeClock) -> None:
    read: list[int] = []
    left: list[float | None] = []

    def some(begin: int) -> int:
        ctx = SyncContext.current()
        assert ctx is not None
        for number in range(begin, 20):
            if ctx.should_yield():
                return number
            read.append(number)
            clock.advance(1)
        return 20

    @timeless.handler
    def rows(ctx: SyncContext) -> int:
        left.append(ctx.remaining())
        done = 0
        while done < 20:
            done = ctx.step("some", some, done)
        return done

    job = await rows.submit()
    assert await timeless.run_slice(job, budget=10)
    assert (read, await reasons(timeless, job)) == (list(range(9)), ["yield"])
    while await timeless.run_slice(job, budget=10):
        pass
    now = await timeless.get(job)
    assert (read, now.result, now.attempt) == (list(range(20)), 20, 1)
    assert set(left) == {9.5}


async def test_a_pause_between_tries_that_no_slice_has_the_time_for_is_the_job_s(
    timeless: Outlast, clock: FakeClock
) -> None:
    async def busy() -> None:
        raise Retry("too many requests", after=60)

    @timeless.handler(retries=1)
    async def polite(ctx: Context) -> None:
        await ctx.options(retries=5).step("busy", busy)

    job = await polite.submit()
    assert await timeless.run_slice(job, budget=10)
    now = await timeless.get(job)
    assert now.status is Status.RETRYING and now.next_at == clock.now() + 60
    assert now.last_error is not None and now.last_error.message == "too many requests"


async def test_a_slice_ends_in_time_though_its_handler_does_not(app: Outlast) -> None:
    released = asyncio.Event()

    @app.handler(timeout=0.1, retries=0)
    async def stubborn(ctx: Context) -> None:
        try:
            await released.wait()
        except asyncio.CancelledError:
            await released.wait()

    job = await stubborn.submit()
    async with asyncio.timeout(6):
        assert await app.run_slice(job, budget=1)
    released.set()
    error = (await app.get(job)).last_error
    assert error is not None and error.code == "timeout" and "longer than its timeout" in error.message


async def test_no_hook_that_goes_on_and_on_holds_an_answer_back_beyond_its_time(app: Outlast) -> None:
    released = asyncio.Event()

    @app.handler
    async def long(ctx: Context) -> None:
        while True:
            await ctx.step("one", asyncio.sleep, 0.05)

    @app.on("started")
    async def endless(job: Job[object], error: BaseException | None) -> None:
        await released.wait()

    job, began = await long.submit(), monotonic()
    assert await app.run_slice(job, budget=2)
    assert monotonic() - began < 4
    released.set()


async def test_a_slice_that_is_called_off_hands_its_job_back(app: Outlast, until: Until) -> None:
    @app.handler
    async def endless(ctx: Context) -> None:
        await asyncio.Event().wait()

    job = await endless.submit()
    task = asyncio.create_task(app.run_slice(job, budget=60))
    await until(lambda: _is(app, job, Status.PROCESSING), "the slice runs")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _is(app, job, Status.QUEUED) and await reasons(app, job) == ["deploy"]


@pytest.mark.parametrize("named", [True, False], ids=["a job", "all that is due"])
async def test_one_that_is_called_off_while_it_claims_hands_its_job_back_too(
    app: Outlast, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.handler
    async def endless(ctx: Context) -> None:
        await asyncio.Event().wait()

    job = await endless.submit()
    store = (await app._runtime()).store
    claim, committed, answered = store.claim, asyncio.Event(), asyncio.Event()

    async def late(*args: Any, **kwargs: Any) -> Claimed:
        claimed = await claim(*args, **kwargs)
        committed.set()
        await answered.wait()
        return claimed

    monkeypatch.setattr(store, "claim", late)
    called = app.run_slice(job, budget=60) if named else app.run_due(budget=60)
    task: asyncio.Task[Any] = asyncio.create_task(called)
    await committed.wait()
    task.cancel()
    await asyncio.sleep(0)
    answered.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _is(app, job, Status.QUEUED) and await reasons(app, job) == ["deploy"]


# -- which job is run -----------------------------------------------------------------------------------------------


async def test_of_many_calls_at_once_one_runs_the_job(timeless: Outlast, called: list[int]) -> None:
    job = await timeless.submit("count", {"to": 2})
    ran = await asyncio.gather(*(timeless.run_slice(job, budget=10) for _ in range(10)))
    assert (sorted(ran), called) == ([False] * 9 + [True], [0, 1])


async def test_a_call_for_a_job_that_has_ended_changes_nothing(timeless: Outlast, called: list[int]) -> None:
    job = await timeless.submit("count", {"to": 1})
    assert await timeless.run_slice(job, budget=10)
    before = await timeless.get(job)
    assert not await timeless.run_slice(job, budget=10)
    assert await timeless.get(job) == before


async def test_a_call_for_no_job_says_so(app: Outlast) -> None:
    with pytest.raises(JobNotFound):
        await app.run_slice("job_absent", budget=10)


async def test_a_job_of_a_type_that_is_not_here_is_left_alone(timeless: Outlast, called: list[int]) -> None:
    job = await timeless.submit("count", {"to": 1})
    del timeless.handlers["count"]
    assert not await timeless.run_slice(job, budget=10)
    assert await _is(timeless, job, Status.QUEUED)


async def test_a_call_that_comes_when_the_job_is_due_needs_no_sweep(
    timeless: Outlast, called: list[int], clock: FakeClock
) -> None:
    job = await timeless.submit("count", {"to": 1}, delay=60)
    assert not await timeless.run_slice(job, budget=10)
    clock.advance(60)
    assert await timeless.run_slice(job, budget=10)
    assert (await timeless.get(job)).result == 1


async def test_a_job_whose_process_was_killed_is_run_once_its_lease_is_out(
    timeless: Outlast, called: list[int], clock: FakeClock
) -> None:
    job = await timeless.submit("count", {"to": 1})
    store = timeless._opened and timeless._opened.store
    assert store is not None
    [held] = (await store.claim(1, ["count"], "gone")).jobs
    assert not await timeless.run_slice(job, budget=10)
    clock.advance(30)
    assert await timeless.run_slice(job, budget=10)
    ended = await timeless.get(job)
    assert (ended.result, ended.attempt) == (1, 2)
    assert await store.renew([Lease(job.id, held.lease or "")]) == [None]


async def test_a_call_with_no_time_left_leaves_the_job_and_costs_nothing(timeless: Outlast, called: list[int]) -> None:
    job = await timeless.submit("count", {"to": 1})
    before = await timeless.get(job)
    assert (await timeless.run_slice(job, budget=0), await timeless.run_due(budget=0)) == (False, 0)
    assert (await timeless.get(job), called) == (before, [])
    assert await timeless.run_slice(job, budget=10)
    assert ((await timeless.get(job)).result, (await timeless.get(job)).attempt) == (1, 1)


async def test_a_call_whose_time_is_over_before_its_slice_can_begin_leaves_the_job_too(
    url: str, clock: FakeClock
) -> None:
    @asynccontextmanager
    async def slow_start(app: Outlast) -> AsyncIterator[None]:
        clock.advance(10)
        yield

    async with Outlast(open_store(url, clock=clock), lifespan=slow_start) as app:

        @app.handler(retries=0)
        async def small(ctx: Context) -> None: ...

        job = await small.submit()
        assert not await app.run_slice(job, budget=10)
        assert ((await app.get(job.id)).status, (await app.get(job.id)).attempt) == (Status.QUEUED, 0)
        assert await app.run_slice(job, budget=11)
        assert ((await app.get(job.id)).status, (await app.get(job.id)).attempt) == (Status.COMPLETED, 1)


async def test_a_job_begun_in_slices_is_ended_by_a_worker(timeless: Outlast, called: list[int]) -> None:
    job = await timeless.submit("count", {"to": 7})
    assert await timeless.run_slice(job, budget=10)
    async with timeless.working():
        assert (await timeless.wait(job)).result == 7
    assert called == list(range(7))


# -- what a handler has there ---------------------------------------------------------------------------------------


async def test_the_app_s_resources_are_opened_for_the_slice_and_let_go_of(url: str) -> None:
    went: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Outlast) -> AsyncIterator[str]:
        went.append("opened")
        yield "pool"
        went.append("let go")

    async with Outlast(url, lifespan=lifespan) as app:

        @app.handler
        async def uses(ctx: Context) -> None:
            went.append(ctx.state)

        job = await uses.submit()
        assert await app.run_slice(job, budget=10) and not await app.run_slice(job, budget=10)
    assert went == ["opened", "pool", "let go"]


async def test_what_is_logged_is_kept_once_however_many_slices_run_at_once(app: Outlast) -> None:
    both = asyncio.Barrier(2)
    factory = logging.getLogRecordFactory()

    @app.handler
    async def logs(ctx: Context) -> None:
        await both.wait()
        logging.getLogger("shop").warning("look here")

    jobs = [await logs.submit() for _ in range(2)]
    await asyncio.gather(*(app.run_slice(job, budget=10) for job in jobs))
    for job in jobs:
        [attempt] = await app.attempts(job)
        assert [line.text for line in attempt.lines] == ["look here"]
    assert logging.getLogRecordFactory() is factory


# -- the window -----------------------------------------------------------------------------------------------------


def test_a_part_of_the_budget_is_kept_for_the_end() -> None:
    assert [round(Window(0.0, budget).ends, 3) for budget in (1, 10, 100, 900)] == [0.95, 9.5, 95.0, 895.0]


def test_a_window_closes_the_earlier_the_longer_steps_take_but_not_before_its_middle() -> None:
    closes = []
    for took in ([], [2.0], [2.0, 30.0], [90.0]):
        window = Window(1000.0, 100)
        for seconds in took:
            window.took(seconds)
        closes.append(window.closes)
    assert closes == [1090.0, 1090.0, 1065.0, 1047.5]


def test_what_the_job_has_on_record_counts_as_well() -> None:
    window = Window(0.0, 100)
    window.recorded([90.0, *[7.0] * RECENT])
    assert window.closes == 88.0, "of many records the last ones count"


def test_usual_is_what_nineteen_in_twenty_are_not_above() -> None:
    assert [usual(took) for took in ([], [3.0], [1.0] * 19 + [9.0], [1.0] * 18 + [9.0] * 2)] == [0.0, 3.0, 1.0, 9.0]
    for n in range(1, 60):
        took = [float(number) for number in range(n)]
        assert sum(one <= usual(took) for one in took) >= 0.95 * n
    assert all(a <= b for a, b in pairwise(usual([float(n)] * 5) for n in range(9)))


async def _is(app: Outlast, job: Job[object], status: Status) -> bool:
    return (await app.get(job.id)).status is status


def test_a_pause_may_last_as_long_as_the_attempt_unless_the_slice_would_cost_it() -> None:
    window, free = Window(0, 20), Window(0, 20, costs=False)
    assert pauses_by(None, None, False) == inf and pauses_by(90, None, False) == 90
    assert pauses_by(90, window, False) == window.ends and pauses_by(5, window, False) == 5
    assert pauses_by(90, window, True) == pauses_by(90, free, False) == 90
