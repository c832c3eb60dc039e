"""Calls that come twice, late, out of order, or at the wrong moment: each changes what it should, or nothing.

Rolled keys, clocks that differ and bytes that are no text are in test_qstash.py too, sweeps at once in test_calls.py.
Real processes are in test_platform.py, and a thousand jobs under all of this in `./dev torture serverless`.
"""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from outlast import Context, JobConflict, Outlast, Status, StoreUnavailable
from outlast.calling import CALL_WITHIN
from outlast.job import Change, Job
from outlast.push import Named, QStash
from outlast.stores.base import LEASE, Claimed, Head, Lease
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.service import service
from tests.push.ground import make_app, taking
from tests.push.test_calls import Recorded
from tests.push.test_qstash import CURRENT, GOOD, NEXT, OTHER, SITE, Signed, called, naming
from tests.web.ground import client
from torture.history import flaws
from torture.serverless.queue import Queue

TOKEN = "of-the-account"


class Interrupted(MemoryStore):
    """Something happens between a claim's commit and its answer."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        claimed = await super().claim(*args, **options)
        if claimed.jobs and self.meanwhile is not None:
            await self.meanwhile()
        return claimed


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Interrupted:
    return Interrupted(clock=clock)


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    """A double of QStash whose calls nobody takes; the tests make them."""
    async with Queue(TOKEN, CURRENT, odds={"lost": 1.0}) as queue:
        yield queue


@pytest.fixture
async def app(store: MemoryStore, queue: Queue) -> AsyncIterator[Outlast]:
    async with make_app(store, push=made(queue)) as app:
        yield app


@pytest.fixture
async def http(app: Outlast) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(service(app, worker=False)) as http:
        yield http


def made(queue: Queue, site: str = SITE) -> QStash:
    return QStash(site, token=TOKEN, keys=[CURRENT, NEXT], api=queue.url, budget=10)


async def ran(http: httpx2.AsyncClient, job: Job[Any]) -> bool:
    """Whether the call for this job, at the turn that it had, has run a slice."""
    reply = await called(http, naming(job))
    assert reply.status_code == 200, reply.text
    return bool(reply.json()["ran"])


async def given_up(http: httpx2.AsyncClient, job: Job[Any]) -> bool:
    """Whether it ends the job that the service says it has given the same call up."""
    source = base64.b64encode(naming(job).body).decode()
    reply = await called(http, signed(json.dumps({"sourceBody": source}).encode(), "dead"), "/push/dead")
    assert reply.status_code == 200, reply.text
    return bool(reply.json()["failed"])


def signed(body: bytes, place: str = "qstash") -> Signed:
    return replace(GOOD, signs=body, body=body, url=f"{SITE}/push/{place}")


async def told(app: Outlast, job: Job[Any]) -> tuple[Job[Any], list[Any], list[Any]]:
    """All that is known of the job, in which there is no flaw."""
    history = await app.get(job.id), await app.log(job.id), await app.steps(job.id)
    assert flaws(*history) == []
    return history


async def happenings(app: Outlast, job: Job[Any]) -> Counter[str]:
    """How often what happened to the job."""
    return Counter(event.type for event in (await told(app, job))[1])


# -- twice, late, out of order --------------------------------------------------------------------------------------


async def test_of_the_same_call_twice_at_once_one_runs_a_slice(app: Outlast, http: httpx2.AsyncClient) -> None:
    job = await app.submit("count", {"to": 3})
    assert sorted(await asyncio.gather(*(ran(http, job) for _ in range(2)))) == [False, True]
    assert ((await app.get(job)).result, (await happenings(app, job))["job.started"]) == ([0, 1, 2], 1)


async def test_a_call_after_the_end_changes_nothing(app: Outlast, http: httpx2.AsyncClient) -> None:
    job = await app.submit("count", {"to": 1})
    assert await ran(http, job)
    ended = await told(app, job)
    assert not await ran(http, job) and await told(app, job) == ended


async def test_a_call_for_an_older_turn_runs_what_is_there_to_run_now(app: Outlast, http: httpx2.AsyncClient) -> None:
    job = await app.submit("count", {"to": 7})
    assert [await ran(http, job) for _ in range(4)] == [True, True, True, False]
    now, log, steps = await told(app, job)
    begun = [event for event in log if event.type == "job.step" and event.data["status"] == "running"]
    assert (now.result, now.attempt, len(begun), len(steps)) == (list(range(7)), 1, 7, 7)


# -- processes that stand still, or die -----------------------------------------------------------------------------


class Frozen:
    """The store as a frozen process has it: what it wrote arrives once it goes on."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.sent, self.thawed = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        if changes:
            self.sent.set()
            await self.thawed.wait()
        return await self._store.apply(changes)


