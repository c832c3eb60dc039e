"""Purges: only ended jobs go, and they go whole."""

from dataclasses import replace

from outlast import lifecycle
from outlast.job import Signal
from outlast.stores.base import Query, Store
from outlast.testing.clock import FakeClock
from outlast.testing.contract.ground import (
    ENDED_STAGES,
    LIVE_STAGES,
    STAGES,
    after_insert,
    completed,
    log,
    new_job,
    output,
    processing,
    raises_not_found,
    report,
    shot,
    step,
    wrote,
)


class Purges:
    async def test_only_ended_jobs_are_removed(self, store: Store, clock: FakeClock) -> None:
        jobs = {name: await stage(store) for name, stage in STAGES.items()}
        before = {name: await shot(store, jobs[name].id) for name in LIVE_STAGES}
        clock.advance(30 * 86400)
        removed = await store.purge([job.id for job in jobs.values()])
        assert set(removed) == {jobs[name].id for name in ENDED_STAGES}
        for name, shown in before.items():
            assert await shot(store, jobs[name].id) == shown, f"a {name} job was touched"

    async def test_an_ended_job_is_removed_whenever_it_is_asked_for(self, store: Store) -> None:
        job = await completed(store, keep=1e9)
        assert await store.purge([job.id, "job_absent", job.id]) == [job.id]
        assert await store.purge([job.id]) == []

    async def test_a_removed_job_leaves_nothing_behind(self, store: Store) -> None:
        id = await self._rich_job(store)
        other = await shot(store, (await completed(store)).id)
        assert await store.purge([id]) == [id]
        assert await store.get([id]) == [None]
        assert [await store.events(id), await store.steps(id), await store.signals(id)] == [[], [], []]
        assert await store.reports(id) == []
        assert [job.id for job in await store.find(Query())] == [other.job.id]
        assert sum((await store.count(Query())).values()) == 1
        assert await shot(store, other.job.id) == other

    async def test_id_and_key_of_a_removed_job_are_free_again(self, store: Store) -> None:
        id = await self._rich_job(store)
        await store.purge([id])
        again = new_job(store, id=id, idempotency_key="k", payload_json='"other"')
        await store.insert([again])
        stored = await shot(store, id)
        assert stored == after_insert(again, stored.job.tag)

    async def test_a_change_to_a_removed_job_finds_no_job(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, lifecycle.complete(job, "1", store.now()))
        await store.purge([job.id])
        await raises_not_found(store.apply([lifecycle.append(job, events=[log(store.now())])]))
        assert await store.events(job.id) == []

    async def _rich_job(self, store: Store) -> str:
        """An ended job that has some of everything."""
        job = await processing(store, idempotency_key="k", tags=("a",), batch_id="b")
        job = await wrote(store, lifecycle.signal(job, Signal(name="go", value="1"), store.now()))
        note = lifecycle.append(job, events=[output(store.now())], steps=[step("one"), step("two", 1)])
        job = await wrote(store, note)
        ended = replace(lifecycle.complete(job, '"done"', store.now()), report=report())
        return (await wrote(store, ended)).id
