"""Reports: kept with the move that they came with, the newest of each job."""

from dataclasses import replace

from outlast import lifecycle
from outlast.report import REPORTS, Report
from outlast.stores.base import Store
from outlast.testing.contract.ground import claimed, error, processing, refused, report, taken_over, wrote


class Reports:
    async def test_a_report_comes_back_with_every_field(self, store: Store) -> None:
        job = await processing(store)
        failed = lifecycle.fail(job, error(store, retryable=False), store.now())
        await wrote(store, replace(failed, report=report()))
        assert await store.reports(job.id) == [report()]

    async def test_a_move_without_a_report_leaves_none(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, lifecycle.complete(job, "1", store.now()))
        assert await store.reports(job.id) == []

    async def test_a_report_under_a_lost_lease_is_not_kept(self, store: Store) -> None:
        job = await processing(store)
        successor = await taken_over(store, job)
        await refused(store, replace(lifecycle.complete(job, "1", store.now()), report=report("stale")))
        await wrote(store, replace(lifecycle.complete(successor, "1", store.now()), report=report("fresh")))
        assert [one.code for one in await store.reports(job.id)] == ["worker_died", None]

    async def test_the_newest_reports_of_a_job_are_kept_in_their_order(self, store: Store) -> None:
        job = await processing(store)
        for number in range(REPORTS + 3):
            handed_back = lifecycle.hand_back(job, "deploy", store.now())
            job = await claimed(store, await wrote(store, replace(handed_back, report=report(f"slice {number}"))))
        texts = [one.lines[0].text for one in await store.reports(job.id)]
        assert texts == [f"slice {number}" for number in range(3, REPORTS + 3)]

    async def test_each_job_has_reports_of_its_own(self, store: Store) -> None:
        jobs = [await processing(store), await processing(store)]
        await store.apply(
            [replace(lifecycle.complete(job, "1", store.now()), report=report(f"of {job.id}")) for job in jobs]
        )
        for job in jobs:
            assert await store.reports(job.id) == [report(f"of {job.id}")]

    async def test_whose_worker_was_lost_is_reported_with_the_takeover(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, lifecycle.lease_out(job, store.now()))
        assert await store.reports(job.id) == [Report(attempt=1, worker=job.worker, code="worker_died")]
