"""What is kept of each attempt for whoever operates: its end, its traceback, and what the user's code logged."""

import asyncio
import logging
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import outlast
from outlast import Context, Fail, Job, JobNotFound, Outlast, Status
from outlast.attempts import AttemptInfo
from outlast.report import REPORTS
from outlast.stores import open_store
from outlast.testing import FakeClock
from outlast.words import LINE, MOST_BYTES, MOST_LINES, TRACEBACK, Lines, line_of, traceback_of
from tests.running.conftest import Until
from tests.running.test_hooks import parked

log = logging.getLogger("shop")


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "shop")


def texts(attempt: AttemptInfo) -> list[str]:
    return [line.text for line in attempt.lines]


async def test_each_attempt_tells_its_worker_its_times_its_end_and_its_log(
    timeless: Outlast, clock: FakeClock, until: Until
) -> None:
    @timeless.handler(retries=1, backoff=10)
    async def breaks(ctx: Context, secret: str) -> str:
        log.info("try %d", ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("not today")
        return secret

    async with timeless.working() as worker:
        began = clock.now()
        job = await breaks.submit(secret="a secret of the payload")
        await until(lambda: _is(timeless, job, Status.RETRYING), "the first attempt fails")
        clock.advance(20)
        await timeless.wait(job, 1000)
    first, second = await timeless.attempts(job)
    assert (first.number, first.status, first.code) == (1, "retrying", "handler_error")
    assert (first.worker, second.worker) == (worker.id, worker.id)
    assert (first.began_at, first.ended_at) == (began, began)
    assert first.message == "ValueError: not today"
    assert first.traceback is not None
    assert first.traceback.startswith("Traceback (most recent call last):\n  File")
    assert first.traceback.endswith('raise ValueError("not today")\nValueError: not today\n')
    assert (texts(first), texts(second)) == (["try 1"], ["try 2"])
    assert (first.lines[0].level, first.lines[0].logger, first.lines[0].time) == ("INFO", "shop", began)
    assert (second.number, second.status, second.code, second.traceback) == (2, "completed", None, None)
    assert second.ended_at is not None and second.ended_at >= began + 20
    assert "a secret of the payload" not in repr([first, second])


async def test_an_attempt_that_neither_failed_nor_logged_stores_nothing(app: Outlast) -> None:
    @app.handler
    async def works(ctx: Context) -> None:
        ctx.log("in the job's own log")

    async with app.working():
        job = await app.wait(await works.submit(), 10)
    [attempt] = await app.attempts(job)
    assert (attempt.status, attempt.code, attempt.lines, attempt.worker) == ("completed", None, (), None)
    assert attempt.ended_at is not None
    assert await _store(app).reports(job.id) == []


async def test_lines_are_kept_by_the_job_they_were_logged_in(app: Outlast) -> None:
    """From the handler, from steps of both kinds and from threads of its own; and of nobody else."""
    both = asyncio.Barrier(2)

    def plain(name: str) -> None:
        log.warning("%s in a thread", name)

    async def awaited(name: str) -> None:
        log.debug("%s in a step", name)

    @app.handler
    async def talks(ctx: Context, name: str) -> None:
        log.info("%s begins", name)
        await both.wait()
        await ctx.step("plain", plain, name)
        await ctx.step("awaited", awaited, name)
        await asyncio.to_thread(log.error, "%s ends", name)

    async with app.working():
        jobs = [await talks.submit(name=name) for name in ("Ann", "Ben")]
        log.error("of no job")
        for job in jobs:
            await app.wait(job, 10)
    for job, name in zip(jobs, ("Ann", "Ben"), strict=True):
        [attempt] = await app.attempts(job)
        assert texts(attempt) == [f"{name} {end}" for end in ("begins", "in a thread", "in a step", "ends")]
        assert [line.level for line in attempt.lines] == ["INFO", "WARNING", "DEBUG", "ERROR"]


async def test_an_attempt_of_several_slices_has_the_lines_of_all(app: Outlast, until: Until) -> None:
    @app.handler
    async def waits(ctx: Context) -> None:
        log.info("before")
        await ctx.wait_for("go")
        log.info("after")

    async with app.working():
        job = await waits.submit()
        await until(lambda: parked(app, job), "the job parks")
        [waiting] = await app.attempts(job)
        assert (waiting.status, waiting.ended_at, texts(waiting)) == ("waiting", None, ["before"])
        await app.signal(job, "go")
        await app.wait(job, 10)
    [attempt] = await app.attempts(job)
    assert (attempt.status, texts(attempt)) == ("completed", ["before", "before", "after"])


async def test_what_a_handler_says_on_purpose_has_a_traceback_here(app: Outlast) -> None:
    @app.handler
    async def refuses(ctx: Context) -> None:
        raise Fail("no key", code="provider_error")

    async with app.working():
        job = await app.wait(await refuses.submit(), 10)
    [attempt] = await app.attempts(job)
    assert (attempt.code, attempt.message) == ("provider_error", "no key")
    assert "in refuses" in (attempt.traceback or "")


async def test_a_traceback_shows_the_users_calls_and_not_ours(app: Outlast) -> None:
    def asks() -> None:
        raise KeyError("model")

    def drafts() -> None:
        try:
            asks()
        except KeyError as error:
            raise ValueError("no draft") from error

    @app.handler(retries=0)
    async def plans(ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step("draft", drafts))

    async with app.working():
        job = await app.wait(await plans.submit(), 10)
    [attempt] = await app.attempts(job)
    assert attempt.traceback is not None
    assert [name for name in ("in asks", "in drafts", "in plans") if name not in attempt.traceback] == []
    assert str(Path(outlast.__file__).parent) not in attempt.traceback


async def test_a_death_is_told_with_the_worker_that_died(timeless: Outlast, clock: FakeClock) -> None:
    @timeless.handler(timeout=None)
    async def dies(ctx: Context) -> None: ...

    job = await dies.submit()
    [running] = (await _store(timeless).claim(1, ["dies"], "worker_that_dies", ttl=30)).jobs
    [attempt] = await timeless.attempts(running)
    assert (attempt.status, attempt.worker, attempt.ended_at) == ("processing", "worker_that_dies", None)
    clock.advance(60)
    await timeless.sweep()
    [attempt] = await timeless.attempts(job)
    assert (attempt.status, attempt.code, attempt.worker) == ("queued", "worker_died", "worker_that_dies")
    assert attempt.ended_at == clock.now()


async def test_a_cancel_and_a_deadline_end_the_attempt_that_they_cut_off(app: Outlast) -> None:
    running = asyncio.Event()

    @app.handler
    async def lasts(ctx: Context) -> None:
        log.info("lasts")
        running.set()
        await asyncio.Event().wait()

    async with app.working():
        job = await lasts.submit()
        await running.wait()
        await app.cancel(job)
        await app.wait(job, 10)
    [attempt] = await app.attempts(job)
    assert (attempt.status, attempt.code, texts(attempt)) == ("cancelled", "cancelled", ["lasts"])
    never_begun = await lasts.submit()
    await app.cancel(never_begun)
    assert await app.attempts(never_begun) == []


async def test_there_are_no_attempts_of_a_job_that_is_not_there(app: Outlast) -> None:
    with pytest.raises(JobNotFound):
        await app.attempts("job_absent")


async def test_a_jobs_reports_are_bounded(timeless: Outlast, clock: FakeClock, until: Until) -> None:
    @timeless.handler(retries=REPORTS + 4, backoff=1)
    async def breaks(ctx: Context) -> None:
        raise ValueError(ctx.attempt)

    async with timeless.working():
        job = await breaks.submit()
        for attempt in range(1, REPORTS + 5):
            await until(lambda n=attempt: _is(timeless, job, Status.RETRYING, n), f"attempt {attempt} fails")  # type: ignore[misc]
            clock.advance(400)
        await timeless.wait(job, 1000)
    attempts = await timeless.attempts(job)
    assert [attempt.code for attempt in attempts] == ["handler_error"] * (REPORTS + 5)
    assert [attempt.traceback is None for attempt in attempts] == [True] * 5 + [False] * REPORTS


# ---- capture ------------------------------------------------------------------------------------


async def test_logging_is_as_it_was_once_the_worker_has_stopped(app: Outlast) -> None:
    before, handlers = logging.getLogRecordFactory(), list(logging.getLogger().handlers)
    async with app.working():
        assert logging.getLogRecordFactory() is not before
        assert logging.getLogger().handlers == handlers
    assert logging.getLogRecordFactory() is before


async def test_two_apps_of_one_process_keep_their_own_lines_and_end_in_any_order(app: Outlast) -> None:
    factory = logging.getLogRecordFactory()
    first = Outlast(open_store("memory://"))

    async def talks(ctx: Context) -> None:
        log.info("of %s", ctx.job.id)

    one, other = first.handler(talks), app.handler(talks)
    try:
        async with first, AsyncExitStack() as working:
            async with app.working():
                await working.enter_async_context(first.working())
                for whose, job in ((first, await one.submit()), (app, await other.submit())):
                    await whose.wait(job, 10)
                    assert [texts(attempt) for attempt in await whose.attempts(job)] == [[f"of {job.id}"]]
            job = await first.wait(await one.submit(), 10)
            assert [texts(attempt) for attempt in await first.attempts(job)] == [[f"of {job.id}"]]
    finally:
        logging.setLogRecordFactory(factory)


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("cannot be said")


async def test_a_line_that_cannot_be_said_breaks_nothing(app: Outlast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    @app.handler
    async def mumbles(ctx: Context) -> str:
        log.info("%d of them", "several")
        log.info("%s", Unspeakable())
        log.info(Unspeakable())
        return "done"

    log.propagate = False
    try:
        async with app.working():
            job = await app.wait(await mumbles.submit(), 10)
    finally:
        log.propagate = True
    [attempt] = await app.attempts(job)
    assert job.result == "done"
    assert texts(attempt) == [
        "'%d of them', whose arguments do not fit",
        "'%s', whose arguments do not fit",
        "Unspeakable",
    ]


# ---- caps and masks -----------------------------------------------------------------------------


def record(text: str, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("shop", logging.INFO, "shop.py", 1, text, None, info)


def test_the_newest_lines_are_kept_within_their_number_and_bytes() -> None:
    many, large = Lines(), Lines()
    for number in range(MOST_LINES + 7):
        many.add(line_of(record(f"line {number}"), 0.0))
    assert (len(many.kept()), many.dropped, many.kept()[-1].text) == (MOST_LINES, 7, f"line {MOST_LINES + 6}")
    for _ in range(MOST_LINES):
        large.add(line_of(record("é" * 10_000), 0.0))
    assert sum(len(line.text.encode()) for line in large.kept()) <= MOST_BYTES
    assert len(large.kept()) + large.dropped == MOST_LINES
    assert {len(line.text) for line in large.kept()} == {LINE}


def test_lines_of_many_threads_are_all_counted() -> None:
    lines = Lines()

    def add() -> None:
        for number in range(500):
            lines.add(line_of(record(f"{number}"), 0.0))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines.kept()) + lines.dropped == 2000


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("padding", range(-40, 40, 3))
def test_no_password_of_a_url_is_kept_wherever_the_text_is_cut(padding: int) -> None:
    secret = "5up3r-s3cr3t"
    url = f"postgresql://me:{secret}@db/x"
    for place in (LINE, TRACEBACK // 2, TRACEBACK):
        text = "x" * (place + padding - len(url)) + " " + url + " " + "y" * TRACEBACK
        assert secret not in line_of(record(text), 0.0).text
        assert secret not in traceback_of(raised(ValueError(text)))
    backwards = "x" * TRACEBACK + " " + url + " " + "y" * (TRACEBACK // 2 + padding)
    assert secret[3:] not in traceback_of(raised(ValueError(backwards)))


def test_a_long_traceback_keeps_its_beginning_and_its_end() -> None:
    text = traceback_of(raised(ValueError("\n".join(f"line {number}" for number in range(20_000)))))
    assert text.startswith("Traceback (most recent call last):")
    assert text.endswith("line 19999\n")
    assert "\n[...]\n" in text
    assert len(text) <= TRACEBACK + 10


def test_a_logged_exception_comes_with_its_traceback() -> None:
    line = line_of(record("it broke", raised(ValueError("a\0b \udcff"))), 0.0)
    assert line.text.startswith("it broke\nTraceback (most recent call last):")
    assert line.text.endswith("ValueError: a\\0b \\udcff\n")


async def _is(app: Outlast, job: Job[Any], status: Status, attempt: int = 1) -> bool:
    now = await app.get(job)
    return (now.status, now.attempt) == (status, attempt)


def _store(app: Outlast) -> Any:
    assert app._opened is not None
    return app._opened.store
