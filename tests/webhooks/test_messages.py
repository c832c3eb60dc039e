"""What a message holds: thin, or full with what came of its job; and where the job is to be found."""

from typing import Any

import pytest

from outlast import ConfigurationError, Endpoint, Outlast, deliveries, webhooks
from outlast.deliveries import PAUSES
from outlast.ends import RESULT_IN_EVENT, Webhook
from outlast.lifecycle import HEAD_START
from outlast.stores import open_store, rows
from outlast.testing import FakeClock
from outlast.webhooks import Courier
from tests.webhooks.ground import Receiver, answers, make_app
from tests.webhooks.test_deliveries import run, the_delivery
from tests.webhooks.test_signing import fresh

SHOP = "https://shop.example/jobs"


def full(receiver: Receiver) -> dict[str, Any]:
    return {"url": receiver.url(), "full": True}


# -- where the job is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "environ"), [(SHOP, ""), (f"{SHOP}/", "https://other.example"), (None, SHOP)])
async def test_a_message_says_where_its_job_is(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, given: str | None, environ: str
) -> None:
    monkeypatch.setenv("OUTLAST_PUBLIC_URL", environ)
    async with make_app(public_url=given) as app:
        job = await app.submit("greet", {"name": "Ada"}, webhook={"url": receiver.url()})
        await run(app)
    [got] = receiver.got
    assert got.told["data"]["url"] == f"{SHOP}/{job.id}"


@pytest.mark.parametrize("environ", ["", None])
async def test_where_nobody_says_which_address_jobs_lie_under_a_message_has_none(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, environ: str | None
) -> None:
    monkeypatch.delenv("OUTLAST_PUBLIC_URL", raising=False)
    if environ is not None:
        monkeypatch.setenv("OUTLAST_PUBLIC_URL", environ)
    async with make_app() as app:
        await app.submit("greet", {"name": "Ada"}, webhook={"url": receiver.url()})
        await run(app)
    [got] = receiver.got
    assert got.told["data"]["url"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        "shop.example/jobs",
        "/jobs",
        "ftp://shop.example/jobs",
        "https:///jobs",
        "https://ada:hunter2@shop.example/jobs",
        "https://shop.example/jobs?key=hunter2",
        "https://shop.example/jobs?",
        "https://shop.example/#jobs",
        "https://shop.example/my jobs",
    ],
)
def test_an_address_that_jobs_cannot_lie_under_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="public_url=, or OUTLAST_PUBLIC_URL, is an address such as") as given:
        Outlast("memory://", public_url=wrong)
    monkeypatch.setenv("OUTLAST_PUBLIC_URL", wrong)
    with pytest.raises(ConfigurationError, match=SHOP) as named:
        Outlast("memory://")
    assert "hunter2" not in f"{given.value} {named.value}"


def test_a_host_that_stands_alone_where_a_list_is_wanted_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"webhook_hosts=\['localhost'\]"):
        Outlast("memory://", webhook_hosts="localhost")


# -- what came of it ------------------------------------------------------------------------------------------------


async def test_a_full_message_holds_the_result(app: Outlast, receiver: Receiver) -> None:
    await app.submit("greet", {"name": "Ada 😀"}, webhook=full(receiver))
    await run(app)
    [got] = receiver.got
    assert (got.told["data"]["result"], got.told["data"]["lastError"]) == ("Hello Ada 😀", None)


async def test_of_a_failed_job_a_full_message_holds_the_error_and_of_a_cancelled_one_neither(
    app: Outlast, receiver: Receiver
) -> None:
    failed = await app.submit("broken", webhook=full(receiver))
    cancelled = await app.submit("greet", {"name": "Ada"}, webhook=full(receiver))
    await app.cancel(cancelled)
    await run(app)
    data = {got.told["data"]["jobId"]: got.told["data"] for got in receiver.got}
    assert data[failed.id]["result"] is None
    assert data[failed.id]["lastError"] == (await app.get(failed)).wire()["lastError"]
    assert data[failed.id]["lastError"]["code"] == "handler_error"
    assert (data[cancelled.id]["result"], data[cancelled.id]["lastError"]) == (None, None)


