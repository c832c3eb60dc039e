"""Whoever is to be told of a job's end is told at least once, whatever dies on the way."""

import asyncio
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from standardwebhooks import Webhook

from outlast import (
    Endpoint,
    InvalidRequest,
    Job,
    JobNotFound,
    Outlast,
    StoreUnavailable,
    callback,
    deliveries,
    posting,
    webhooks,
)
from outlast.deliveries import PAUSES, Delivery
from outlast.lifecycle import HEAD_START, owes
from outlast.posting import Answer
from outlast.signing import owner_secret
from outlast.stores import open_store
from outlast.testing import FakeClock, using
from outlast.webhooks import Courier
from tests.webhooks.ground import MASTER, Got, Receiver, answers, make_app, receiving
from tests.webhooks.test_signing import fresh


async def run(app: Outlast, *jobs: Job[Any]) -> None:
    """Run what is ready, and see the tries out."""
    async with app.working(burst=True) as worker:
        await worker.ended.wait()
    await tries_over(app)


async def tries_over(app: Outlast) -> None:
    assert app._opened is not None and app._opened.runtime.courier is not None
    await app._opened.runtime.courier.idle()


async def told(app: Outlast, receiver: Receiver, type: str = "greet", **options: Any) -> Job[Any]:
    """A job that names this receiver."""
    payload = {"name": "Ada"} if type == "greet" else {}
    return await app.submit(type, payload, webhook={"url": receiver.url()}, **options)


async def the_delivery(app: Outlast, job: Job[Any]) -> Delivery:
    [delivery] = await app.deliveries(job)
    return delivery


def secret(owner: str | None) -> str:
    return owner_secret(owner, {"OUTLAST_SECRET": MASTER})


# -- what is told ---------------------------------------------------------------------------------------------------


async def test_the_end_of_a_job_is_told_signed_with_its_owners_secret(app: Outlast, receiver: Receiver) -> None:
    job = await told(app, receiver, owner="ada", external_id="order-7", metadata={"é": [1]})
    await run(app)
    [got] = receiver.got
    ended = await app.get(job)
    message = Webhook(secret("ada")).verify(got.body, got.headers)
    assert message == {
        "type": "job.completed",
        "timestamp": ended.wire()["completedAt"],
        "data": {
            "jobId": job.id,
            "jobType": "greet",
            "status": "completed",
            "attempt": 1,
            "seq": ended.seq,
            "externalId": "order-7",
            "metadata": {"é": [1]},
            "url": None,
        },
    }
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(secret("bob")).verify(got.body, got.headers)
    delivery = await the_delivery(app, job)
    assert (delivery.id, delivery.status, delivery.due) == (got.id, "delivered", None)
    assert not owes(ended) and ended.next_at == ended.expires_at


async def test_every_kind_of_end_is_told_wherever_it_comes_about(
    app: Outlast, receiver: Receiver, clock: FakeClock
) -> None:
    broken = await told(app, receiver, "broken")
    await run(app)
    cancelled = await told(app, receiver)
    await app.cancel(cancelled)
    await tries_over(app)
    late = await told(app, receiver, deadline="1m")
    clock.advance("1m")
    await app.sweep()
    ends = {got.told["data"]["jobId"]: got.told["type"] for got in receiver.got}
    assert ends == {broken.id: "job.failed", cancelled.id: "job.cancelled", late.id: "job.failed"}


async def test_only_ends_that_are_wanted_are_told_and_nobody_is_owed_any_other(
    app: Outlast, receiver: Receiver
) -> None:
    wanted = {"url": receiver.url(), "events": ["job.failed", "job.cancelled"]}
    completed = await app.submit("greet", {"name": "Ada"}, webhook=wanted)
    failed = await app.submit("broken", webhook=wanted)
    plain = await app.submit("greet", {"name": "Ada"})
    await run(app)
    assert [got.told["data"]["jobId"] for got in receiver.got] == [failed.id]
    assert await app.deliveries(completed) == await app.deliveries(plain) == []
    assert not owes(await app.get(completed))


