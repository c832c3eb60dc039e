"""Lists: every filter, and pages without gaps or repeats while jobs come and go."""

from dataclasses import replace
from typing import Any

from outlast import lifecycle
from outlast.job import Status
from outlast.stores.base import ANY, Head, Lease, Query, Store
from outlast.testing.clock import FakeClock
from outlast.testing.contract.ground import (
    EVERYTHING,
    STAGES,
    TYPE,
    completed,
    failed,
    log,
    new_jobs,
    processing,
    queued,
    retrying,
    wrote,
)


class Lists:
    async def test_a_page_holds_the_newest_jobs_first_unless_asked_otherwise(self, store: Store) -> None:
        ids = [job.id for job in await store.insert(new_jobs(store, 60))]
        assert await _find(store) == ids[:9:-1], "50 unless asked otherwise"
        assert await _find(store, limit=3) == ids[:-4:-1]
        assert await _find(store, limit=3, oldest_first=True) == ids[:3]

    async def test_a_list_shows_jobs_without_payloads_and_results(self, store: Store) -> None:
        job = await completed(store, metadata={"a": 1})
        assert await store.find(Query()) == [replace(job, payload_json=None, result_json=None)]

    async def test_jobs_are_found_by_each_filter(self, store: Store, clock: FakeClock) -> None:
        old = await queued(store, owner="ada", type="image", tags=("a", "b_c"), batch_id="one")
        clock.advance(10)
        new = await completed(store, owner="ben", tags=("ab", "bxc"), batch_id="two")
        nobody = await failed(store)
        middle = store.now() - 5
        expected: list[tuple[dict[str, Any], set[str]]] = [
            ({}, {old.id, new.id, nobody.id}),
            ({"owner": ANY}, {old.id, new.id, nobody.id}),
            ({"owner": "ada"}, {old.id}),
            ({"owner": None}, {nobody.id}),
            ({"owner": "ad"}, set()),
            ({"status": frozenset({Status.QUEUED})}, {old.id}),
            ({"status": frozenset({Status.QUEUED, Status.FAILED})}, {old.id, nobody.id}),
            ({"status": frozenset()}, set()),
            ({"type": "image"}, {old.id}),
            ({"type": "imag"}, set()),
            ({"tag": "a"}, {old.id}),
            ({"tag": "b_c"}, {old.id}),
            ({"tag": "b"}, set()),
            ({"tag": "%"}, set()),
            ({"batch_id": "two"}, {new.id}),
            ({"created_after": middle}, {new.id, nobody.id}),
            ({"created_before": middle}, {old.id}),
            ({"updated_after": middle}, {new.id, nobody.id}),
            ({"owner": "ben", "type": TYPE, "tag": "ab", "created_after": middle}, {new.id}),
            ({"owner": "ben", "type": "image"}, set()),
        ]
        for asked, ids in expected:
            assert set(await _find(store, **asked)) == ids, asked
            assert sum((await store.count(Query(**asked))).values()) == len(ids), asked

    async def test_a_job_is_found_by_the_time_of_its_last_event(self, store: Store, clock: FakeClock) -> None:
        job, other = await processing(store), await processing(store)
        clock.advance(10)
        asked = {"updated_after": store.now() - 5}
        assert await _find(store, **asked) == []
        await wrote(store, lifecycle.append(job, events=[log(store.now())]))
        assert await _find(store, **asked) == [job.id]
        await wrote(store, lifecycle.complete(other, "1", store.now()))
        assert set(await _find(store, **asked)) == {job.id, other.id}

    async def test_every_status_is_found_and_counted(self, store: Store) -> None:
        jobs = [await stage(store) for stage in STAGES.values()]
        for status in Status:
            ids = {job.id for job in jobs if job.status is status}
            assert ids
            assert set(await _find(store, status=frozenset({status}))) == ids
            assert await _count(store, status=frozenset({status})) == {(TYPE, status): len(ids)}

    async def test_jobs_are_counted_by_type_and_status_whatever_the_page(self, store: Store) -> None:
        jobs = await store.insert(new_jobs(store, 5))
        for _ in range(2):
            await retrying(store, type="image")
        expected = {(TYPE, Status.QUEUED): 5, ("image", Status.RETRYING): 2}
        assert await _count(store) == expected
        assert await _count(store, before=jobs[2].id, limit=1) == expected

    async def test_pages_follow_without_gap_or_repeat_while_jobs_are_added(self, store: Store) -> None:
        ids = [job.id for job in await store.insert(new_jobs(store, 25))]
        backward = await _pages(store, oldest_first=False)
        assert backward == ids[::-1]
        forward = await _pages(store, oldest_first=True)
        assert forward[: len(ids)] == ids
        assert forward == sorted(set(await _find(store, limit=EVERYTHING)) & set(forward))

    async def test_pages_of_a_filter_hold_what_the_filter_lets_through(self, store: Store) -> None:
        mine = {job.id for job in await store.insert(new_jobs(store, 12, owner="ada"))}
        await store.insert(new_jobs(store, 12, owner="ben"))
        last, found = None, list[str]()
        while page := await _find(store, owner="ada", limit=5, before=last):
            found += page
            last = page[-1]
        assert found == sorted(mine, reverse=True)

    async def test_a_cursor_may_name_a_job_that_is_gone(self, store: Store) -> None:
        first, gone, last = await queued(store), await completed(store), await queued(store)
        await store.purge([gone.id])
        assert await _find(store, before=gone.id) == [first.id]
        assert await _find(store, before=gone.id, oldest_first=True) == [last.id]

    async def test_what_changed_is_told_by_every_event_move_and_wish(self, store: Store) -> None:
        jobs = {name: await processing(store) for name in ("still", "event", "move", "wish")}
        seen = {job.id: Head(job.seq, job.turn) for job in jobs.values()}
        assert await store.changed(seen) == {}
        after = [
            await wrote(store, lifecycle.append(jobs["event"], events=[log(store.now())])),
            await wrote(store, lifecycle.complete(jobs["move"], "1", store.now())),
            await wrote(store, lifecycle.cancel(jobs["wish"], store.now())),
        ]
        assert await store.changed(seen) == {job.id: Head(job.seq, job.turn) for job in after}

    async def test_a_renewal_changes_nothing_that_a_reader_sees(self, store: Store, clock: FakeClock) -> None:
        job = await processing(store)
        clock.advance(10)
        head = Head(job.seq, job.turn)
        assert await store.renew([Lease(job.id, job.lease or "")]) == [head]
        assert await store.changed({job.id: head}) == {}

    async def test_a_job_that_is_gone_has_changed_to_none(self, store: Store) -> None:
        job = await completed(store)
        await store.purge([job.id])
        head = Head(job.seq, job.turn)
        assert await store.changed({job.id: head, "job_absent": head}) == {job.id: None, "job_absent": None}


async def _find(store: Store, **asked: Any) -> list[str]:
    return [job.id for job in await store.find(Query(**asked))]


async def _count(store: Store, **asked: Any) -> dict[tuple[str, Status], int]:
    return dict(await store.count(Query(**asked)))


async def _pages(store: Store, *, oldest_first: bool) -> list[str]:
    """All ids, page by page, with a job added before each of the first pages is read."""
    last, found = None, list[str]()
    while page := await _find(store, limit=10, before=last, oldest_first=oldest_first):
        found += page
        last = page[-1]
        if len(found) <= 20:
            await queued(store)
    return found
