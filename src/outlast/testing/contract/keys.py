"""Idempotency keys: one key of one owner makes one job within 24 hours."""

import asyncio

from outlast import lifecycle
from outlast.stores.base import Store
from outlast.testing.clock import FakeClock
from outlast.testing.contract.ground import (
    ENDED_STAGES,
    TYPE,
    in_threads,
    lean,
    new_job,
    processing,
    queued,
    shot,
    wrote,
)

DAY = 24 * 3600.0


class IdempotencyKeys:
    async def test_the_same_key_of_the_same_owner_answers_with_the_first_job(self, store: Store) -> None:
        for owner in ("ada", None):
            first = await queued(store, owner=owner, idempotency_key="k", fingerprint="one", payload_json="1")
            before = await shot(store, first.id)
            again = new_job(store, owner=owner, idempotency_key="k", fingerprint="two", payload_json="2")
            [answer] = await store.insert([again])
            assert lean(answer) == lean(before.job), "told apart by its id and fingerprint"
            assert await shot(store, first.id) == before
            assert await store.get([again.job.id]) == [None]
            assert await store.events(again.job.id) == []

    async def test_the_answer_is_the_first_job_as_it_is_by_now(self, store: Store) -> None:
        for status, stage in ENDED_STAGES.items():
            ended = await stage(store, idempotency_key=status)  # type: ignore[call-arg]
            assert lean(await queued(store, idempotency_key=status)) == lean(ended)

    async def test_each_owner_has_keys_of_its_own(self, store: Store) -> None:
        jobs = [await queued(store, owner=owner, idempotency_key="k") for owner in ("ada", "ben", None, "", "ada:k")]
        assert len({job.id for job in jobs}) == 5
        assert [job.owner for job in jobs] == ["ada", "ben", None, "", "ada:k"]

    async def test_keys_are_told_apart_to_the_letter(self, store: Store) -> None:
        keys = ["k", "K", "k ", "kk", "é", "e\u0301", "%", "_"]
        jobs = [await queued(store, idempotency_key=key) for key in keys]
        assert len({job.id for job in jobs}) == len(keys)

    async def test_jobs_without_a_key_are_never_taken_for_one_another(self, store: Store) -> None:
        assert (await queued(store)).id != (await queued(store)).id

    async def test_a_key_is_held_for_24_hours(self, store: Store, clock: FakeClock) -> None:
        first = await queued(store, idempotency_key="k")
        clock.advance(DAY - 1)
        assert (await queued(store, idempotency_key="k")).id == first.id
        clock.advance(2)
        second = await queued(store, idempotency_key="k")
        assert second.id != first.id
        clock.advance(DAY - 1)
        assert (await queued(store, idempotency_key="k")).id == second.id, "the key is now the second job's"

    async def test_the_first_jobs_purge_leaves_the_key_to_the_second(self, store: Store, clock: FakeClock) -> None:
        first = await processing(store, idempotency_key="k")
        await wrote(store, lifecycle.complete(first, "1", store.now()))
        clock.advance(DAY + 1)
        second = await queued(store, idempotency_key="k")
        assert await store.purge([first.id]) == [first.id]
        assert (await queued(store, idempotency_key="k")).id == second.id

    async def test_of_two_submits_in_flight_at_once_one_is_stored(self, store: Store) -> None:
        new = [new_job(store, owner="ada", idempotency_key="k") for _ in range(20)]
        answers = await asyncio.gather(*(store.insert([one]) for one in new))
        assert len({answer.id for [answer] in answers}) == 1
        assert len((await store.claim(20, [TYPE], "w")).jobs) == 1

    async def test_of_submits_from_many_threads_one_is_stored(self, store: Store) -> None:
        answers = await in_threads(4, lambda: store.insert([new_job(store, idempotency_key="k")]))
        assert len({answer.id for [answer] in answers}) == 1
        assert len((await store.claim(20, [TYPE], "w")).jobs) == 1

    async def test_of_two_in_one_call_the_first_is_stored(self, store: Store) -> None:
        first, second, other = (new_job(store, idempotency_key=key) for key in ("k", "k", "other"))
        answers = await store.insert([first, second, other])
        assert [job.id for job in answers] == [first.job.id, first.job.id, other.job.id]
