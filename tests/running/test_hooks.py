"""Hooks: told of every move after its commit, beside the jobs, and never in their way."""

import asyncio
import logging
import threading
from typing import Any

import pytest

from outlast import ConfigurationError, Context, Fail, Job, Outlast, Status, hooks
from outlast.testing import FakeClock
from tests.running.conftest import Until

Told = list[tuple[str, Job[Any], BaseException | None]]


def listen(app: Outlast) -> Told:
    """What all hooks of the app are told."""
    told: Told = []
    for moment in hooks.MOMENTS:
        app.on(moment, lambda job, error, moment=moment: told.append((moment, job, error)))
    return told


def moments(told: Told, job: Job[Any]) -> list[str]:
    return [moment for moment, of, _ in told if of.id == job.id]


async def parked(app: Outlast, job: Job[Any]) -> bool:
    return (await app.get(job)).status is Status.WAITING


async def test_each_move_is_told_in_its_order_with_the_job_as_it_then_is(app: Outlast, until: Until) -> None:
    told = listen(app)

    @app.handler
    async def doubles(ctx: Context, number: int) -> list[int]:
        await ctx.wait_for("go")
        return [number, number]

    async with app.working():
        job = await doubles.submit(number=4)
        await until(lambda: parked(app, job), "the job parks")
        await app.signal(job, "go")
        await app.wait(job, 10)
    assert moments(told, job) == ["submitted", "started", "waiting", "started", "completed"]
    _, first, _ = told[0]
    _, last, error = told[-1]
    assert (first.status, first.payload_json) == (Status.QUEUED, None)
    assert (last.status, last.result, last.payload_json, error) == (Status.COMPLETED, [4, 4], None, None)


async def test_a_hook_gets_the_exception_that_was_raised(app: Outlast) -> None:
    told = listen(app)
    broken, refused = ValueError("not today"), Fail("not ever")

    @app.handler(retries=1, backoff=0)
    async def breaks(ctx: Context) -> None:
        raise broken if ctx.attempt == 1 else refused

    async with app.working():
        job = await app.wait(await breaks.submit(), 10)
    assert moments(told, job) == ["submitted", "started", "retrying", "started", "failed"]
    assert [error for _, _, error in told] == [None, None, broken, None, refused]
    assert told[-1][1].last_error == job.last_error is not None


async def test_both_kinds_of_functions_are_hooks_and_stand_where_they_are_declared(app: Outlast) -> None:
    seen: dict[str, tuple[str, bool]] = {}

    @app.on("completed")
    def plain(job: Job[Any], error: BaseException | None) -> None:
        seen["plain"] = (job.type, threading.current_thread() is threading.main_thread())

    @app.on("completed")
    async def awaited(job: Job[Any], error: BaseException | None) -> None:
        seen["awaited"] = (job.type, threading.current_thread() is threading.main_thread())

    @app.handler
    async def works(ctx: Context) -> None: ...

    async with app.working():
        await app.wait(await works.submit(), 10)
    assert seen == {"plain": ("works", False), "awaited": ("works", True)}
    assert plain.__name__ == "plain"


async def test_a_hook_neither_delays_nor_breaks_a_job(app: Outlast, caplog: pytest.LogCaptureFixture) -> None:
    may_go = asyncio.Event()
    called: list[str] = []

    @app.on("started")
    async def slow(job: Job[Any], error: BaseException | None) -> None:
        await may_go.wait()

    @app.on("started")
    def broken(job: Job[Any], error: BaseException | None) -> None:
        called.append("broken")
        raise SystemExit(3)

    @app.on("completed")
    def next_one(job: Job[Any], error: BaseException | None) -> None:
        called.append("next")
        raise SystemExit(3)

    @app.handler
    async def works(ctx: Context) -> str:
        return "done"

    async with app.working():
        assert (await app.wait(await works.submit(), 10)).result == "done"
        assert called == []
        may_go.set()
    assert called == ["broken", "next"]
    line, next_line = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "the hook broken for 'started' failed" in line.getMessage()
    assert "the hook next_one for 'completed' failed" in next_line.getMessage()
    assert line.exc_info is not None and line.exc_info[0] is SystemExit


