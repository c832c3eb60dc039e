"""Moments in between: what happens while a write is in flight, while a job parks, and when it runs again."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import pytest

from outlast import Context, Fail, Outlast, Retry, Status, StoreUnavailable, WaitTimeout, activity
from outlast.job import Change, Event, Job, Signal
from outlast.output import text
from outlast.stores.base import Head, Lease
from outlast.stores.memory import MemoryStore
from tests.running.conftest import Until


class SlowStore(MemoryStore):
    """Has written long before it answers."""

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        answers = await super().apply(changes)
        await asyncio.sleep(0.2)
        return answers


@pytest.fixture
async def slow() -> AsyncIterator[Outlast]:
    async with Outlast(SlowStore(), grace=5.0) as app:
        yield app


async def write(words: str) -> str:
    context = Context.current()
    assert context is not None
    context.write(words)
    return words


async def test_usage_reported_while_a_write_is_in_flight_is_not_lost(slow: Outlast) -> None:
    @slow.handler
    async def spends(ctx: Context) -> None:
        ctx.usage(input_tokens=100)
        await asyncio.sleep(0.15)
        ctx.usage(input_tokens=50)

    async with slow.working():
        assert (await slow.wait(await spends.submit(), 10)).usage == {"inputTokens": 150}


async def test_a_step_cut_off_while_it_is_being_recorded_leaves_the_offsets_right(slow: Outlast) -> None:
    @slow.handler
    async def hurries(ctx: Context) -> None:
        with anyio.move_on_after(0.1):
            await ctx.step("short", write, "AAAA")
        ctx.write("BBBB")

    async with slow.working():
        job = await slow.wait(await hurries.submit(), 10)
    deltas = [e.data["offset"] for e in await slow.log(job.id) if e.type == "job.output.delta"]
    assert (deltas, await slow.output(job.id)) == ([0, 4], "AAAABBBB")


async def test_no_step_begins_while_the_job_is_being_parked(slow: Outlast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "QUIET", 0.2)
    paid: list[int] = []

    async def pay() -> str:
        paid.append(1)
        return "paid"

    @slow.handler
    async def both(ctx: Context) -> list[Any]:
        async def later() -> str:
            await asyncio.sleep(0.3)
            return await ctx.step("pay", pay)

        return list(await asyncio.gather(ctx.wait_for("go"), later()))

    async with slow.working():
        job = await both.submit()
        await slow.signal(job, "never", 0)
        with anyio.move_on_after(10):
            while (await slow.get(job)).status is not Status.WAITING:
                await asyncio.sleep(0.01)
        await slow.signal(job, "go", "on")
        ended = await slow.wait(job, 10)
    assert (ended.result, len(paid)) == (["on", "paid"], 1)


async def test_two_waits_for_one_name_take_a_signal_each(app: Outlast) -> None:
    @app.handler
    async def twice(ctx: Context) -> list[Any]:
        return list(await asyncio.gather(ctx.wait_for("go"), ctx.wait_for("go")))

    job = await twice.submit()
    for value in (1, 2):
        await app.signal(job, "go", value)
    async with app.working():
        assert sorted((await app.wait(job, 10)).result) == [1, 2]


async def test_one_signal_key_counts_once_even_side_by_side(app: Outlast) -> None:
    @app.handler
    async def waits(ctx: Context) -> None: ...

    job = await waits.submit()
    await asyncio.gather(*(app.signal(job, "go", 1, key="k") for _ in range(5)))
    assert (await app.get(job)).inbox == ("go",)


async def test_what_follows_a_remembered_step_with_steps_in_it_is_written(app: Outlast) -> None:
    async def outer(ctx: Context) -> str:
        return await ctx.step("inner", write, "in ")

    @app.handler(retries=1, backoff=0)
    async def nests(ctx: Context) -> None:
        await ctx.step("outer", outer, ctx)
        if ctx.attempt == 1:
            raise RuntimeError("again")
        ctx.write("after")

    async with app.working():
        job = await app.wait(await nests.submit(), 10)
    assert await app.output(job.id) == "in after"


async def test_a_replay_that_takes_another_path_shows_what_it_writes_there(app: Outlast) -> None:
    @app.handler(retries=1, backoff=0)
    async def forks(ctx: Context) -> None:
        if ctx.attempt == 1:
            ctx.write("one path ")
            await ctx.step("one", write, "taken ")
            raise RuntimeError("again")
        ctx.write("the other path")
        ctx.progress(70, "elsewhere")

    async with app.working():
        job = await app.wait(await forks.submit(), 10)
    log = await app.log(job.id)
    assert text(log) == "taken the other path"
    assert [e.data["message"] for e in log if e.type == "job.progress"] == ["elsewhere"]


async def test_a_retry_by_hand_begins_with_the_text_of_the_steps_it_inherits(app: Outlast) -> None:
    broken = True

    @app.handler(retries=0)
    async def story(ctx: Context) -> None:
        ctx.write("before ")
        await ctx.step("in", write, "[in] ")
        ctx.write("after ")
        await ctx.step("end", write, "half " if broken else "end")
        if broken:
            raise RuntimeError("not yet")

    async with app.working():
        failed = await app.wait(await story.submit(), 10)
        broken = False
        again = await app.retry(failed)
        begun = await app.log(again.id)
        ended = await app.wait(again, 10)
    assert text(begun).startswith("before [in] after half ")
    inherited = [e.data["name"] for e in begun if e.type == "job.step" and e.attempt == 0]
    assert inherited == ["in", "end"]
    assert sorted((await app.output(ended.id)).split()) == ["[in]", "after", "before", "end", "half"]


async def test_a_retry_by_hand_waits_anew_for_what_did_not_come(app: Outlast, until: Until) -> None:
    @app.handler(retries=0)
    async def waits(ctx: Context) -> str:
        return str(await ctx.wait_for("go", timeout=0.05))

    async with app.working():
        failed = await app.wait(await waits.submit(), 10)
        assert failed.status is Status.FAILED
    again = await app.retry(failed)
    await app.signal(again, "go", "on")
    async with app.working():
        assert (await app.wait(again, 10)).result == "on"


async def test_following_an_ended_job_from_its_last_number_ends_at_once(app: Outlast) -> None:
    @app.handler
    async def quick(ctx: Context) -> None: ...

    async with app.working():
        job = await app.wait(await quick.submit(), 10)
    with anyio.fail_after(5):
        assert [event async for event in app.follow(job, after=job.seq)] == []


async def test_a_short_sleep_beside_a_wait_is_slept_out(app: Outlast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "QUIET", 0.2)
    polls: list[int] = []

    async def poll() -> int:
        polls.append(1)
        return len(polls)

    @app.handler
    async def watches(ctx: Context) -> list[Any]:
        async def often() -> None:
            for _ in range(3):
                await ctx.step("poll", poll)
                await ctx.sleep(0.3)

        return list(await asyncio.gather(ctx.wait_for("stop", timeout=30), often()))

    async with app.working():
        job = await watches.submit()
        with anyio.move_on_after(15):
            while len(polls) < 3:
                await asyncio.sleep(0.01)
        await app.signal(job, "stop")
        await app.wait(job, 15)
    assert len(polls) == 3


async def test_a_wait_within_a_step_says_where_it_belongs(app: Outlast) -> None:
    @app.handler(retries=0)
    async def waits(ctx: Context) -> None:
        await ctx.step("wait", lambda: ctx.wait_for("go"))

    async with app.working():
        job = await app.wait(await waits.submit(), 10)
    assert job.last_error is not None
    assert "wait in the handler itself" in job.last_error.message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lambda: Fail("x", details={"at": object()}), "not JSON serializable"),
        (lambda: Fail("x", details={"file": "caf\udce9"}), "can't encode character '\\udce9'"),
        (lambda: Fail("x", advice="see caf\udce9"), "surrogates not allowed"),
        (lambda: Retry(after=float("nan")), "finite number of seconds"),
    ],
)
async def test_what_cannot_be_stored_of_an_error_fails_where_it_is_raised(
    app: Outlast, error: Any, message: str
) -> None:
    @app.handler(retries=0)
    async def breaks(ctx: Context) -> None:
        raise error()

    async with app.working():
        job = await app.wait(await breaks.submit(), 10)
    assert job.last_error is not None
    assert (job.status, job.last_error.code) == (Status.FAILED, "handler_error")
    assert message in job.last_error.message


async def test_a_fail_within_a_task_group_is_a_fail(app: Outlast) -> None:
    async def refuse() -> None:
        raise Fail("stop here", code="budget")

    @app.handler
    async def groups(ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step("refuse", refuse))

    async with app.working():
        job = await app.wait(await groups.submit(), 10)
    assert job.last_error is not None
    assert (job.last_error.code, job.last_error.message, job.attempt) == ("budget", "stop here", 1)


async def test_leaving_the_interpreter_within_a_step_fails_the_attempt_alone(app: Outlast) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    @app.handler(retries=0)
    async def leaves(ctx: Context) -> None:
        await asyncio.gather(ctx.step("leave", leave))

    async with app.working():
        job = await app.wait(await leaves.submit(), 10)
    assert job.last_error is not None
    assert "sys.exit(3)" in job.last_error.message


async def test_blocking_steps_do_not_wait_for_each_others_threads(app: Outlast) -> None:
    import threading

    app.concurrency = 20
    together = threading.Barrier(20, timeout=10)

    @app.handler(retries=0)
    async def meets(ctx: Context) -> int:
        return await ctx.step("meet", together.wait)

    async with app.working():
        jobs = [await meets.submit() for _ in range(20)]
        ended = [await app.wait(job, 15) for job in jobs]
    assert {job.status for job in ended} == {Status.COMPLETED}


async def test_a_step_given_a_coroutine_says_what_to_pass(app: Outlast) -> None:
    @app.handler
    async def hasty(ctx: Context) -> None:
        await ctx.step("write", write("x"))  # type: ignore[call-overload]

    async with app.working():
        job = await app.wait(await hasty.submit(), 10)
    assert job.last_error is not None
    assert "pass the function and its arguments" in job.last_error.message
    assert job.attempt == 1


async def test_a_renewal_that_takes_too_long_is_tried_again_and_no_lease_is_lost() -> None:
    class Stuck(MemoryStore):
        renewals = 0

        async def renew(self, leases: Sequence[Lease], *, ttl: float = 30.0) -> list[Head | None]:
            self.renewals += 1
            if self.renewals == 1:
                await asyncio.sleep(0.6)
            return await super().renew(leases, ttl=ttl)

    store = Stuck()
    async with Outlast(store, lease=1.5) as app:

        @app.handler
        async def long(ctx: Context) -> int:
            await asyncio.sleep(3)
            return ctx.attempt

        async with app.working():
            assert (await app.wait(await long.submit(), 15)).result == 1
    assert store.renewals > 3


async def test_a_handler_that_blocks_the_loop_is_told_of_and_keeps_its_lease(url: str) -> None:
    async with Outlast(url, lease=0.6) as app:

        @app.handler
        async def blocks(ctx: Context) -> int:
            time.sleep(1.0)
            return ctx.attempt

        async with app.working():
            assert (await app.wait(await blocks.submit(), 15)).result == 1
    assert app.observe.counts["worker.blocked"] > 0


async def test_one_failed_look_at_a_wish_costs_no_attempt() -> None:
    class Blinks(MemoryStore):
        blind = False

        async def get(self, *args: Any, **kwargs: Any) -> list[Job[Any] | None]:
            if self.blind:
                self.blind = False
                raise StoreUnavailable("it blinked")
            return await super().get(*args, **kwargs)

        async def signals(self, job_id: str) -> list[Signal]:
            self.blind = True
            return await super().signals(job_id)

    async with Outlast(Blinks()) as app:
        running = asyncio.Event()

        @app.handler
        async def works(ctx: Context) -> int:
            running.set()
            await asyncio.sleep(0.3)
            return ctx.attempt

        async with app.working():
            job = await works.submit()
            await running.wait()
            with pytest.raises(StoreUnavailable):
                await app.signal(job, "hello", key="k")
            assert (await app.wait(job, 10)).result == 1


def test_an_app_serves_one_event_loop_after_the_other(url: str) -> None:
    app = Outlast(url)

    @app.handler
    async def one(ctx: Context) -> int:
        return 1

    async def submit() -> Job[int]:
        return await one.submit()

    async def work(job: Job[int]) -> int:
        async with app, app.working():
            return (await app.wait(job, 10)).result

    assert asyncio.run(work(asyncio.run(submit()))) == 1


async def test_a_wait_that_is_pending_when_the_app_closes_ends_and_opens_nothing(url: str) -> None:
    app = Outlast(url)

    @app.handler
    async def never(ctx: Context) -> None: ...

    job = await never.submit()
    waiting = asyncio.create_task(app.wait(job))
    await asyncio.sleep(0.05)
    await app.close()
    with pytest.raises(WaitTimeout, match="as the app closes"):
        await waiting
    assert app._opened is None


async def test_events_are_numbered_in_the_order_of_their_times(app: Outlast) -> None:
    @app.handler(retries=2, backoff=0)
    async def story(ctx: Context) -> None:
        ctx.write("one ")
        await ctx.step("a", write, "a ")
        ctx.write("two ")
        await asyncio.sleep(0.08)
        if ctx.attempt < 3:
            raise RuntimeError("again")

    async with app.working():
        job = await app.wait(await story.submit(), 10)
    log: list[Event] = await app.log(job.id)
    assert [event.time for event in log] == sorted(event.time for event in log)


@pytest.mark.parametrize("wrong", [{"retires": 3}, {"priority": "urgent"}, {"steps": "abc"}])
async def test_settings_that_mean_nothing_are_refused(app: Outlast, wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"retries|priority is one of|list of names"):

        @app.handler(**wrong)
        async def works(ctx: Context) -> None: ...


async def test_options_that_mean_nothing_are_refused(app: Outlast) -> None:
    @app.handler
    async def works(ctx: Context) -> None: ...

    with pytest.raises(TypeError, match="did you mean 'delay'"):
        works.options(dealy="1h")  # type: ignore[call-arg]


async def test_a_handler_without_a_context_is_refused(app: Outlast) -> None:
    with pytest.raises(Exception, match="takes no Context"):

        @app.handler
        async def works(topic: str) -> None: ...  # type: ignore[arg-type]


async def test_a_signal_that_comes_as_the_job_parks_is_no_error(app: Outlast) -> None:
    @app.handler
    async def waits(ctx: Context) -> str:
        try:
            return str(await ctx.wait_for("go"))
        except Exception as error:
            return f"raised {error!r}"

    async with app.working():
        for turn in range(40):
            job = await waits.submit()
            await asyncio.sleep(turn * 0.0001)
            await app.signal(job, "go", "on")
            assert (await app.wait(job, 10)).result == "on"
