"""One action on many jobs: in bounded parts, each job once, and what has moved meanwhile is left alone."""

from dataclasses import replace
from typing import Any

import pytest

from outlast import Context, Outlast, Status
from outlast.bulk import PART, Action, Part
from outlast.errors import InvalidRequest, StoreUnavailable
from outlast.stores.base import ANY, Query
from outlast.sweep import MOST_EVENTS
from outlast.testing import FakeClock
from tests.running.test_retention import ended_jobs, store_of


@pytest.fixture
def app(app: Outlast) -> Outlast:
    @app.handler
    async def small(ctx: Context) -> None: ...

    @app.handler(retries=0)
    async def broken(ctx: Context) -> None:
        await ctx.step("paid for", str, 1)
        raise RuntimeError("no such luck")

    return app


async def all_of(app: Outlast, action: Action, query: Query, **how: Any) -> list[Part]:
    """Every part, to the end."""
    parts = [await app.bulk(action, query, **how)]
    while parts[-1].before is not None:
        parts.append(await app.bulk(action, replace(query, before=parts[-1].before), **how))
    return parts


async def failed(app: Outlast, count: int) -> list[str]:
    jobs = [await app.submit("broken") for _ in range(count)]
    async with app.working():
        return [(await app.wait(job, 20)).id for job in jobs]


async def test_a_cancel_of_many_takes_live_jobs_part_by_part(app: Outlast) -> None:
    jobs = [await app.submit("small") for _ in range(PART + 5)]
    other = await app.submit("broken")
    parts = await all_of(app, "cancel", Query(type="small", limit=PART), by="ops", reason="enough")
    assert [(part.done, part.skipped) for part in parts] == [(PART, 0), (5, 0)]
    assert await app.count() == {("small", Status.CANCELLED): len(jobs), ("broken", Status.QUEUED): 1}
    assert (await app.get(jobs[0])).cancel_reason == "enough"
    assert (await app.get(other)).status is Status.QUEUED
    assert await all_of(app, "cancel", Query(type="small")) == [Part(0, 0, None)]


async def test_a_running_job_is_asked_to_stop_once(app: Outlast) -> None:
    job = await app.submit("small")
    await (await store_of(app)).claim(1, ["small"], "worker_elsewhere")
    assert await app.bulk("cancel", Query(type="small")) == Part(1, 0, None)
    assert await app.bulk("cancel", Query(type="small")) == Part(0, 1, None)
    asked = await app.get(job)
    assert (asked.status, asked.cancel_requested_at is None) == (Status.PROCESSING, False)


async def test_a_retry_of_many_begins_each_again_once_with_its_steps(app: Outlast) -> None:
    ids = await failed(app, 12)
    parts = await all_of(app, "retry", Query(type="broken", limit=5))
    assert [(part.done, part.skipped) for part in parts] == [(5, 0), (5, 0), (2, 0)]
    begun = await app.find(Query(status=frozenset({Status.QUEUED})))
    assert sorted(job.retry_of or "" for job in begun) == sorted(ids)
    assert [step.name for step in await app.steps(begun[0].id)] == ["paid for"]
    again = await all_of(app, "retry", Query(type="broken", limit=50))
    assert [(part.done, part.skipped) for part in again] == [(0, 12)]


async def test_a_retry_from_the_start_leaves_the_steps_out(app: Outlast) -> None:
    await failed(app, 1)
    await app.bulk("retry", Query(type="broken"), from_start=True)
    [job] = await app.find(Query(status=frozenset({Status.QUEUED})))
    assert await app.steps(job.id) == []


async def test_jobs_that_fail_again_are_not_retried_by_the_same_act(app: Outlast) -> None:
    await failed(app, 3)
    async with app.working():
        parts = await all_of(app, "retry", Query(type="broken", limit=1))
    assert [part.done for part in parts].count(1) == 3
    assert sum((await app.count()).values()) == 6


async def test_a_delete_of_many_goes_in_parts_by_what_the_jobs_hold(timeless: Outlast, clock: FakeClock) -> None:
    await ended_jobs(await store_of(timeless), 3, events=MOST_EVENTS - 100)
    clock.advance(60)
    parts = await all_of(timeless, "delete", Query(created_before=clock.now() - 30))
    assert [part.done for part in parts] == [1, 1, 1]
    assert await timeless.count() == {}


async def test_age_owner_and_status_narrow_it(timeless: Outlast, clock: FakeClock) -> None:
    @timeless.handler
    async def small(ctx: Context) -> None: ...

    old = await small.options(owner="ada").submit()
    clock.advance(100)
    others = [await small.options(owner=owner).submit() for owner in ("ada", "ben", None)]
    part = await timeless.bulk("cancel", Query(owner="ada", created_before=clock.now() - 50))
    assert (part.done, (await timeless.get(old)).status) == (1, Status.CANCELLED)
    part = await timeless.bulk("cancel", Query(owner=None))
    assert part.done == 1
    assert [(await timeless.get(job)).status.value for job in others] == ["queued", "queued", "cancelled"]
    part = await timeless.bulk("delete", Query(status=frozenset({Status.CANCELLED}), owner="ada"))
    assert part.done == 1


async def test_what_moved_meanwhile_is_skipped_and_counted(app: Outlast, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [await app.submit("small") for _ in range(4)]
    found = await app.find(Query(type="small"))
    await app.cancel(jobs[0])
    await app.cancel(jobs[1])
    await app.delete(jobs[1])

    async def as_it_was(query: Query) -> Any:
        return found

    monkeypatch.setattr(app, "find", as_it_was)
    assert await app.bulk("cancel", Query(type="small")) == Part(2, 2, None)
    assert await app.bulk("retry", Query(type="small")) == Part(3, 1, None)
    assert await app.bulk("delete", Query(type="small")) == Part(3, 1, None)


@pytest.mark.parametrize(
    ("action", "status"), [("cancel", "failed"), ("retry", "completed"), ("retry", "queued"), ("delete", "processing")]
)
async def test_jobs_that_an_action_is_not_for_are_refused(app: Outlast, action: Action, status: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{action} is for .* jobs, not for {status}"):
        await app.bulk(action, Query(status=frozenset({Status(status)})))


async def test_an_action_that_there_is_not_is_refused(app: Outlast) -> None:
    with pytest.raises(InvalidRequest, match="one of cancel, retry, delete, not 'kill'"):
        await app.bulk("kill", Query(type="small"))  # type: ignore[arg-type]


@pytest.mark.parametrize("action", ["cancel", "retry", "delete"])
async def test_a_query_that_filters_nothing_must_be_meant(app: Outlast, action: Action) -> None:
    await app.submit("small")
    with pytest.raises(InvalidRequest, match="no filter is given"):
        await app.bulk(action, Query(owner=ANY, limit=10))
    assert (await app.bulk(action, Query(), everything=True)).done == (1 if action == "cancel" else 0)


async def test_a_store_that_does_not_answer_ends_the_part(app: Outlast, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [await app.submit("small") for _ in range(3)]
    one = (await app._open()).runtime.one

    async def gone(*args: Any) -> Any:
        raise StoreUnavailable("no")

    with monkeypatch.context() as broken:
        broken.setattr(one, "apply", gone)
        with pytest.raises(StoreUnavailable):
            await app.bulk("cancel", Query(type="small"))
    assert (await app.bulk("cancel", Query(type="small"))).done == len(jobs)