async def test_what_the_sweep_finds_is_told_where_it_was_found(timeless: Outlast, clock: FakeClock) -> None:
    told = listen(timeless)

    @timeless.handler(deadline="1h")
    async def late(ctx: Context) -> None: ...

    @timeless.handler(retries=0, timeout=None)
    async def dies(ctx: Context) -> None: ...

    job, held = await late.submit(), await dies.submit()
    store = (await timeless._open()).store
    await store.claim(1, ["dies"], "a worker that dies", ttl=30)
    clock.advance(3600)
    await timeless.sweep()
    await timeless._opened.runtime.hooks.drain()  # type: ignore[union-attr]  # it is open
    ends = {of.id: (moment, of.last_error.code, error) for moment, of, error in told if of.last_error is not None}
    assert ends == {job.id: ("failed", "deadline_exceeded", None), held.id: ("failed", "worker_died", None)}


async def test_a_submit_is_told_once_and_so_is_a_retry_by_hand(app: Outlast) -> None:
    told = listen(app)

    @app.handler
    async def waits(ctx: Context) -> None: ...

    once = waits.options(idempotency_key="once")
    job = await once.submit()
    await once.submit()
    await app.cancel(job)
    again = await app.retry(job)
    await app._opened.runtime.hooks.drain()  # type: ignore[union-attr]  # it is open
    assert moments(told, job) == ["submitted", "cancelled"]
    assert moments(told, again) == ["submitted"]


async def test_a_hook_may_use_the_app_and_is_in_no_handlers_context(app: Outlast) -> None:
    contexts: list[Context | None] = []

    @app.handler
    async def repairs(ctx: Context, broken: str) -> None: ...

    @app.handler(retries=0)
    async def submits(ctx: Context) -> None:
        await repairs.submit(broken="nothing")
        raise ValueError

    @app.on("submitted")
    async def note(job: Job[Any], error: BaseException | None) -> None:
        contexts.append(Context.current())

    @app.on("failed")
    async def repair(job: Job[Any], error: BaseException | None) -> None:
        await repairs.submit(broken=job.id)

    async with app.working():
        await app.wait(await submits.submit(), 10)
    assert contexts == [None, None, None]
    assert len(await app.list(type="repairs")) == 2


async def test_a_stop_waits_a_while_for_hooks_in_flight(
    app: Outlast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "LINGER", 0.05)
    begun, ended = asyncio.Event(), list[str]()

    @app.on("completed")
    async def lasts(job: Job[Any], error: BaseException | None) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(job.id)

    @app.handler
    async def works(ctx: Context) -> None: ...

    async with app.working():
        job = await works.submit()
        await begun.wait()
    assert "1 calls of hooks were not over within 0.05 s" in caplog.text
    await asyncio.sleep(0)
    assert ended == [job.id]


async def test_a_hook_that_hangs_gives_way_after_a_while(
    app: Outlast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "PATIENCE", 0.02)
    told: list[str] = []

    @app.on("submitted")
    async def hangs(job: Job[Any], error: BaseException | None) -> None:
        await asyncio.Event().wait()

    app.on("submitted", lambda job, error: told.append(job.id))

    @app.handler
    async def waits(ctx: Context) -> None: ...

    job = await waits.submit()
    await app._opened.runtime.hooks.drain()  # type: ignore[union-attr]  # it is open
    assert told == [job.id]
    assert "the hook hangs for 'submitted' failed" in caplog.text


async def test_calls_that_pile_up_are_dropped_and_logged(
    app: Outlast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks, "MOST_WAITING", 2)
    may_go = asyncio.Event()
    told: list[str] = []

    @app.on("submitted")
    async def slow(job: Job[Any], error: BaseException | None) -> None:
        await may_go.wait()
        told.append(job.id)

    @app.handler
    async def waits(ctx: Context) -> None: ...

    jobs = [await waits.submit() for _ in range(3)]
    may_go.set()
    await app._opened.runtime.hooks.drain()  # type: ignore[union-attr]  # it is open
    assert told == [job.id for job in jobs[:2]]
    assert f"job {jobs[2].id} (waits): no hook for 'submitted' is called" in caplog.text


async def test_a_wrong_registration_is_refused_with_what_would_be_right(app: Outlast) -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'failed'.*submitted, started, waiting, retrying"):
        app.on("fail", lambda job, error: None)  # type: ignore[call-overload]  # no such moment
    with pytest.raises(ConfigurationError, match="str is no function"):
        app.on("failed", "alert")  # type: ignore[call-overload]  # no function

    def one_argument(job: Job[Any]) -> None: ...

    with pytest.raises(ConfigurationError, match=r"one_argument is to take two arguments, \(job, error\)"):
        app.on("failed")(one_argument)  # type: ignore[type-var]  # takes too few
