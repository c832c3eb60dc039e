"""Moves, wishes and appends: stored whole while they hold, else not at all."""

import asyncio
from dataclasses import replace

from outlast import lifecycle
from outlast.job import Change, Signal, Status
from outlast.stores.base import Store
from outlast.testing.contract.ground import (
    DECISIONS,
    ENDED_STAGES,
    LIVE_STAGES,
    MOVES,
    STAGES,
    completed,
    current,
    decisions,
    in_threads,
    log,
    new_jobs,
    output,
    processing,
    queued,
    raises_not_found,
    refused,
    shot,
    step,
    wrote,
)


class Moves:
    async def test_every_change_is_stored_as_lifecycle_decided_it_from_every_status(self, store: Store) -> None:
        for status, stage in STAGES.items():
            for name in decisions(store, await stage(store)):
                job = await stage(store)
                await wrote(store, DECISIONS[name](job, store.now()), f"{name} of a job that is {status}")

    async def test_a_move_decided_before_a_wish_writes_nothing_after_it(self, store: Store) -> None:
        for status, stage in LIVE_STAGES.items():
            job = await stage(store)
            decided = decisions(store, job, MOVES)
            await wrote(store, lifecycle.signal(job, Signal(name="other", value="1"), store.now()))
            for name, change in decided.items():
                await refused(store, change, f"{name} of a job that is {status}, decided before a signal came,")

    async def test_whatever_was_decided_before_the_end_changes_nothing_after_it(self, store: Store) -> None:
        for end in ["complete", "fail", "cancelled"]:
            job = await processing(store)
            decided = decisions(store, job)
            await wrote(store, decided[end])
            for name, change in decided.items():
                await refused(store, change, f"{name} of a job that has ended by {end}")

    async def test_an_ended_job_allows_no_change(self, store: Store) -> None:
        for status, stage in ENDED_STAGES.items():
            assert decisions(store, await stage(store)) == {}, status

    async def test_the_end_is_stored_together_with_its_event(self, store: Store) -> None:
        for status, stage in ENDED_STAGES.items():
            job, events, *_ = await shot(store, (await stage(store)).id)
            assert [event.seq for event in events if event.is_end] == [job.seq], f"a {status} job has one end, its last"
            assert events[-1].type == f"job.{job.status}"

    async def test_of_many_decisions_on_one_turn_exactly_one_is_stored(self, store: Store) -> None:
        for stage in LIVE_STAGES.values():
            job = await stage(store)
            decided = decisions(store, job, MOVES)
            answers = await asyncio.gather(*(store.apply([change]) for change in decided.values()))
            assert [answer for [answer] in answers].count(None) == 1
            _, events, *_ = await shot(store, job.id)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))

    async def test_of_many_threads_that_end_one_job_exactly_one_does(self, store: Store) -> None:
        job = await processing(store)
        done = lifecycle.complete(job, "1", store.now())
        answers = await in_threads(4, lambda: store.apply([done]))
        assert [answer for [answer] in answers].count(None) == 1
        _, events, *_ = await shot(store, job.id)
        assert [event.type for event in events].count("job.completed") == 1

    async def test_a_wish_to_cancel_turns_the_next_move_into_cancelled(self, store: Store) -> None:
        job = await processing(store)
        wished = await wrote(store, lifecycle.cancel(job, store.now(), by="ada", reason="enough"))
        await refused(store, lifecycle.hand_back(job, "deploy", store.now()), "a move that does not know the wish")
        ended = await wrote(store, lifecycle.hand_back(wished, "deploy", store.now()))
        assert (ended.status, ended.cancel_reason) == (Status.CANCELLED, "enough")

    async def test_a_job_that_completes_before_it_hears_a_wish_to_cancel_is_completed(self, store: Store) -> None:
        job = await processing(store)
        wished = await wrote(store, lifecycle.cancel(job, store.now()))
        ended = await wrote(store, lifecycle.complete(wished, "1", store.now()))
        assert ended.status is Status.COMPLETED

    async def test_an_append_holds_though_the_turn_has_moved(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, lifecycle.cancel(job, store.now()))
        await wrote(store, lifecycle.append(job, set={"progress": 50.0}, events=[output(store.now())]))

    async def test_each_change_of_a_call_is_judged_by_itself_and_answered_in_order(self, store: Store) -> None:
        jobs = [await processing(store) for _ in range(3)]
        stale = replace(lifecycle.complete(jobs[1], "1", store.now()), turn=jobs[1].turn - 1)
        answers = await store.apply([lifecycle.complete(jobs[0], "0", store.now()), stale, _noted(store, jobs[2].id)])
        assert [answer and answer.id for answer in answers] == [None, jobs[1].id, None]
        statuses = [(await current(store, job.id)).status for job in jobs]
        assert statuses == [Status.COMPLETED, Status.PROCESSING, Status.PROCESSING]

    async def test_a_later_change_of_a_call_sees_the_earlier_ones(self, store: Store) -> None:
        job = await processing(store)
        note = lifecycle.append(job, events=[log(store.now(), "first")], steps=[step("a")])
        done = lifecycle.complete(job, "1", store.now())
        again = lifecycle.append(job, events=[log(store.now(), "late")], steps=[step("b")])
        answers = await store.apply([note, done, again])
        assert [answer and answer.status for answer in answers] == [None, None, Status.COMPLETED]
        after = await shot(store, job.id)
        assert [event.type for event in after.events][-2:] == ["job.log", "job.completed"]
        assert set(after.steps) == {"a"}

    async def test_an_absent_job_spoils_the_whole_call(self, store: Store) -> None:
        job = await processing(store)
        before = await shot(store, job.id)
        here, absent = _noted(store, job.id), Change(id="job_absent", set={"progress": 1.0})
        done = lifecycle.complete(job, "1", store.now())
        for call in ([here, absent], [absent, here], [absent], [done, absent], [absent, done]):
            await raises_not_found(store.apply(call))
            assert await shot(store, job.id) == before

    async def test_callers_that_go_away_leave_the_store_whole(self, store: Store) -> None:
        """Whether the write of a caller who was cancelled came through is unknown, but never is half of it there."""
        job = await processing(store)
        writes = [asyncio.create_task(store.apply([_noted(store, job.id), _noted(store, job.id)])) for _ in range(20)]
        await asyncio.sleep(0)
        for write in writes[::2]:
            write.cancel()
        await asyncio.gather(*writes, return_exceptions=True)
        await wrote(store, lifecycle.complete(await current(store, job.id), "1", store.now()))
        _, events, *_ = await shot(store, job.id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        notes = len(events) - 3
        assert notes % 2 == 0
        assert notes >= 20, "those who stayed are written"

    async def test_a_call_may_bring_a_thousand_jobs(self, store: Store) -> None:
        new = new_jobs(store, 1_200)
        ids = [one.job.id for one in new]
        assert [job.id for job in await store.insert(new)] == ids
        assert [job and job.id for job in await store.get(ids)] == ids
        taken = (await store.claim(1_200, [new[0].job.type], "w", ids=ids)).jobs
        assert sorted(job.id for job in taken) == sorted(ids)
        assert set(await store.apply([lifecycle.complete(job, "1", store.now()) for job in taken])) == {None}
        assert sorted(await store.purge(ids)) == sorted(ids)

    async def test_an_empty_call_answers_at_once(self, store: Store) -> None:
        await queued(store)
        assert await store.insert([]) == []
        assert await store.get([]) == []
        assert await store.apply([]) == []
        assert await store.renew([]) == []
        assert await store.purge([]) == []
        assert await store.changed({}) == {}
        assert await store.due(0) == []
        assert (await store.claim(0, ["report"], "w")).jobs == []
        assert (await store.claim(5, [], "w")).jobs == []
        assert (await store.claim(5, ["report"], "w", ids=[])).jobs == []
        await store.drop([])

    async def test_an_absent_job_has_nothing(self, store: Store) -> None:
        assert await store.get(["job_absent"]) == [None]
        assert await store.events("job_absent") == []
        assert await store.steps("job_absent") == []
        assert await store.signals("job_absent") == []
        assert await store.purge(["job_absent"]) == []

    async def test_opening_and_closing_twice_changes_nothing(self, store: Store) -> None:
        job = await completed(store)
        await store.open()
        assert await current(store, job.id) == job
        await store.close()
        await store.close()

    async def test_the_store_says_where_it_is_and_what_it_keeps(self, store: Store) -> None:
        facts = store.describe()
        assert facts.url
        assert facts.engine
        assert facts.durability


def _noted(store: Store, id: str) -> Change:
    return Change(id=id, events=(log(store.now()),))
