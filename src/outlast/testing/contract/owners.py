"""Owners: another's job is absent, wherever a caller's read or write names an owner."""

from outlast.job import Status
from outlast.stores.base import ANY, Query, Store
from outlast.testing.contract.ground import TYPE, completed, lean, queued

OWNERS = ["ada", "ad", "ada ", "Ada", "ada%", "", None]


class Owners:
    async def test_a_job_is_read_by_its_owner_and_by_trusted_code_alone(self, store: Store) -> None:
        jobs = {owner: await queued(store, owner=owner) for owner in OWNERS}
        ids = [job.id for job in jobs.values()]
        for owner, job in jobs.items():
            found = await store.get(ids, owner=owner)
            assert [one and one.id for one in found] == [job.id if id == job.id else None for id in ids], owner
        assert [one and one.id for one in await store.get(ids, owner=ANY)] == ids
        assert [one and one.id for one in await store.get(ids)] == ids

    async def test_an_owner_finds_and_counts_its_own_jobs_alone(self, store: Store) -> None:
        jobs = {owner: await queued(store, owner=owner) for owner in OWNERS}
        for owner, job in jobs.items():
            assert await store.find(Query(owner=owner)) == [lean(job)], owner
            assert dict(await store.count(Query(owner=owner))) == {(TYPE, Status.QUEUED): 1}, owner
        assert dict(await store.count(Query(owner="nobody"))) == {}
        assert dict(await store.count(Query())) == {(TYPE, Status.QUEUED): len(OWNERS)}

    async def test_another_owners_job_is_not_a_cursor_into_ones_own(self, store: Store) -> None:
        mine, other = await queued(store, owner="ada"), await queued(store, owner="ben")
        assert [job.id for job in await store.find(Query(owner="ada", before=other.id))] == [mine.id]
        assert await store.find(Query(owner="ada", before=other.id, oldest_first=True)) == []

    async def test_an_owner_purges_its_own_jobs_alone(self, store: Store) -> None:
        jobs = {owner: await completed(store, owner=owner) for owner in OWNERS}
        ids = [job.id for job in jobs.values()]
        assert await store.purge(ids, owner="nobody") == []
        assert await store.purge(ids, owner=None) == [jobs[None].id]
        assert await store.purge(ids, owner="ada") == [jobs["ada"].id]
        left = {job.id for job in await store.find(Query())}
        assert left == set(ids) - {jobs[None].id, jobs["ada"].id}
        assert set(await store.purge(ids)) == left