async def test_endpoints_in_code_are_told_of_every_job_each_with_its_own_secrets(
    url: str, clock: FakeClock, receiver: Receiver
) -> None:
    old, new, other = fresh(), fresh(), fresh()
    endpoints = [
        Endpoint(receiver.url("/all"), secrets=[new, old]),
        Endpoint(receiver.url("/bad"), ["job.failed"], [other]),
    ]
    async with make_app(open_store(url, clock=clock), webhooks=endpoints, webhook_hosts=[]) as app:
        job = await app.submit("broken", owner="ada")
        await app.submit("greet", {"name": "Ada"})
        await run(app)
        assert Counter(got.path for got in receiver.got) == {"/all": 2, "/bad": 1}
        for got in receiver.got:
            assert len(got.headers["webhook-signature"].split(" ")) == (2 if got.path == "/all" else 1)
            for one in (old, new) if got.path == "/all" else (other,):
                Webhook(one).verify(got.body, got.headers)
        assert len(await app.deliveries(job)) == 2
        assert await app.deliveries(job, owner="ada") == [], "where the operator's own receivers are is not for owners"


async def test_a_job_begun_again_by_hand_is_told_of_too(app: Outlast, receiver: Receiver) -> None:
    job = await told(app, receiver, "broken")
    await run(app)
    again = await app.retry(job)
    await run(app)
    assert [got.told["data"]["jobId"] for got in receiver.got] == [job.id, again.id]


# -- whatever dies --------------------------------------------------------------------------------------------------


