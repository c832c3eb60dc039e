"""Each job that may go on is called for, whatever dies on the way between its commit and the call."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from outlast import Context, JobNotFound, Outlast, Retry, Status, calling
from outlast.calling import CALL_WITHIN
from outlast.errors import StoreUnavailable
from outlast.job import Change, Job
from outlast.push import Incoming, Named, Unpublished
from outlast.push.caller import AT_ONCE
from outlast.stores.base import Store
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from tests.push.ground import make_app


class Recorded:
    """A push that keeps what it is told, with the status the job then had in the store; `down`: it takes nothing."""

    name = "recorded"
    budget = 10.0

    def __init__(self, store: Store) -> None:
        self.published: list[tuple[str, float | None, str]] = []
        self.turns: list[Named] = []
        self.down = False
        self._store = store

    def received(self, call: Incoming) -> Named | None:
        raise NotImplementedError

    async def publish(self, named: Named, at: float | None) -> None:
        await asyncio.sleep(0)
        if self.down:
            raise Unpublished("it is down")
        [job] = await self._store.get([named.job_id])
        assert job is not None and job.turn == named.turn
        self.turns.append(named)
        self.published.append((named.job_id, None if at is None else at - self._store.now(), job.status.value))

    def taken(self) -> list[tuple[str, float | None, str]]:
        """What was published since the last look."""
        published, self.published = self.published, []
        return published


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def push(store: MemoryStore) -> Recorded:
    return Recorded(store)


@pytest.fixture
async def app(store: MemoryStore, push: Recorded) -> AsyncIterator[Outlast]:
    async with make_app(store, push=push) as app:
        yield app


# -- who is called for ----------------------------------------------------------------------------------------------


async def test_a_submit_returns_once_the_job_is_stored_and_called_for(app: Outlast, push: Recorded) -> None:
    job = await app.submit("count", {"to": 1})
    assert push.taken() == [(job.id, None, "queued")]
    again = await app.submit("count", {"to": 2}, idempotency_key="k")
    assert [id for id, *_ in push.taken()] == [again.id]
    assert (await app.submit("count", {"to": 2}, idempotency_key="k")).id == again.id
    assert push.taken() == [], "it has been called for"


async def test_a_submit_waits_for_its_own_call_and_for_nobody_else_s(
    app: Outlast, push: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, asked, answered = push.publish, asyncio.Event(), asyncio.Event()

    async def hangs(named: Named, at: float | None) -> None:
        asked.set()
        await answered.wait()

    monkeypatch.setattr(push, "publish", hangs)
    first = asyncio.create_task(app.submit("count", {"to": 1}))
    await asked.wait()
    monkeypatch.setattr(push, "publish", publish)
    second = await asyncio.wait_for(app.submit("count", {"to": 1}), 3)
    assert push.taken() == [(second.id, None, "queued")] and not first.done()
    answered.set()
    await first


async def test_a_job_for_later_is_called_for_at_its_time(app: Outlast, push: Recorded, clock: FakeClock) -> None:
    job = await app.submit("count", {"to": 1}, delay=3600)
    assert push.taken() == [(job.id, 3600.0, "queued")]
    clock.advance(3600)
    assert await app.run_slice(job, budget=10)
    assert push.taken() == [], "the call that was made when it was due has run it"


async def test_what_yields_is_queued_again_then_called_for_then_answered(app: Outlast, push: Recorded) -> None:
    job = await app.submit("count", {"to": 7})
    for left in ("queued", "queued", "completed"):
        push.taken()
        assert await app.run_slice(job, budget=10)
        assert push.taken() == ([(job.id, None, "queued")] if left == "queued" else [])
        assert (await app.get(job)).status.value == left
    assert len(set(push.turns)) == 3, "each at another turn, for the service takes one call of each"


async def test_a_pause_before_a_retry_a_sleep_and_a_wait_are_called_for_when_they_are_over(
    app: Outlast, push: Recorded
) -> None:
    @app.handler
    async def later(ctx: Context) -> None:
        raise Retry(after=90)

    @app.handler
    async def sleeps(ctx: Context) -> None:
        await ctx.sleep("2h")

    @app.handler
    async def waits(ctx: Context) -> None:
        await ctx.wait_for("go", timeout=60)

    @app.handler
    async def waits_for_ever(ctx: Context) -> None:
        await ctx.wait_for("go")

    for handler, called in ((later, 90.0), (sleeps, 7200.0), (waits, 60.0), (waits_for_ever, None)):
        job: Job[Any] = await handler.submit()
        push.taken()
        await app.run_slice(job, budget=10)
        assert [at for _, at, _ in push.taken()] == ([] if called is None else [called])


async def test_a_signal_that_is_waited_for_has_its_job_called_for(app: Outlast, push: Recorded) -> None:
    @app.handler
    async def waits(ctx: Context) -> Any:
        return await ctx.wait_for("go")

    job = await waits.submit()
    await app.run_slice(job, budget=10)
    push.taken()
    await app.signal(job, "other")
    assert push.taken() == []
    await app.signal(job, "go", 7)
    assert push.taken() == [(job.id, None, "queued")]
    assert await app.run_slice(job, budget=10) and (await app.get(job)).result == 7


async def test_a_retry_by_hand_is_called_for(app: Outlast, push: Recorded) -> None:
    job = await app.submit("broken", {})
    await app.run_slice(job, budget=10)
    push.taken()
    again = await app.retry(job)
    assert push.taken() == [(again.id, None, "queued")]


async def test_a_cancel_and_an_end_call_for_nobody(app: Outlast, push: Recorded) -> None:
    job = await app.submit("count", {"to": 1})
    await app.cancel(job)
    assert [id for id, *_ in push.taken()] == [job.id]


# -- what was committed and not called for --------------------------------------------------------------------------


async def test_what_could_not_be_published_is_published_by_a_sweep(
    app: Outlast, push: Recorded, clock: FakeClock
) -> None:
    push.down = True
    job = await app.submit("count", {"to": 1})
    push.down = False
    clock.advance(CALL_WITHIN - 1)
    assert (await app.sweep(), push.taken()) == (0, [])
    clock.advance(1)
    assert (await app.sweep(), push.taken()) == (1, [(job.id, None, "queued")])


async def test_a_job_that_nobody_claims_is_called_for_again_and_again_but_ever_more_rarely(
    app: Outlast, push: Recorded, clock: FakeClock
) -> None:
    began = clock.now()
    job = await app.submit("count", {"to": 1})
    called: list[float] = []
    for _ in range(3 * 3600 // 10):
        clock.advance(10)
        await app.sweep()
        called += [clock.now() - began for _ in push.published[1 + len(called) :]]
        # A call may get lost; that it is the second is told, once.
        assert app.observe.counts["push.nobody_came"] == (1 if clock.now() - began >= 40 else 0)
    assert called == [10, 40, 80, 160, 320, 640, 1280, 2560, 5120, 8720]
    assert len(set(push.turns)) == len(push.turns), "else the service would take the calls for one"
    assert await app.run_slice(job, budget=10)
    clock.advance(3600)
    push.taken()
    assert (await app.sweep(), push.taken()) == (0, [])


async def test_of_two_sweeps_at_once_one_calls(app: Outlast, push: Recorded, clock: FakeClock) -> None:
    job = await app.submit("count", {"to": 1})
    push.taken()
    clock.advance(CALL_WITHIN)
    assert sorted(await asyncio.gather(app.sweep(), app.sweep())) == [0, 1]
    assert push.taken() == [(job.id, None, "queued")]


async def test_what_a_killed_process_held_is_called_for_once_its_lease_is_out(
    app: Outlast, push: Recorded, store: MemoryStore, clock: FakeClock
) -> None:
    job = await app.submit("count", {"to": 1})
    await store.claim(1, ["count"], "gone")
    push.taken()
    clock.advance(30)
    assert (await app.sweep(), push.taken()) == (1, [(job.id, None, "queued")])


async def test_a_sweep_without_a_push_passes_uncalled_jobs_over_and_sees_all_that_is_due_behind_them(
    app: Outlast, push: Recorded, store: MemoryStore, clock: FakeClock
) -> None:
    push.down = True
    await asyncio.gather(*(app.submit("count", {"to": 1}) for _ in range(600)))
    push.down = False
    later = await app.submit("count", {"to": 1}, delay=60)
    clock.advance(60)
    push.taken()
    async with make_app(store) as puller:
        assert await puller.sweep() == 1
    assert ((await app.get(later)).tag is not None, push.taken()) == (True, [])
    assert (await app.sweep(), len(push.taken())) == (600, 600)


async def test_jobs_of_types_that_are_not_here_are_left_to_their_own_app(
    app: Outlast, push: Recorded, store: MemoryStore, clock: FakeClock
) -> None:
    async with Outlast(store, push=Recorded(store)) as other:

        @other.handler
        async def elsewhere(ctx: Context) -> None: ...

        await elsewhere.submit()
        clock.advance(CALL_WITHIN)
        assert (await app.sweep(), push.taken()) == (0, [])
        assert await other.sweep() == 1


async def test_a_call_for_a_job_whose_type_has_no_handler_here_says_so(app: Outlast, store: MemoryStore) -> None:
    async with Outlast(store) as other:

        @other.handler
        async def renamed(ctx: Context) -> None: ...

        job = await renamed.submit()
        assert not await app.run_slice(job, budget=10)
        assert app.observe.counts["slice.no_handler"] == 1
        assert await other.run_slice(job, budget=10), "it waited for an app that has one"
    assert not await app.run_slice(job, budget=10)
    assert app.observe.counts["slice.no_handler"] == 1, "of what has ended nothing is said"


async def test_a_sweep_ends_in_time_however_many_jobs_it_has_to_pass_over(
    app: Outlast, push: Recorded, store: MemoryStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Outlast(store, push=push) as other:

        @other.handler
        async def elsewhere(ctx: Context) -> None: ...

        await asyncio.gather(*(elsewhere.submit() for _ in range(1200)))
    clock.advance(CALL_WITHIN)
    due, asked = store.due, 0

    async def slow(limit: int, *, dead: frozenset[str] = frozenset()) -> list[Job[Any]]:
        nonlocal asked
        asked += 1
        clock.advance(1)
        return await due(limit, dead=dead)

    monkeypatch.setattr(store, "due", slow)
    await app._recover(clock.now() + 1)
    assert asked == 1


async def test_of_many_that_a_sweep_finds_so_many_are_called_for_at_once_and_no_submit_waits_for_them(
    app: Outlast, push: Recorded, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    push.down = True
    found = await asyncio.gather(*(app.submit("count", {"to": 1}) for _ in range(3 * AT_ONCE)))
    push.down = False
    publish, answered, going, most = push.publish, asyncio.Event(), 0, 0

    async def slow(named: Named, at: float | None) -> None:
        nonlocal going, most
        if named.job_id in {job.id for job in found}:
            going, most = going + 1, max(most, going + 1)
            await answered.wait()
            going -= 1
        await publish(named, at)

    monkeypatch.setattr(push, "publish", slow)
    clock.advance(CALL_WITHIN)
    sweeping = asyncio.create_task(app.sweep())
    async with asyncio.timeout(20):
        while going < AT_ONCE:
            await asyncio.sleep(0)
    job = await asyncio.wait_for(app.submit("count", {"to": 1}), 3)
    assert push.taken() == [(job.id, None, "queued")]
    answered.set()
    assert (await sweeping, len(push.taken()), most) == (len(found), len(found), AT_ONCE)


async def test_a_sweep_asks_of_each_job_once_whether_it_was_called_for(
    app: Outlast, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncalled, asked = calling.uncalled, list[str]()

    def counted(job: Job[Any], now: float) -> bool:
        asked.append(job.id)
        return uncalled(job, now)

    monkeypatch.setattr(calling, "uncalled", counted)
    jobs = [await app.submit("count", {"to": 1}) for _ in range(3)]
    clock.advance(CALL_WITHIN)
    assert await app.sweep() == 3
    assert sorted(asked) == sorted(job.id for job in jobs)


async def test_an_overdue_call_goes_before_no_deadline(app: Outlast, push: Recorded, clock: FakeClock) -> None:
    job = await app.submit("count", {"to": 1}, deadline=5)
    push.taken()
    clock.advance(5)
    assert (await app.sweep(), push.taken()) == (1, [])
    assert (await app.get(job)).status is Status.FAILED


async def test_a_call_with_no_time_left_has_its_job_called_for_again(
    app: Outlast, push: Recorded, clock: FakeClock
) -> None:
    job = await app.submit("count", {"to": 1})
    assert not await app.run_slice(job, budget=0)
    push.taken()
    clock.advance(CALL_WITHIN)
    assert (await app.sweep(), push.taken()) == (1, [(job.id, None, "queued")])
    assert await app.run_slice(job, budget=10)
    assert ((await app.get(job)).status, (await app.get(job)).attempt) == (Status.COMPLETED, 1)


async def test_a_worker_may_take_what_was_called_for(app: Outlast, push: Recorded) -> None:
    job = await app.submit("count", {"to": 3})
    async with app.working():
        assert (await app.wait(job)).status is Status.COMPLETED
    assert not await app.run_slice(job, budget=10)


async def test_an_error_that_nobody_expected_is_logged_and_left_to_the_sweep(
    app: Outlast, push: Recorded, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def publish(named: Named, at: float | None) -> None:
        raise StoreUnavailable("none of its own") if at else ZeroDivisionError

    monkeypatch.setattr(push, "publish", publish)
    await app.submit("count", {"to": 1})
    await app.submit("count", {"to": 1}, delay=5)
    assert (app.observe.counts["push.broke"], app.observe.counts["push.unpublished"]) == (1, 1)


# -- calls that come early, or were given up ------------------------------------------------------------------------


async def test_a_call_that_comes_early_is_put_off(app: Outlast, push: Recorded, clock: FakeClock) -> None:
    job = await app.submit("count", {"to": 1}, delay=3600)
    clock.advance(600)
    push.taken()
    assert (await app.run_slice(job, budget=10), push.taken()) == (False, [(job.id, 3000.0, "queued")])


async def test_a_call_that_finds_the_job_held_comes_again_when_its_holder_may_be_dead(
    app: Outlast, push: Recorded, store: MemoryStore, clock: FakeClock
) -> None:
    job = await app.submit("count", {"to": 1})
    await store.claim(1, ["count"], "gone")
    clock.advance(10)
    push.taken()
    assert (await app.run_slice(job, budget=10), push.taken()) == (False, [(job.id, 20.0, "processing")])
    clock.advance(20)
    assert (await app.run_slice(job, budget=10), push.taken()) == (True, [])
    assert ((await app.get(job)).status, (await app.get(job)).attempt) == (Status.COMPLETED, 2)


async def test_a_call_that_comes_as_a_signal_wakes_its_job_runs_it(
    app: Outlast, push: Recorded, store: MemoryStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.handler
    async def answered(ctx: Context) -> Any:
        return await ctx.wait_for("answer", timeout=60)

    job: Job[Any] = await answered.submit()
    assert await app.run_slice(job, budget=10)
    clock.advance(60)
    apply = store.apply

    async def late(changes: Sequence[Change]) -> list[Job[Any] | None]:
        monkeypatch.setattr(store, "apply", apply)
        await app.signal(job.id, "answer", "yes")
        return await apply(changes)

    monkeypatch.setattr(store, "apply", late)
    push.taken()
    assert (await app.run_slice(job, budget=10), push.taken()) == (True, [])
    assert (await app.get(job)).result == "yes"


async def test_a_call_that_comes_a_moment_early_waits(app: Outlast, push: Recorded, clock: FakeClock) -> None:
    job = await app.submit("count", {"to": 1}, delay=60)
    clock.advance(59)
    running = asyncio.create_task(app.run_slice(job, budget=10))
    await asyncio.sleep(0)
    clock.advance(1)
    assert await running and (await app.get(job)).status is Status.COMPLETED


async def test_a_job_whose_calls_were_given_up_has_failed_unless_it_went_on(app: Outlast, clock: FakeClock) -> None:
    job = await app.submit("count", {"to": 1})
    gone_on = await app.submit("count", {"to": 7})
    await app.run_slice(gone_on, budget=10)
    assert [await app.dead_letter(one, one.turn) for one in (job, gone_on)] == [True, False]
    failed = await app.get(job)
    assert failed.last_error is not None and failed.last_error.code == "dead_lettered"
    assert not await app.dead_letter(job, failed.turn), "it has ended"
    with pytest.raises(JobNotFound):
        await app.dead_letter("job_absent", 0)