async def test_what_a_process_wrote_that_was_frozen_past_its_lease_is_refused(
    app: Outlast, store: MemoryStore, clock: FakeClock, queue: Queue
) -> None:
    job = await app.submit("count", {"to": 1})
    frozen = Frozen(store)
    async with make_app(frozen, push=made(queue)) as other:
        late = asyncio.create_task(other.run_slice(job, budget=10))
        await frozen.sent.wait()
        clock.advance(LEASE)
        assert await app.run_slice(job, budget=10)
        ended = await told(app, job)
        frozen.thawed.set()
        assert await late and other.observe.counts["lease.lost"] == 1
    assert await told(app, job) == ended and (ended[0].status, ended[0].attempt) == (Status.COMPLETED, 2)


async def test_a_process_that_dies_between_its_commit_and_the_publish_leaves_a_job_that_a_sweep_calls_for(
    store: MemoryStore, clock: FakeClock
) -> None:
    push = Recorded(store)
    async with make_app(store, push=push) as app:
        job = await app.submit("count", {"to": 4})
        push.taken()
        push.down = True
        assert await app.run_slice(job, budget=10)
        assert (await app.get(job)).status is Status.QUEUED
        push.down = False
        clock.advance(CALL_WITHIN)
        assert (await app.sweep(), push.taken()) == (1, [(job.id, None, "queued")])
        assert await app.run_slice(job, budget=10)
        now, _, steps = await told(app, job)
        assert (now.status, now.attempt, len(steps)) == (Status.COMPLETED, 1, 4)


async def test_a_publish_that_was_taken_and_not_answered_is_called_for_and_once_more_it_is_known(
    store: MemoryStore, clock: FakeClock, queue: Queue
) -> None:
    async with taking(200) as taker, make_app(store, push=made(queue, taker.url)) as app:
        queue.odds = {"unanswered": 1.0}
        job = await app.submit("count", {"to": 1})
        assert app.observe.counts["push.unpublished"] == 1, "as far as this process knows"
        queue.odds = {}
        push = app.push
        assert isinstance(push, QStash)
        await push.publish(Named(job.id, job.turn), None)
        assert (queue.counts["published"], queue.counts["deduplicated"]) == (1, 1)
        named = json.loads((await taker.call()).body)
        assert await app.run_slice(named["jobId"], budget=10)
        clock.advance(CALL_WITHIN)
        assert (await app.sweep(), queue.counts["published"]) == (0, 1)


async def test_a_store_that_fails_over_in_the_middle_of_a_renewal_takes_no_lease_away() -> None:
    class FailsOver(MemoryStore):
        refused = renewed = 0

        async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE) -> list[Head | None]:
            if self.refused < 3:
                self.refused += 1
                raise StoreUnavailable("it is being failed over")
            self.renewed += 1
            return await super().renew(leases, ttl=ttl)

    store = FailsOver()
    async with Outlast(store, lease=1.5) as app:

        @app.handler
        async def long(ctx: Context) -> int:
            while not store.renewed:
                await asyncio.sleep(0.01)
            return ctx.attempt

        job = await long.submit()
        assert await app.run_slice(job, budget=60)
        assert ((await app.get(job)).result, store.refused) == (1, 3)
        assert (await happenings(app, job))["job.started"] == 1


# -- wishes between two moves ---------------------------------------------------------------------------------------


async def test_a_cancel_between_the_claim_and_the_first_step_ends_the_job(
    app: Outlast, http: httpx2.AsyncClient, store: Interrupted
) -> None:
    job = await app.submit("count", {"to": 7})
    store.meanwhile = lambda: app.cancel(job)
    assert await ran(http, job)
    cancelled = await told(app, job)
    assert (cancelled[0].status, cancelled[0].attempt) == (Status.CANCELLED, 1)
    assert not await ran(http, job) and await told(app, job) == cancelled