async def test_an_end_is_told_by_another_process_if_its_own_dies_right_after_the_commit(
    app: Outlast, receiver: Receiver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dead:
        dead.setattr(Courier, "begin", lambda self, job: None)
        job = await told(app, receiver)
        await run(app)
    assert (await app.get(job)).ended and receiver.got == []
    clock.advance(HEAD_START - 1)
    await app.sweep()
    assert receiver.got == [], "until then it is the other process's"
    clock.advance(1)
    await app.sweep()
    assert receiver.ids == {(await the_delivery(app, job)).id}


async def test_a_process_that_is_killed_between_the_commit_of_an_end_and_its_first_try_leaves_it_to_others(
    receiver: Receiver, tmp_path: Any
) -> None:
    program = f"""
import asyncio, os
from outlast import lifecycle
from outlast.webhooks import Courier
from tests.webhooks.ground import make_app

lifecycle.HEAD_START = 0.5
Courier.moved = lambda self, job, change: "completed_at" in change.set and os.kill(os.getpid(), 9)

async def main():
    async with make_app("sqlite:///{tmp_path}/jobs.db") as app, app.working():
        await app.wait(await app.submit("greet", {{"name": "Ada"}}, webhook={{"url": "{receiver.url()}"}}))

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stderr=subprocess.DEVNULL)
    assert await process.wait() == -9
    assert receiver.got == []
    async with make_app(f"sqlite:///{tmp_path}/jobs.db") as app, app.sweeping():
        [job] = await app.list()
        assert job.status == "completed" and owes(job)
        async with asyncio.timeout(20):
            while not receiver.got:
                await asyncio.sleep(0.01)
    assert receiver.got[0].told["data"]["jobId"] == job.id


async def test_what_was_sent_and_not_written_down_is_sent_again_under_the_same_id(
    app: Outlast, receiver: Receiver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*args: Any) -> bool:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as away:
        away.setattr(deliveries, "write", fails)
        job = await told(app, receiver)
        await run(app)
    assert len(receiver.got) == 1 and owes(await app.get(job))
    clock.advance(HEAD_START)
    await app.sweep()
    assert len(receiver.got) == 2 and len(receiver.ids) == 1
    assert (await the_delivery(app, job)).status == "delivered"


async def test_of_many_processes_that_find_a_delivery_due_one_makes_it(
    receiver: Receiver, tmp_path: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [open_store(f"sqlite:///{tmp_path}/jobs.db", clock=clock) for _ in range(3)]
    async with make_app(stores[0]) as one, make_app(stores[1]) as two, make_app(stores[2]) as three:
        with monkeypatch.context() as dead:
            dead.setattr(Courier, "begin", lambda self, job: None)
            for _ in range(20):
                await told(one, receiver)
            await run(one)
        clock.advance(HEAD_START)
        await asyncio.gather(*(app.sweep() for app in (one, two, three)))
        for app in (one, two, three):
            await tries_over(app)
    assert len(receiver.got) == len(receiver.ids) == 20


@pytest.mark.slow
async def test_a_thousand_jobs_are_each_told_though_three_answers_in_ten_fail(
    app: Outlast, receiver: Receiver, clock: FakeClock
) -> None:
    chance = random.Random(7)
    accepted: set[str] = set()

    async def unsteady(got: Got, writer: asyncio.StreamWriter) -> None:
        assert Webhook(secret(None)).verify(got.body, got.headers)
        status = chance.choice((500, 503, 404, 301)) if chance.random() < 0.3 else 200
        if status == 200:
            accepted.add(got.told["data"]["jobId"])
        await answers(status)(got, writer)

    receiver.answer = unsteady
    app.concurrency = 100
    jobs = {(await told(app, receiver)).id for _ in range(1_000)}
    await run(app)
    rounds = 0
    while any(owes(job) for job in await app.get_many(sorted(jobs))):
        clock.advance("10m")
        await app.sweep()
        rounds += 1
        assert rounds < 2_000
    assert accepted == jobs
    tries = Counter(got.told["data"]["jobId"] for got in receiver.got)
    failing = sum(count > 1 for count in tries.values())
    print(f"{len(jobs)} ends told in {tries.total()} tries, {failing} of them not at the first")
    assert len(receiver.ids) == 1_000 and failing > 200


# -- the schedule ---------------------------------------------------------------------------------------------------


async def test_a_receiver_that_always_fails_is_tried_ten_times_over_three_days_and_then_given_up(
    app: Outlast, receiver: Receiver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = answers(500)
    job = await told(app, receiver)
    await run(app)
    times = [clock.now()]
    while (due := (await the_delivery(app, job)).due) is not None:
        clock.move_to(due - 0.01)
        await app.sweep()
        assert len(receiver.got) == len(times), "not before its time"
        clock.advance(0.02)
        await app.sweep()
        times.append(clock.now())
    pauses = [after - before for before, after in pairwise(times)]
    # A tenth either way, and the hundredth that each is late.
    assert pauses == [pytest.approx(pause, rel=0.11) for pause in PAUSES]
    delivery = await the_delivery(app, job)
    assert (delivery.status, len(delivery.tries)) == ("given_up", 10)
    assert len(receiver.got) == 10 and len(receiver.ids) == 1
    assert len({got.headers["webhook-timestamp"] for got in receiver.got}) >= 1
    assert "is not told of its end (rejected" in caplog.text
    assert "/hook" not in caplog.text, "what a URL holds beside its host may be a secret"


async def test_a_receiver_that_is_gone_is_not_tried_again(app: Outlast, receiver: Receiver, clock: FakeClock) -> None:
    receiver.answer = answers(410)
    job = await told(app, receiver)
    await run(app)
    assert (await the_delivery(app, job)).status == "given_up"
    clock.advance("3d")
    await app.sweep()
    assert len(receiver.got) == 1


async def test_a_receiver_that_is_gone_is_told_of_no_other_job_of_the_owner_for_a_day(
    app: Outlast, receiver: Receiver, clock: FakeClock
) -> None:
    receiver.answer = answers(410)
    await told(app, receiver, owner="ada")
    await run(app)
    receiver.answer = answers(200)
    skipped, others = await told(app, receiver, owner="ada"), await told(app, receiver, owner="bob")
    await run(app)
    assert len(receiver.got) == 2
    assert [(await the_delivery(app, job)).status for job in (skipped, others)] == ["given_up", "delivered"]
    clock.advance("24h")
    later = await told(app, receiver, owner="ada")
    await run(app)
    assert (await the_delivery(app, later)).status == "delivered"


async def test_a_delivery_begun_again_by_hand_opens_the_way_for_those_that_follow(
    app: Outlast, receiver: Receiver
) -> None:
    receiver.answer = answers(410)
    job = await told(app, receiver, owner="ada")
    await run(app)
    receiver.answer = answers(200)
    await app.redeliver((await the_delivery(app, job)).id)
    await app.sweep()
    following = await told(app, receiver, owner="ada")
    await run(app)
    assert (await the_delivery(app, following)).status == "delivered"


async def test_while_the_master_secret_is_changed_over_either_secret_verifies(
    app: Outlast, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = MASTER[::-1]
    monkeypatch.setenv("OUTLAST_SECRET", f"{newer},{MASTER}")
    await told(app, receiver, owner="ada")
    await run(app)
    [got] = receiver.got
    assert len(got.headers["webhook-signature"].split()) == 2
    for master in (newer, MASTER):
        Webhook(owner_secret("ada", {"OUTLAST_SECRET": master})).verify(got.body, got.headers)


@pytest.mark.parametrize(("asked", "pause"), [("3600", 3600), ("1", 5), ("99999999", 86400)])
async def test_a_receiver_that_asks_for_time_gets_it_up_to_a_day(
    app: Outlast, receiver: Receiver, clock: FakeClock, asked: str, pause: float
) -> None:
    receiver.answer = answers(503, Retry_After=asked)
    job = await told(app, receiver)
    await run(app)
    due = (await the_delivery(app, job)).due
    assert due is not None and due - clock.now() == pytest.approx(pause, rel=0.1)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_by_no_chance_is_it_called_before_the_time_that_it_asked_for(chance: float) -> None:
    delivery = Delivery(id="evt_1", number=0, url="https://receiver.test", event="job.completed")
    tried = delivery.tried(Answer("rejected", retry_after=3600.0), 1000.0, chance)
    assert tried.due == 4600.0


async def test_each_delivery_of_a_job_has_a_schedule_of_its_own(url: str, clock: FakeClock, receiver: Receiver) -> None:
    async def one_fails(got: Got, writer: asyncio.StreamWriter) -> None:
        await answers(500 if got.path == "/bad" else 200)(got, writer)

    receiver.answer = one_fails
    endpoints = [Endpoint(receiver.url("/good"), secrets=[fresh()]), Endpoint(receiver.url("/bad"), secrets=[fresh()])]
    async with make_app(open_store(url, clock=clock), webhooks=endpoints) as app:
        job = await told(app, receiver)
        await run(app)
        clock.advance(6)
        await app.sweep()
        assert Counter(got.path for got in receiver.got) == {"/hook": 1, "/good": 1, "/bad": 2}
        assert [one.status for one in await app.deliveries(job)] == ["delivered", "delivered", "pending"]


async def test_a_job_stays_until_its_end_is_told_however_short_it_was_to_be_kept(
    app: Outlast, receiver: Receiver, clock: FakeClock
) -> None:
    receiver.answer = answers(500)
    jobs = [await told(app, receiver, keep=keep) for keep in (0.001, HEAD_START, HEAD_START + 5)]
    await run(app)
    clock.advance("1h")
    receiver.answer = answers(200)
    await app.sweep()
    assert len(receiver.ids) == 3
    await app.sweep()
    assert await app.get_many([job.id for job in jobs]) == []


# -- none in the way of another -------------------------------------------------------------------------------------


async def test_a_receiver_that_hangs_does_not_hold_up_the_next_owners(
    app: Outlast, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "PATIENCE", 5.0)
    may_answer = asyncio.Event()

    async def hangs(got: Got, writer: asyncio.StreamWriter) -> None:
        await may_answer.wait()

    async with receiving(hangs) as slow:
        async with app.working():
            for _ in range(200):
                await told(app, slow, owner="mallory")
            await told(app, receiver, owner="ada")
            async with asyncio.timeout(4):
                while not receiver.got:
                    await asyncio.sleep(0.01)
            assert len(slow.got) <= webhooks.EACH
        may_answer.set()
        courier = (await app._open()).runtime.courier
        assert courier is not None
        await courier.idle()


async def test_tries_beyond_those_that_may_wait_come_later(
    app: Outlast, receiver: Receiver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = (await app._open()).runtime.courier
    assert courier is not None
    monkeypatch.setattr(courier._lanes, "_most", 3)
    for _ in range(10):
        await told(app, receiver)
    await run(app)
    for _ in range(20):
        clock.advance("1m")
        await app.sweep()
    assert len(receiver.got) == len(receiver.ids) == 10


async def test_a_job_that_is_deleted_takes_along_what_it_owes(
    app: Outlast, receiver: Receiver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    job, other = await told(app, receiver), await told(app, receiver)

    async def removes(got: Got, writer: asyncio.StreamWriter) -> None:
        if got.told["data"]["jobId"] == job.id:
            await app.delete(job)
        await answers(500)(got, writer)

    receiver.answer = removes
    await run(app)
    clock.advance("1m")
    await app.sweep()
    tries = Counter(got.told["data"]["jobId"] for got in receiver.got)
    assert tries == {job.id: 1, other.id: 2}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_what_jobs_of_other_apps_owe_is_left_to_them(
    url: str, app: Outlast, receiver: Receiver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dead:
        dead.setattr(Courier, "begin", lambda self, job: None)
        job = await told(app, receiver)
        await run(app)
    clock.advance("1d")
    other = Outlast((await app._open()).store)
    assert await other.sweep() == 0
    assert receiver.got == [] and owes(await app.get(job))
    await app.sweep()
    assert len(receiver.got) == 1
    await other.close()


async def test_a_process_without_a_client_leaves_deliveries_to_those_that_have_one(
    app: Outlast, receiver: Receiver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as bare:
        bare.setattr(posting, "is_installed", lambda: False)
        await told(app, receiver)
        await run(app)
        clock.advance(HEAD_START)
        await app.sweep()
    assert receiver.got == []
    await app.sweep()
    assert len(receiver.got) == 1


async def test_in_a_test_of_jobs_nobody_is_called(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTLAST_SECRET")
    app = make_app()
    with using(app) as jobs:
        job = await told(app, receiver)
        await jobs.finish(job)
        await jobs.advance("1d")
    assert receiver.got == []


# -- at the submit, and by hand -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("webhook", "pointer"),
    [
        ("https://hooks.example/", "/webhook"),
        ({"url": "https://hooks.example/", "secret": "mine"}, "/webhook"),
        ({}, "/webhook/url"),
        ({"url": 7}, "/webhook/url"),
        ({"url": "https://10.0.0.1/"}, "/webhook/url"),
        ({"url": "https://hooks.example/", "events": []}, "/webhook/events"),
        ({"url": "https://hooks.example/", "events": ["job.started"]}, "/webhook/events"),
        ({"url": "https://hooks.example/", "full": "yes"}, "/webhook/full"),
        ({"url": "https://hooks.example/", "full": None}, "/webhook/full"),
    ],
)
async def test_a_webhook_that_cannot_be_called_is_refused_at_the_submit(
    app: Outlast, webhook: Any, pointer: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await app.submit("greet", {"name": "Ada"}, webhook=webhook)
    assert raised.value.errors[0]["pointer"] == pointer
    assert await app.count() == {}


async def test_without_a_master_secret_a_webhook_is_refused_with_what_to_set(
    app: Outlast, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTLAST_SECRET")
    with pytest.raises(InvalidRequest, match="OUTLAST_SECRET, which is not set") as raised:
        await told(app, receiver)
    assert raised.value.code == "webhooks_off"


async def test_beyond_so_many_look_ups_that_hang_a_submit_does_not_wait_for_its_own(
    app: Outlast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "LOOK_UPS", 2)
    monkeypatch.setattr(callback, "PATIENCE", 0.05)
    may_end, asked = threading.Event(), list[str]()

    def hangs(host: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        may_end.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    for number in range(5):
        await app.submit("greet", {"name": "Ada"}, webhook={"url": f"https://h{number}.example/"})
    with pytest.raises(InvalidRequest):
        await app.submit("greet", {"name": "Ada"}, webhook={"url": "https://10.0.0.1/"})
    may_end.set()
    assert asked == ["h0.example", "h1.example"]


async def test_a_name_that_never_resolves_is_given_up_as_dns(
    app: Outlast, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    job = await app.submit("greet", {"name": "Ada"}, webhook={"url": "https://hooks.example/"})
    await run(app)
    for _ in PAUSES:
        clock.advance("27h")
        await app.sweep()
    delivery = await the_delivery(app, job)
    assert (delivery.status, {one.outcome for one in delivery.tries}) == ("given_up", {"dns"})


async def test_a_delivery_is_begun_again_by_hand_under_the_same_id(
    app: Outlast, receiver: Receiver, clock: FakeClock
) -> None:
    receiver.answer = answers(410)
    job = await told(app, receiver, owner="ada")
    await run(app)
    receiver.answer = answers(200)
    begun = await app.redeliver((await the_delivery(app, job)).id, owner="ada")
    assert (begun.status, begun.due) == ("pending", clock.now())
    await app.sweep()
    delivery = await the_delivery(app, job)
    assert (delivery.status, [one.outcome for one in delivery.tries]) == ("delivered", ["gone", "delivered"])
    assert len(receiver.got) == 2 and len(receiver.ids) == 1
    assert not owes(await app.get(job))


@pytest.mark.parametrize("wrong", ["", "evt_", "evt_x", "job_1_0", "evt_{}_7", "evt_{}_00", "evt_{}_x", "{}_0"])
async def test_a_delivery_that_is_not_there_or_anothers_is_a_job_not_found(
    app: Outlast, receiver: Receiver, wrong: str
) -> None:
    job = await told(app, receiver, owner="ada")
    await run(app)
    with pytest.raises(JobNotFound):
        await app.redeliver(wrong.format(job.id.removeprefix("job_")))
    with pytest.raises(JobNotFound):
        await app.redeliver((await the_delivery(app, job)).id, owner="bob")
    with pytest.raises(JobNotFound):
        await app.deliveries(job, owner="bob")


async def test_a_live_job_has_no_deliveries_yet(app: Outlast, receiver: Receiver) -> None:
    job = await told(app, receiver)
    assert await app.deliveries(job) == []
    with pytest.raises(JobNotFound):
        await app.redeliver(f"evt_{job.id.removeprefix('job_')}_0")


async def test_an_end_that_is_not_told_when_the_app_closes_is_told_later(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url == "memory://":
        return
    monkeypatch.setattr(webhooks, "LINGER", 0.05)
    begun = asyncio.Event()

    async def hangs(got: Got, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with receiving(hangs) as receiver:
        async with make_app(open_store(url, clock=clock)) as app, app.working():
            job = await told(app, receiver)
            await begun.wait()
        receiver.answer = answers(200)
        clock.advance(HEAD_START)
        async with make_app(open_store(url, clock=clock)) as app:
            await app.sweep()
            assert (await the_delivery(app, job)).status == "delivered"