async def test_a_result_is_sent_to_those_alone_who_asked_for_it(url: str, clock: FakeClock, receiver: Receiver) -> None:
    endpoints = [
        Endpoint(receiver.url("/full"), secrets=[fresh()], full=True),
        Endpoint(receiver.url("/thin"), secrets=[fresh()]),
    ]
    async with make_app(open_store(url, clock=clock), webhooks=endpoints) as app:
        await app.submit("greet", {"name": "Ada"}, webhook={"url": receiver.url("/own"), "full": False})
        await run(app)
    held = {got.path: {"result", "lastError"} & got.told["data"].keys() for got in receiver.got}
    assert held == {"/full": {"result", "lastError"}, "/thin": set(), "/own": set()}
    assert [got.path for got in receiver.got if b"Hello Ada" in got.body] == ["/full"]


@pytest.mark.parametrize(("beyond", "held"), [(0, True), (1, False)])
async def test_a_result_beyond_64_kib_is_left_out_and_the_message_says_where_it_is(
    url: str, clock: FakeClock, receiver: Receiver, beyond: int, held: bool
) -> None:
    name = "é" + "x" * (RESULT_IN_EVENT + beyond - len('"Hello é"'.encode()))
    async with make_app(open_store(url, clock=clock), public_url=SHOP) as app:
        job = await app.submit("greet", {"name": name}, webhook=full(receiver))
        await run(app)
    [got] = receiver.got
    data = got.told["data"]
    assert data["url"] == f"{SHOP}/{job.id}" and data["lastError"] is None
    assert ("result" in data) == held and len(got.body) > RESULT_IN_EVENT * held
    assert data.get("result", f"Hello {name}") == f"Hello {name}"


async def test_another_process_sends_the_same_full_message(
    app: Outlast, receiver: Receiver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer = answers(500)
    await app.submit("greet", {"name": "Ada"}, webhook=full(receiver))
    await run(app)
    with monkeypatch.context() as dead:
        dead.setattr(Courier, "begin", lambda self, job: None)
        await app.submit("greet", {"name": "Bob"}, webhook=full(receiver))
        await run(app)
    clock.advance(HEAD_START)
    await app.sweep()
    first, again, others = sorted(receiver.got, key=lambda got: got.told["data"]["result"])
    assert (first.id, first.body) == (again.id, again.body)
    assert others.told["data"]["result"] == "Hello Bob"


async def test_a_delivery_begun_again_by_hand_sends_the_same_full_message(app: Outlast, receiver: Receiver) -> None:
    receiver.answer = answers(410)
    job = await app.submit("greet", {"name": "Ada"}, webhook=full(receiver))
    await run(app)
    receiver.answer = answers(200)
    await app.redeliver((await the_delivery(app, job)).id)
    await app.sweep()
    first, again = receiver.got
    assert (first.id, first.body) == (again.id, again.body) and b"Hello Ada" in again.body


async def test_of_a_job_that_is_deleted_meanwhile_nothing_is_told(
    app: Outlast, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = deliveries.read

    async def removes(store: Any, job: Any) -> Any:
        log = await read(store, job)
        await app.delete(job)
        return log

    monkeypatch.setattr(deliveries, "read", removes)
    await app.submit("greet", {"name": "Ada"}, webhook=full(receiver))
    await run(app)
    assert await app.count() == {} and receiver.got == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_message_that_cannot_be_made_is_a_try_that_failed_and_not_made_for_ever(
    app: Outlast, receiver: Receiver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*args: Any, **kwargs: Any) -> bytes:
        raise ValueError("no such luck")

    monkeypatch.setattr(webhooks, "message", breaks)
    job = await app.submit("greet", {"name": "Ada"}, webhook=full(receiver))
    await run(app)
    for _ in PAUSES:
        clock.advance("27h")
        await app.sweep()
    assert (await the_delivery(app, job)).status == "given_up" and receiver.got == []


def test_what_was_stored_before_there_were_full_messages_is_thin() -> None:
    asked = rows.asked_of('{"webhooks":[["https://hooks.example/",["job.failed"],false]]}')
    assert asked["webhooks"] == (Webhook("https://hooks.example/", ("job.failed",), own=False, full=False),)