@pytest.mark.parametrize("head_start", range(-8, 9))
async def test_of_a_retry_and_a_cancel_at_once_the_first_to_commit_wins(
    app: Outlast, http: httpx2.AsyncClient, clock: FakeClock, head_start: int
) -> None:
    @app.handler(retries=1, backoff=1)
    async def stumbles(ctx: Context) -> str:
        if ctx.attempt == 1:
            raise RuntimeError("once more")
        return await ctx.step("word", asyncio.sleep, 0, "done")

    job = await stumbles.submit()
    assert await ran(http, job) and (await app.get(job.id)).status is Status.RETRYING
    clock.advance(60)
    _, answer = await asyncio.gather(
        _after(head_start, lambda: ran(http, job)), _after(-head_start, lambda: app.cancel(job))
    )
    now, log, _ = await told(app, job)
    assert now.status is (Status.COMPLETED if now.result_json else Status.CANCELLED)
    if answer.status is Status.CANCELLED and answer.attempt == 1:
        assert [event.type for event in log].count("job.started") == 1, "it was cancelled before it was tried again"


async def _after(turns: int, act: Callable[[], Awaitable[Any]]) -> Any:
    """Do it once the loop has gone round so many times."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return await act()


async def test_a_retry_by_hand_beside_a_cancel_is_refused_or_begins_a_job_of_its_own(app: Outlast) -> None:
    live, failed = await app.submit("count", {"to": 1}), await app.submit("broken", {})
    await app.run_slice(failed, budget=10)
    again, answer = await asyncio.gather(app.retry(failed), app.cancel(failed))
    assert (again.status, again.retry_of, answer.status) == (Status.QUEUED, failed.id, Status.FAILED)
    refused, answer = await asyncio.gather(app.retry(live), app.cancel(live), return_exceptions=True)
    assert isinstance(answer, Job) and answer.status is Status.CANCELLED
    assert isinstance(refused, JobConflict) or (isinstance(refused, Job) and refused.retry_of == live.id)


# -- whose call it is -----------------------------------------------------------------------------------------------


async def test_a_key_that_was_rolled_once_is_known_and_one_rolled_twice_is_not(
    app: Outlast, http: httpx2.AsyncClient
) -> None:
    job = await app.submit("count", {"to": 1})
    statuses = [(await called(http, naming(job, key=key))).status_code for key in (OTHER, NEXT, CURRENT)]
    assert (statuses, (await app.get(job)).status) == ([401, 200, 200], Status.COMPLETED)


@pytest.mark.parametrize(("begins", "ends", "status"), [(4, 304, 200), (-304, -3, 200), (7, 307, 401), (-307, -7, 401)])
async def test_a_clock_may_be_off_by_five_seconds_and_by_no_more(
    app: Outlast, http: httpx2.AsyncClient, begins: int, ends: int, status: int
) -> None:
    job = await app.submit("count", {"to": 1})
    assert (await called(http, naming(job, begins=begins, ends=ends))).status_code == status
    assert ((await app.get(job)).status is Status.COMPLETED) == (status == 200)


async def test_a_body_that_is_no_text_is_verified_and_names_no_job(http: httpx2.AsyncClient) -> None:
    for body in (b"\xff\xfe\x00", b'{"jobId": "\xff"}'):
        reply = await called(http, signed(body))
        assert (reply.status_code, reply.json()) == (200, {"ran": False})


# -- given up, and swept --------------------------------------------------------------------------------------------


async def test_a_failure_callback_before_the_write_of_the_last_attempt_ends_nothing(
    app: Outlast, http: httpx2.AsyncClient
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @app.handler(retries=0)
    async def last(ctx: Context) -> str:
        begun.set()
        await go.wait()
        return "written"

    job: Job[Any] = await last.submit()
    running = asyncio.create_task(ran(http, job))
    await begun.wait()
    assert not await given_up(http, job)
    go.set()
    assert await running and (await app.get(job)).result == "written"
    assert not await given_up(http, job)


async def test_a_failure_callback_before_any_call_ends_the_job_and_the_call_finds_it_so(
    app: Outlast, http: httpx2.AsyncClient
) -> None:
    job = await app.submit("count", {"to": 1})
    assert await given_up(http, job)
    failed = await told(app, job)
    assert failed[0].last_error is not None and failed[0].last_error.code == "dead_lettered"
    assert not await ran(http, job) and await told(app, job) == failed


async def test_of_two_sweeps_at_once_one_takes_a_dead_process_s_job_over(
    app: Outlast, http: httpx2.AsyncClient, store: MemoryStore, clock: FakeClock
) -> None:
    job = await app.submit("count", {"to": 1})
    await store.claim(1, ["count"], "gone")
    clock.advance(LEASE)
    sweeps = await asyncio.gather(*(called(http, signed(b"", "sweep"), "/push/sweep") for _ in range(2)))
    assert sorted(reply.json()["ran"] for reply in sweeps) == [0, 1]
    now, _, _ = await told(app, job)
    assert (now.status, now.attempt, now.deaths) == (Status.COMPLETED, 2, 1)
