"""How attempts and jobs end: retries, failures, cancels, time limits, deploys."""

import asyncio
import base64
import gc
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NoReturn

import pytest
from pydantic import AfterValidator

from outlast import Context, Fail, InvalidRequest, JobNotFound, Outlast, Retry, Status, WaitTimeout
from outlast.attempt import Attempt
from outlast.ends import ENDS
from outlast.job import Change, Job
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from tests.running.conftest import Until

HOOK = "https://93.184.215.14/hook"


async def test_retries_back_off_and_run_out(timeless: Outlast, clock: FakeClock, until: Until) -> None:
    @timeless.handler(retries=2, backoff=(10, 40))
    async def breaks(ctx: Context) -> None:
        raise ValueError(f"attempt {ctx.attempt}")

    async with timeless.working():
        job = await breaks.submit()
        for attempt in (1, 2):
            await until(lambda n=attempt: _at(timeless, job.id, Status.RETRYING, n), f"attempt {attempt} fails")  # type: ignore[misc]
            clock.advance(40)
        ended = await timeless.wait(job, 1000)
    assert (ended.status, ended.attempt, ended.retry_count) == (Status.FAILED, 3, 2)
    assert ended.last_error is not None
    assert (ended.last_error.code, ended.last_error.message) == ("handler_error", "ValueError: attempt 3")
    delays = [e.data["delayMs"] for e in await timeless.events(job.id) if e.type == "job.retrying"]
    assert [0 <= delay <= most for delay, most in zip(delays, (10_000, 20_000), strict=True)] == [True, True]


async def test_a_handler_says_when_to_try_again(timeless: Outlast, clock: FakeClock, until: Until) -> None:
    @timeless.handler
    async def limited(ctx: Context) -> str:
        if ctx.attempt == 1:
            raise Retry("the provider is busy", after=90, code="rate_limited")
        return "through"

    async with timeless.working():
        job = await limited.submit()
        await until(lambda: _at(timeless, job.id, Status.RETRYING, 1), "the handler asks to be tried again")
        waiting = await timeless.get(job.id)
        assert waiting.last_error is not None
        assert waiting.last_error.code == "rate_limited"
        clock.advance(89)
        await asyncio.sleep(0.05)
        assert (await timeless.get(job.id)).status is Status.RETRYING
        clock.advance(1)
        assert (await timeless.wait(job, 1000)).result == "through"


async def test_a_handler_can_fail_at_once_with_advice(app: Outlast) -> None:
    @app.handler
    async def refuses(ctx: Context) -> None:
        raise Fail("no key", code="provider_error", advice="set OPENAI_API_KEY", details={"variable": "OPENAI_API_KEY"})

    async with app.working():
        job = await app.wait(await refuses.submit(), 10)
    assert job.last_error is not None
    assert (job.status, job.attempt, job.last_error.retryable) == (Status.FAILED, 1, False)
    assert job.last_error.wire()["advice"] == "set OPENAI_API_KEY"
    with pytest.raises(ValueError, match="not one of"):
        Fail("x", code="my_own_code")  # type: ignore[arg-type]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("cannot be said")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Unspeakable(), "Unspeakable"),
        (ValueError("x" * 1_000_000), "ValueError: " + "x" * (8192 - len("ValueError: "))),
        (ValueError("cut \udcff off"), "ValueError: cut \\udcff off"),
        (ValueError("at postgresql://me:secret@db/x"), "ValueError: at postgresql://me:***@db/x"),
        (SystemExit(3), "RuntimeError: the handler called sys.exit(3)"),
    ],
)
async def test_any_exception_becomes_a_short_and_clean_error(app: Outlast, error: BaseException, message: str) -> None:
    @app.handler(retries=0)
    async def breaks(ctx: Context) -> None:
        raise error

    async with app.working():
        job = await app.wait(await breaks.submit(), 10)
    assert job.last_error is not None
    assert (job.status, job.last_error.message) == (Status.FAILED, message)


async def test_a_cancel_reaches_a_running_handler_within_a_tenth_of_a_second(app: Outlast) -> None:
    running = asyncio.Event()
    heard: list[float] = []

    @app.handler
    async def works(ctx: Context) -> None:
        running.set()
        try:
            await asyncio.sleep(3600)
        finally:
            heard.append(time.monotonic())

    async with app.working():
        job = await works.submit()
        await running.wait()
        asked = time.monotonic()
        answer = await app.cancel(job.id, reason="no longer wanted")
        ended = await app.wait(job, 10)
    assert answer.cancel_requested_at is not None
    assert heard[0] - asked < 0.1
    assert (ended.status, ended.cancel_reason) == (Status.CANCELLED, "no longer wanted")
    types = [event.type for event in await app.events(job.id)]
    assert types == ["job.created", "job.started", "job.cancel_requested", "job.cancelled"]


