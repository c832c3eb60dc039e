"""Jobs in and out: stored once, whole, and word for word."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

from outlast import lifecycle
from outlast.ends import Webhook
from outlast.job import Job, JobError, Signal, Step, Waiting
from outlast.stores.base import LEASE, Store
from outlast.testing.clock import FakeClock
from outlast.testing.contract.ground import (
    after_insert,
    claimed,
    current,
    in_threads,
    lean,
    log,
    new_job,
    new_jobs,
    output,
    processing,
    queued,
    shot,
    step,
    wrote,
)

TEXTS = [
    '{"b":1,   "a" : [ 1.0, 1e2, -0.0, 9007199254740991 ]}',
    '{"zebra": 1, "apple": 2, "10": 3, "9": 4}',
    '"é ß ЖЩ 漢字 😀👩‍👩‍👧 \u2028 \u2029 \u00a0 \ufeff"',
    '"\\u00e9 \\ud83d\\ude00 \\n \\\\ \\" \' ; -- % _ $1 :a ?"',
    "  [ ]\n",
    "null",
    '""',
]
"""JSON whose every character counts: spaces, order of keys, escapes, ways to write a number."""


class Inserts:
    async def test_a_job_is_stored_as_lifecycle_made_it(self, store: Store) -> None:
        ready, later = new_job(store), new_job(store, run_at=store.now() + 60)
        retried, full = new_job(store, steps=[step("a"), step("b", 1)]), new_job(store, **_everything_asked(store))
        new = [ready, later, retried, full]
        for one, answer in zip(new, await store.insert(new), strict=True):
            stored = await shot(store, one.job.id)
            assert stored == after_insert(one, stored.job.tag)
            assert (stored.job.tag is None) == (one.place is None)
            assert lean(answer) == lean(stored.job)

    async def test_every_field_of_a_job_is_kept(self, store: Store, clock: FakeClock) -> None:
        """Each write of this life is compared field by field, and in the end no field was left as it is by itself."""
        seen = {name async for job in _full_life(store, clock) for name in _own_values(job)}
        assert {field.name for field in fields(Job)} - seen == {"result"}

    async def test_payloads_and_results_are_kept_to_the_letter(self, store: Store) -> None:
        for text in TEXTS:
            job = await processing(store, payload_json=text)
            assert job.payload_json == text
            await wrote(store, lifecycle.complete(job, text, store.now()))
            ended = await current(store, job.id)
            assert (ended.payload_json, ended.result_json) == (text, text)

    async def test_a_mebibyte_of_payload_result_and_step_is_kept(self, store: Store) -> None:
        text = '"' + "x😀é\\n\u2028" * 100_000 + '"'
        assert len(text.encode()) > 1 << 20
        job = await processing(store, payload_json=text)
        assert job.payload_json == text
        await wrote(store, lifecycle.append(job, steps=[step("big", value=text)], events=[output(0.0, text)]))
        await wrote(store, lifecycle.complete(job, text, store.now()))
        ended, events, steps, *_ = await shot(store, job.id)
        assert (ended.payload_json, ended.result_json, steps["big"].value) == (text, text, text)
        assert events[2].data["text"] == text

    async def test_a_payload_is_answered_only_if_asked_for(self, store: Store) -> None:
        job = await processing(store, payload_json='{"a": 1}')
        await wrote(store, lifecycle.complete(job, '"done"', store.now()))
        [without], [with_it] = await store.get([job.id]), await store.get([job.id], payload=True)
        assert without is not None
        assert with_it is not None
        assert (without.payload_json, without.result_json) == (None, '"done"')
        assert (with_it.payload_json, with_it.result_json) == ('{"a": 1}', '"done"')

    async def test_jobs_are_read_in_the_order_asked_for(self, store: Store) -> None:
        one, two = await queued(store), await queued(store)
        found = await store.get([two.id, "job_absent", one.id, two.id])
        assert [job and job.id for job in found] == [two.id, None, one.id, two.id]

    async def test_an_id_that_is_stored_is_not_stored_again(self, store: Store) -> None:
        job = await processing(store)
        before = await shot(store, job.id)
        again = new_job(store, id=job.id, type="image", payload_json='"other"', steps=[step("other")])
        [answer] = await store.insert([again])
        assert lean(answer) == lean(job)
        assert await shot(store, job.id) == before

    async def test_an_id_twice_in_one_call_is_stored_once(self, store: Store) -> None:
        first = new_job(store, payload_json="1")
        second = new_job(store, id=first.job.id, payload_json="2")
        answers = await store.insert([first, second, new_job(store)])
        assert answers[0].id == answers[1].id != answers[2].id
        after = await shot(store, first.job.id)
        assert (after.job.payload_json, len(after.events)) == ("1", 1)

    async def test_a_submit_sent_again_at_once_makes_one_job(self, store: Store) -> None:
        new = new_job(store)
        await asyncio.gather(*(store.insert([new]) for _ in range(10)))
        await in_threads(4, lambda: store.insert([new]))
        assert len(await store.events(new.job.id)) == 1
        assert len((await store.claim(10, [new.job.type], "w")).jobs) == 1

    async def test_many_submits_at_once_are_all_stored(self, store: Store) -> None:
        new = new_jobs(store, 100)
        await asyncio.gather(*(store.insert([one]) for one in new))
        assert all(await store.get([one.job.id for one in new]))


def _everything_asked(store: Store) -> dict[str, Any]:
    """Everything a submit can ask for, none of it as it would be by itself."""
    return {
        "type": "report.yearly",
        "owner": "ada:é😀",
        "priority": "low",
        "max_retries": 5,
        "timeout": 12.3,
        "backoff_base": 0.7,
        "backoff_cap": 11.0,
        "deadline": store.now() + 86400.1,
        "keep": 3600.5,
        "planned": ("Outline", "Draft 😀"),
        "tags": ("demo", "a:b.c-d_e"),
        "metadata": {"z": [1, 2.5, None, True], "a": {"é": "😀"}},
        "idempotency_key": "key-1",
        "fingerprint": "abc123",
        "retry_of": "job_before",
        "origin": "job_first",
        "batch_id": "batch-1",
        "external_id": "order 7",
        "webhooks": (
            Webhook("https://hooks.example/é"),
            Webhook("http://10.0.0.7/", ("job.failed",), own=False, full=True),
        ),
        "trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "payload_json": '{"b": 1, "a": 2}',
    }


async def _full_life(store: Store, clock: FakeClock) -> AsyncIterator[Job[Any]]:
    """A job after each move of a life that leaves no field out."""
    [job] = await store.insert([new_job(store, **_everything_asked(store))])
    yield job
    job = await claimed(store, job)
    yield await wrote(store, lifecycle.append(job, set=_everything_written(), events=[log(store.now())]))
    clock.advance(LEASE + 0.1)
    job = await claimed(store, await wrote(store, lifecycle.lease_out(job, store.now())))
    clock.advance(3.3)
    job = await wrote(store, lifecycle.signal(job, Signal(name="other", value="1", key="k"), store.now()))
    asleep = Waiting(reason="signal", until=store.now() + 60.7, signals=("approval", "refusal é"))
    job = await wrote(store, lifecycle.park(job, asleep, store.now()))
    yield job
    job = await claimed(store, await wrote(store, lifecycle.wake(job, store.now())))
    job = await wrote(store, lifecycle.raised(job, _full_error(store), store.now(), chance=0.3))
    yield job
    job = await claimed(store, await wrote(store, lifecycle.ready(job, store.now())))
    job = await wrote(store, lifecycle.cancel(job, store.now(), by="ada", reason="enough é😀"))
    yield await wrote(store, lifecycle.complete(job, '{"b": 1, "a": 2}', store.now()))


def _everything_written() -> dict[str, Any]:
    """Everything that an attempt writes while it runs."""
    return {
        "progress": 33.3,
        "message": "Writing é😀 \u2028",
        "current_step": "Draft 😀",
        "open_steps": (
            Step(key="a", name="a", index=0, status="running", attempt=1),
            Step(key="b", name="b é", index=1, status="failed", attempt=1, duration_ms=12),
        ),
        "offsets": {"text": 2_310, "thoughts": 7},
        "usage": {"inputTokens": 1_200, "cost": 0.0123},
    }


def _full_error(store: Store) -> JobError:
    return JobError(
        code="provider_error",
        message="it broke: é😀",
        retryable=True,
        attempt=1,
        at=store.now() - 0.1,
        advice="wait",
        details={"b": [1, None], "a": {"status": 529}},
    )


def _own_values(job: Job[Any]) -> set[str]:
    """The fields whose value is not the one they have by themselves."""
    plain: Job[Any] = Job(id="", type="")
    return {field.name for field in fields(Job) if getattr(job, field.name) != getattr(plain, field.name)}
