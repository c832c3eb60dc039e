"""Events: one gapless sequence per job, the end last; `version` is the number of the last that is no output."""

import asyncio
from dataclasses import replace
from typing import Any

from outlast import lifecycle
from outlast.job import Change, Event, Job, Signal
from outlast.stores.base import Store
from outlast.testing.clock import FakeClock
from outlast.testing.contract.ground import (
    EVERYTHING,
    claimed,
    current,
    in_threads,
    log,
    output,
    processing,
    queued,
    shot,
    wrote,
)


class Events:
    async def test_the_events_of_a_job_are_numbered_from_one(self, store: Store) -> None:
        for _ in range(3):
            job = await processing(store)
            await wrote(store, lifecycle.complete(job, "1", store.now()))
            numbered = [(event.seq, event.type) for event in await store.events(job.id)]
            assert numbered == [(1, "job.created"), (2, "job.started"), (3, "job.completed")]

    async def test_numbers_have_no_gap_however_many_write_to_one_job_at_once(self, store: Store) -> None:
        job, other = await processing(store), await processing(store)
        writers = [_append(store, job, f"writer {n}") for n in range(40)]
        writers += [_append(store, other, f"other writer {n}") for n in range(10)]
        await asyncio.gather(*writers)
        await _is_gapless(store, job, 2 + 40 * 3)
        await _is_gapless(store, other, 2 + 10 * 3)

    async def test_numbers_have_no_gap_though_many_threads_write_to_one_job(self, store: Store) -> None:
        job = await processing(store)

        async def write() -> None:
            for n in range(10):
                await _append(store, job, f"write {n}")

        await in_threads(4, write)
        await _is_gapless(store, job, 2 + 4 * 10 * 3)

    async def test_the_events_of_a_change_stay_together_and_in_order(self, store: Store) -> None:
        job = await processing(store)
        await asyncio.gather(*(_append(store, job, f"writer {n}") for n in range(20)))
        events = [event for event in await store.events(job.id) if event.seq > 2]
        for first in range(0, 60, 3):
            messages = [event.data.get("message") or event.data.get("text") for event in events[first : first + 3]]
            assert messages == [messages[0]] * 3
            assert [event.is_output for event in events[first : first + 3]] == [False, True, True]

    async def test_wishes_appends_and_the_end_share_one_sequence_and_the_end_is_last(self, store: Store) -> None:
        job = await processing(store)
        at_once = [_append(store, job, f"writer {n}") for n in range(10)]
        at_once += [_signal(store, job, f"s{n}") for n in range(10)]
        await asyncio.gather(*at_once, _end(store, job), *[_append(store, job, "late") for _ in range(10)])
        ended, events, *_ = await shot(store, job.id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert [event.seq for event in events if event.is_end] == [len(events)]
        assert (ended.seq, ended.version) == (len(events), len(events))

    async def test_the_version_is_the_number_of_the_last_event_that_is_no_output(self, store: Store) -> None:
        job = await processing(store)
        assert (job.seq, job.version) == (2, 2)
        job = await wrote(store, Change(id=job.id, events=(output(1.0), output(2.0))))
        assert (job.seq, job.version) == (4, 2)
        job = await wrote(store, Change(id=job.id, events=(output(1.0), log(2.0), output(3.0))))
        assert (job.seq, job.version) == (7, 6)
        reset = Event(type="job.output.reset", time=1.0, attempt=1, data={"channel": "text", "offset": 0})
        job = await wrote(store, Change(id=job.id, events=(reset,)))
        assert (job.seq, job.version) == (8, 6)

    async def test_a_change_without_events_leaves_numbers_and_time_alone(self, store: Store, clock: FakeClock) -> None:
        job = await processing(store)
        clock.advance(5)
        after = await wrote(store, lifecycle.append(job, set={"progress": 5.0}))
        assert (after.seq, after.version, after.updated_at) == (job.seq, job.version, job.updated_at)

    async def test_a_job_was_updated_when_its_last_event_happened(self, store: Store, clock: FakeClock) -> None:
        job = await processing(store)
        clock.advance(5)
        after = await wrote(store, lifecycle.append(job, events=[log(store.now())]))
        assert after.updated_at == store.now()

    async def test_events_are_read_from_any_number_on_and_up_to_a_limit(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, Change(id=job.id, events=tuple(log(store.now(), f"note {n}") for n in range(8))))
        assert await _numbers(store, job) == list(range(1, 11))
        assert await _numbers(store, job, after=7) == [8, 9, 10]
        assert await _numbers(store, job, after=2, limit=3) == [3, 4, 5]
        assert await _numbers(store, job, after=10) == []
        assert await _numbers(store, job, after=99) == []

    async def test_events_are_read_without_output_if_it_is_not_wanted(self, store: Store) -> None:
        job = await processing(store)
        mixed = (output(1.0), log(2.0), output(3.0), output(4.0), log(5.0))
        await wrote(store, Change(id=job.id, events=mixed))
        assert await _numbers(store, job, output=False) == [1, 2, 4, 7]
        assert await _numbers(store, job, output=False, after=2, limit=1) == [4]
        assert await _numbers(store, job, output=False, limit=3) == [1, 2, 4], "the limit counts what is answered"

    async def test_output_that_ends_with_a_move_is_read_in_its_place_and_only_where_output_is_wanted(
        self, store: Store
    ) -> None:
        job = await processing(store)
        move = lifecycle.complete(job, "1", store.now())
        await wrote(store, replace(move, events=(output(1.0), log(2.0), output(3.0), *move.events)))
        assert await _numbers(store, job) == [1, 2, 3, 4, 5, 6]
        assert await _numbers(store, job, after=2, limit=2) == [3, 4]
        assert await _numbers(store, job, output=False) == [1, 2, 4, 6]
        assert await _numbers(store, job, output=False, after=2, limit=1) == [4]

    async def test_the_event_of_a_move_is_kept_in_a_change_that_moves_nothing_too(self, store: Store) -> None:
        job = await processing(store)
        events = tuple(Event(type=f"job.{type}", time=1.0, attempt=1) for type in ("queued", "log", "started"))
        await wrote(store, Change(id=job.id, events=events))
        types = [event.type for event in await store.events(job.id)]
        assert types == ["job.created", "job.started", "job.queued", "job.log", "job.started"]

    async def test_an_event_comes_back_as_it_was_written(self, store: Store) -> None:
        job = await processing(store)
        data = {"text": "é 😀 \u2028 \\ \" '", "list": [1, 2.5, None, True], "map": {"z": 1, "a": {}}, "attempt": "x"}
        event = Event(type="job.step.completed", time=1_800_000_000.123457, attempt=7, data=data)
        await wrote(store, Change(id=job.id, events=(event,)))
        [read] = await store.events(job.id, after=job.seq)
        assert (read.type, read.time, read.attempt, read.data) == (event.type, event.time, event.attempt, data)

    async def test_a_thousand_events_of_one_change_are_all_kept(self, store: Store) -> None:
        job = await processing(store)
        await wrote(store, Change(id=job.id, events=tuple(log(store.now(), f"{n}") for n in range(1_000))))
        await _is_gapless(store, job, 1_002)
        assert len(await store.events(job.id)) == 500, "a page holds 500 unless asked otherwise"

    async def test_the_log_goes_on_through_all_attempts(self, store: Store) -> None:
        job = await queued(store)
        for _ in range(3):
            job = await claimed(store, job)
            job = await wrote(store, lifecycle.hand_back(job, "deploy", store.now()))
        types = [event.type for event in await store.events(job.id)]
        assert types == ["job.created", *["job.started", "job.queued"] * 3]


async def _append(store: Store, job: Job[Any], message: str) -> None:
    """Three events in one change: a note, and output twice."""
    now = store.now()
    await store.apply([lifecycle.append(job, events=[log(now, message), output(now, message), output(now, message)])])


async def _signal(store: Store, job: Job[Any], name: str) -> None:
    for _ in range(EVERYTHING):
        fresh = await current(store, job.id)
        if fresh.ended:
            return
        change = lifecycle.signal(fresh, Signal(name=name, value="1"), store.now())
        assert change is not None
        if await store.apply([change]) == [None]:
            return


async def _end(store: Store, job: Job[Any]) -> None:
    """Complete the job, and decide again as long as wishes come between."""
    refusal: Job[Any] | None = job
    while refusal is not None:
        [refusal] = await store.apply([lifecycle.complete(refusal, "1", store.now())])


async def _numbers(store: Store, job: Job[Any], **asked: Any) -> list[int]:
    return [event.seq for event in await store.events(job.id, **asked)]


async def _is_gapless(store: Store, job: Job[Any], last: int) -> None:
    events = await store.events(job.id, limit=EVERYTHING)
    assert [event.seq for event in events] == list(range(1, last + 1))
    after = await current(store, job.id)
    assert after.seq == last
    assert after.version == max(event.seq for event in events if not event.is_output)