async def test_a_cancel_before_the_start_ends_the_job_at_once_and_once(app: Outlast) -> None:
    @app.handler
    async def works(ctx: Context) -> None: ...

    job = await works.submit()
    first, second = await app.cancel(job.id), await app.cancel(job.id)
    assert (first.status, first) == (Status.CANCELLED, second)


async def test_a_handler_that_will_not_stop_is_left_behind_after_a_while(
    app: Outlast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.attempt.UNWIND", 0.1)
    running, stubborn = asyncio.Event(), asyncio.Event()

    @app.handler
    async def clings(ctx: Context) -> None:
        running.set()
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                continue

    async with app.working():
        job = await clings.submit()
        await running.wait()
        await app.cancel(job.id)
        assert (await app.wait(job, 10)).status is Status.CANCELLED
    stubborn.set()
    assert app.observe.counts["handler.hung"] == 1


async def test_an_attempt_past_its_timeout_fails_and_is_tried_again(
    timeless: Outlast, clock: FakeClock, until: Until
) -> None:
    running: list[int] = []

    @timeless.handler(timeout="1m", retries=1, backoff=0)
    async def slow(ctx: Context) -> None:
        running.append(ctx.attempt)
        await asyncio.sleep(3600)

    async with timeless.working():
        job = await slow.submit()
        for attempt in (1, 2):
            await until(lambda n=attempt: _fact(running[-1:] == [n]), f"attempt {attempt} runs")  # type: ignore[misc]
            clock.advance(61)
        ended = await timeless.wait(job, 1000)
    assert ended.last_error is not None
    assert (ended.status, ended.last_error.code, ended.attempt) == (Status.FAILED, "timeout", 2)


@pytest.mark.parametrize("parked", [False, True])
async def test_a_deadline_fails_any_live_job(timeless: Outlast, clock: FakeClock, until: Until, parked: bool) -> None:
    running: list[int] = []

    @timeless.handler
    async def slow(ctx: Context) -> None:
        running.append(1)
        await (ctx.wait_for("never") if parked else asyncio.sleep(3600))

    async with timeless.working():
        job = await slow.options(deadline="5m").submit()
        await until(lambda: _fact(bool(running)), "the job runs")
        if parked:
            await until(lambda: _at(timeless, job.id, Status.WAITING, 1), "the job parks")
        clock.advance(301)
        ended = await timeless.wait(job, 1000)
    assert ended.last_error is not None
    assert (ended.status, ended.last_error.code) == (Status.FAILED, "deadline_exceeded")


async def test_a_delayed_job_starts_when_its_time_has_come(timeless: Outlast, clock: FakeClock) -> None:
    @timeless.handler
    async def now(ctx: Context) -> float:
        return clock.now()

    begin = clock.now()
    async with timeless.working():
        soon = await now.options(delay="10m").submit()
        later = await now.options(run_at=datetime.fromtimestamp(begin, UTC) + timedelta(minutes=20)).submit()
        clock.advance(600)
        assert (await timeless.wait(soon, 100)).result == begin + 600
        assert (await timeless.get(later.id)).status is Status.QUEUED
        clock.advance(600)
        assert (await timeless.wait(later, 100)).result == begin + 1200


async def test_a_worker_that_stops_hands_its_work_back_without_burning_an_attempt(app: Outlast) -> None:
    running = asyncio.Event()
    ran: list[str] = []

    async def work(name: str) -> str:
        ran.append(name)
        running.set()
        await asyncio.sleep(0.2)
        return name

    @app.handler(retries=0)
    async def long(ctx: Context) -> list[str]:
        return [await ctx.step(name, work, name) for name in ("one", "two", "three")]

    job = await long.submit()
    async with app.working():
        await running.wait()
    handed_back = await app.get(job.id)
    assert (handed_back.status, handed_back.lease, handed_back.attempt) == (Status.QUEUED, None, 1)
    assert ran == ["one"], "the step in flight was let end, and no other begun"
    async with app.working():
        ended = await app.wait(job, 10)
    assert (ended.result, ended.attempt) == (["one", "two", "three"], 1)
    assert ran == ["one", "two", "three"]


async def test_a_job_whose_payload_no_longer_fits_fails_without_a_call(app: Outlast, url: str) -> None:
    @app.handler(name="plan")
    async def old(ctx: Context, goal: str) -> None: ...

    job = await old.submit(goal="learn")
    del app.handlers["plan"]
    called: list[int] = []

    @app.handler(name="plan")
    async def new(ctx: Context, goal: int) -> None:
        called.append(goal)

    async with app.working():
        ended = await app.wait(job, 10)
    assert ended.last_error is not None
    assert (ended.status, ended.last_error.code, called) == (Status.FAILED, "payload_invalid", [])


async def test_a_validator_that_breaks_fails_the_attempt_as_the_handler_would(app: Outlast) -> None:
    def looked_up(goal: str) -> str:
        if broken:
            raise RuntimeError("the list of goals cannot be read")
        return goal

    @app.handler(retries=0)
    async def plan(ctx: Context, goal: Annotated[str, AfterValidator(looked_up)]) -> None: ...

    broken = False
    job = await plan.submit(goal="learn")
    broken = True
    async with app.working():
        ended = await app.wait(job, 10)
    assert ended.last_error is not None
    assert (ended.last_error.code, ended.last_error.message) == (
        "handler_error",
        "RuntimeError: the list of goals cannot be read",
    )
    [attempt] = await app.attempts(job)
    assert "in looked_up" in (attempt.traceback or "")


async def test_an_attempt_that_cannot_be_begun_is_told_of_and_its_worker_can_stop(
    app: Outlast, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    @app.handler
    async def plan(ctx: Context) -> None: ...

    def no_context(*parts: object) -> NoReturn:
        raise RuntimeError("no context to be had")

    monkeypatch.setattr(await app._runtime(), "context", no_context)
    job = await plan.submit()
    async with asyncio.timeout(10), app.working():
        await until(lambda: _said(app, "attempt.broke"), "it is told that the attempt broke off")
    assert (await app.get(job)).status is Status.PROCESSING, "until its lease runs out"


async def _said(app: Outlast, happening: str) -> bool:
    return app.observe.counts[happening] == 1


async def test_a_worker_leaves_types_it_does_not_know_to_others(app: Outlast) -> None:
    @app.handler
    async def known(ctx: Context) -> str:
        return "ran"

    @app.handler
    async def unknown(ctx: Context) -> str:
        return "ran"

    left = await unknown.submit()
    del app.handlers["unknown"]
    async with app.working():
        await app.wait(await known.submit(), 10)
        assert (await app.get(left.id)).status is Status.QUEUED


async def test_a_worker_claims_exactly_its_free_slots(app: Outlast, until: Until) -> None:
    app.concurrency = 2
    gate = asyncio.Event()
    most: list[int] = []
    inside = 0

    @app.handler
    async def counted(ctx: Context) -> None:
        nonlocal inside
        inside += 1
        most.append(inside)
        await gate.wait()
        inside -= 1

    jobs = [await counted.submit() for _ in range(5)]
    async with app.working():
        await until(lambda: _fact(inside == 2), "both slots are taken")
        counts = await app.count()
        assert counts["counted", Status.PROCESSING] == 2
        assert counts["counted", Status.QUEUED] == 3
        gate.set()
        for job in jobs:
            await app.wait(job, 10)
    assert max(most) == 2


class Withheld(MemoryStore):
    """Answers no write of an attempt until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        await self.let_go.wait()
        return await super().apply(changes)


async def test_the_next_jobs_run_while_the_ends_of_the_last_are_written_and_no_more_than_that(until: Until) -> None:
    store, inside, most, called = Withheld(), 0, 0, 0
    async with Outlast(store, concurrency=2) as app:

        @app.handler
        async def counted(ctx: Context) -> None:
            nonlocal inside, most, called
            inside, called = inside + 1, called + 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

        jobs = [await counted.submit() for _ in range(10)]
        async with app.working() as worker:
            await until(lambda: _fact(called == 4), "two more have run")
            assert worker._free == 0
            assert (await app.count())["counted", Status.QUEUED] == 6
            store.let_go.set()
            for job in jobs:
                assert (await app.wait(job, 10)).status is Status.COMPLETED
            assert (worker._free, most) == (2, 2)


async def test_an_attempt_that_is_over_leaves_nothing_for_the_garbage_collector(app: Outlast) -> None:
    @app.handler
    async def plain(ctx: Context) -> None: ...

    @app.handler
    async def writing(ctx: Context) -> int:
        ctx.write("a")
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(ctx.step(f"part {number}", asyncio.sleep, 0))
        return ctx.attempt

    async with app.working() as worker:
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for job in [await handler.submit() for handler in (plain, writing)]:
                await app.wait(job, 10)
            while worker._running:
                await asyncio.sleep(0)
            gc.collect()
            assert [one for one in gc.garbage if isinstance(one, Attempt | Context)] == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()


async def test_waiting_for_a_job_has_a_limit_and_the_job_goes_on(app: Outlast) -> None:
    @app.handler
    async def works(ctx: Context) -> None: ...

    job = await works.submit()
    with pytest.raises(WaitTimeout, match="still queued"):
        await app.wait(job, 0.05)
    assert (await app.get(job.id)).status is Status.QUEUED


async def test_a_question_that_cannot_be_meant_is_answered_with_what_can(app: Outlast) -> None:
    with pytest.raises(InvalidRequest, match=r"no status 'faild'; known are queued, .*, failed"):
        await app.list(status=["completed", "faild"])
    with pytest.raises(InvalidRequest, match="1 job or more"):
        await app.list(limit=0)
    with pytest.raises(InvalidRequest, match="text of 1 to 128"):
        await app.signal("job_1", 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a job or its id is wanted, not NoneType"):
        await app.get(None)  # type: ignore[arg-type]


async def test_statuses_may_come_one_by_one(app: Outlast) -> None:
    @app.handler
    async def works(ctx: Context) -> None: ...

    job = await works.submit()
    assert [one.id for one in await app.list(status=(status for status in ("queued", "failed")))] == [job.id]


async def test_owners_do_not_see_each_others_jobs(app: Outlast) -> None:
    @app.handler
    async def works(ctx: Context) -> None: ...

    job = await works.options(owner="ann").submit()
    calls: list[Any] = [app.get, app.wait, app.cancel, app.retry, app.delete]
    for call in calls:
        with pytest.raises(JobNotFound):
            await call(job.id, owner="bob")
    with pytest.raises(JobNotFound):
        await app.signal(job.id, "go", owner="bob")
    assert (await app.list(owner="bob"), len(await app.list(owner="ann"))) == ([], 1)


async def test_the_same_idempotency_key_gives_the_same_job(app: Outlast) -> None:
    @app.handler
    async def works(ctx: Context, n: int) -> None: ...

    keyed = works.options(owner="ann", idempotency_key="order-7")
    first, second = await asyncio.gather(keyed.submit(n=1), keyed.submit(n=1))
    assert first.id == second.id
    with pytest.raises(InvalidRequest, match=first.id):
        await keyed.submit(n=2)
    other = await works.options(owner="bob", idempotency_key="order-7").submit(n=2)
    assert other.id != first.id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"delay": "1h"}, {"delay": timedelta(hours=1)}),
        ({"run_at": datetime(2027, 6, 1, 1, tzinfo=UTC)}, {"run_at": datetime.fromisoformat("2027-06-01T02:00+01:00")}),
        ({"tags": ["a"]}, {"tags": ("a",)}),
        ({"priority": None}, {}),
        ({"webhook": {"url": HOOK}}, {"webhook": {"events": ENDS[::-1], "full": False, "url": HOOK}}),
    ],
)
async def test_a_request_is_the_same_however_it_is_written(
    timeless: Outlast, one: dict[str, Any], other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLAST_SECRET", base64.b64encode(os.urandom(32)).decode())

    @timeless.handler
    async def works(ctx: Context, words: list[set[int]]) -> None: ...

    at_start = {"deadline": 5.0, "idempotency_key": "k"}
    first = await works.options(**at_start, **one).submit([{0, 8}])
    assert (await works.options(**at_start, **other).submit([{8, 0}])).id == first.id
    with pytest.raises(InvalidRequest, match="different request"):
        await works.options(**at_start, **{**one, "external_id": "7"}).submit([{0, 8}])


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"delay": -1}, "/delay"),
        ({"delay": float("nan")}, "/delay"),
        ({"delay": "soon"}, "/delay"),
        ({"delay": "400d"}, "/delay"),
        ({"run_at": datetime(2030, 1, 1)}, "/runAt"),  # noqa: DTZ001
        ({"run_at": datetime(2030, 1, 1, tzinfo=UTC), "delay": 1}, "/runAt"),
        ({"retries": 1000}, "/maxRetries"),
        ({"retries": True}, "/maxRetries"),
        ({"priority": "urgent"}, "/priority"),
        ({"priority": ["high"]}, "/priority"),
        ({"delay": [5]}, "/delay"),
        ({"tags": None}, "/tags"),
        ({"tags": [str(n) for n in range(11)]}, "/tags"),
        ({"tags": ["x" * 65]}, "/tags/0"),
        ({"tags": [7]}, "/tags/0"),
        ({"metadata": {"x": "y" * (16 << 10)}}, "/metadata"),
        ({"metadata": {"x": {1}}}, "/metadata"),
        ({"idempotency_key": ""}, "/idempotencyKey"),
        ({"idempotency_key": "x" * 129}, "/idempotencyKey"),
        ({"idempotency_key": "a b"}, "/idempotencyKey"),
        ({"owner": ""}, "/owner"),
    ],
)
async def test_wrong_options_are_refused_by_name_and_store_nothing(
    app: Outlast, options: dict[str, Any], pointer: str
) -> None:
    @app.handler
    async def works(ctx: Context) -> None: ...

    with pytest.raises(InvalidRequest) as caught:
        await works.options(**options).submit()
    assert [error["pointer"] for error in caught.value.errors] == [pointer]
    assert await app.count() == {}


async def test_wrong_payloads_are_refused_by_field_and_store_nothing(app: Outlast) -> None:
    @app.handler
    async def plan(ctx: Context, objective: str, keywords: list[str]) -> None: ...

    wrong: list[dict[str, Any]] = [
        {"objective": "x"},
        {"objective": 7, "keywords": []},
        {"objective": "x", "keywords": ["a", 7]},
        {"objective": "x", "keywords": [], "extra": 1},
    ]
    pointers = []
    for payload in wrong:
        with pytest.raises(InvalidRequest) as caught:
            await app.submit("plan", payload)
        pointers.append(caught.value.errors[0]["pointer"])
    assert pointers == ["/payload/keywords", "/payload/objective", "/payload/keywords/1", "/payload/extra"]
    with pytest.raises(InvalidRequest, match="known are plan"):
        await app.submit("plam", {})
    with pytest.raises(InvalidRequest, match="/payload: a mapping with the parameters of plan, not int"):
        await app.submit("plan", 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="there is no option 'objective'"):
        await app.submit("plan", objective="x", keywords=[])  # type: ignore[call-arg]
    assert await app.count() == {}


async def test_an_estimate_comes_from_the_types_own_history(timeless: Outlast, clock: FakeClock) -> None:
    @timeless.handler
    async def works(ctx: Context) -> None:
        clock.advance(20)

    assert await timeless.remaining(await works.options(delay="1d").submit()) is None
    async with timeless.working():
        for _ in range(3):
            await timeless.wait(await works.submit(), 10_000)
        clock.advance(60)
        job = await works.options(delay="1h").submit()
        assert await timeless.remaining(job) == pytest.approx(3620, abs=1)
    # Its deadline is not when it begins.
    job = await works.options(deadline="1h").submit()
    assert await timeless.remaining(job) == pytest.approx(20, abs=1)


async def test_an_estimate_counts_what_of_the_same_owner_waits_before_it(timeless: Outlast, clock: FakeClock) -> None:
    @timeless.handler
    async def works(ctx: Context) -> None:
        clock.advance(20)

    async with timeless.working():
        for _ in range(3):
            await timeless.wait(await works.submit(), 10_000)
    jobs = []
    for owner in ("ann", "ann", "ann", "ben", "ann", "ann"):
        clock.advance(1)
        jobs.append(await works.options(owner=owner).submit())
    left = [await timeless.remaining(job) for job in jobs]
    anns = [left[number] for number in (0, 1, 2, 4, 5)]
    assert anns[0] == left[3] == pytest.approx(20, abs=1)
    assert anns == sorted(anns) and anns[-1] == pytest.approx(20 + 5 * 20, abs=1)


async def _at(app: Outlast, id: str, status: Status, attempt: int) -> bool:
    job: Job[Any] = await app.get(id)
    return (job.status, job.attempt) == (status, attempt)


async def _fact(fact: bool) -> bool:
    return fact
