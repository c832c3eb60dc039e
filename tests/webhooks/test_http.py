"""Webhooks over HTTP: asked for by a submit, shown to its owner alone, begun again by hand."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from outlast import Endpoint
from outlast.callback import REFUSAL
from outlast.web.service import service
from tests.web.ground import client, ended
from tests.web.test_owners import as_, untold
from tests.webhooks.ground import Receiver, answers, make_app
from tests.webhooks.test_signing import fresh

UNKNOWN = "038G676ZMA6TPAJ0WMP67MDPD6FZ8"


def entry(owner: str, scopes: str) -> str:
    return f"{owner}:{owner}:{scopes}:{hashlib.sha256(owner.encode()).hexdigest()}"


@pytest.fixture
async def http(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    """The service with keys and a worker, and an endpoint of its operator's."""
    owners = [entry(name, "jobs:read+jobs:write+jobs:cancel") for name in ("ann", "ben")]
    monkeypatch.setenv("OUTLAST_KEYS", ",".join([*owners, entry("boss", "admin")]))
    app = make_app(webhooks=[Endpoint(receiver.url("/endpoint"), secrets=[fresh()])])
    async with app.lifespan(), client(service(app), headers=as_("ann")) as http:
        yield http


async def delivered(http: httpx2.AsyncClient, receiver: Receiver, **webhook: Any) -> tuple[Any, Any]:
    """A job that has ended, and its one delivery once it is no longer pending."""
    body = {"type": "greet", "payload": {"name": "Ada"}, "webhook": {"url": receiver.url()} | webhook}
    reply = await http.post("/jobs", json=body)
    assert reply.status_code == 202, reply.text
    job = await ended(http, reply.json()["id"])
    return job, await settled(http, job)


async def settled(http: httpx2.AsyncClient, job: Any) -> Any:
    async with asyncio.timeout(20):
        while True:
            [delivery] = (await http.get(f"/jobs/{job['id']}/deliveries")).json()["data"]
            if delivery["status"] != "pending":
                return delivery
            await asyncio.sleep(0.01)


async def test_an_owner_sees_the_deliveries_of_their_own_webhook_and_an_operator_all(
    http: httpx2.AsyncClient, receiver: Receiver
) -> None:
    job, delivery = await delivered(http, receiver)
    assert delivery | {"tries": None} == {
        "id": f"evt_{job['id'].removeprefix('job_')}_0",
        "url": receiver.url(),
        "type": "job.completed",
        "status": "delivered",
        "nextAt": None,
        "tries": None,
    }
    assert [one["outcome"] for one in delivery["tries"]] == ["delivered"]
    every = (await http.get(f"/jobs/{job['id']}/deliveries", headers=as_("boss"))).json()["data"]
    assert [one["url"] for one in every] == [receiver.url(), receiver.url("/endpoint")]


async def test_a_submit_may_ask_for_the_result_to_be_told(http: httpx2.AsyncClient, receiver: Receiver) -> None:
    job, _ = await delivered(http, receiver, full=True)
    [own] = [got.told["data"] for got in receiver.got if got.path == "/hook"]
    assert (own["jobId"], own["result"], own["lastError"]) == (job["id"], "Hello Ada", None)
    assert all(b"Hello Ada" not in got.body for got in receiver.got if got.path == "/endpoint")


async def test_another_owners_deliveries_are_not_there_and_nothing_tells_them_from_none(
    http: httpx2.AsyncClient, receiver: Receiver
) -> None:
    job, delivery = await delivered(http, receiver)
    id = job["id"].removeprefix("job_")
    for foreign, unknown in [
        (("GET", f"/jobs/{job['id']}/deliveries"), ("GET", f"/jobs/job_{UNKNOWN}/deliveries")),
        (
            ("POST", f"/jobs/deliveries/{delivery['id']}/redeliver"),
            ("POST", f"/jobs/deliveries/evt_{UNKNOWN}_0/redeliver"),
        ),
    ]:
        one = await http.request(*foreign, headers=as_("ben"))
        other = await http.request(*unknown, headers=as_("ben"))
        assert (one.status_code, one.content, untold(one)) == (404, other.content, untold(other))
        assert one.json()["code"] == "job_not_found"
    hidden = await http.post(f"/jobs/deliveries/evt_{id}_1/redeliver")
    assert hidden.status_code == 404, "the operator's endpoint is not its owner's to call"
    await asyncio.sleep(0)
    assert len(receiver.got) == 2


async def test_a_delivery_that_was_given_up_is_begun_again(http: httpx2.AsyncClient, receiver: Receiver) -> None:
    receiver.answer = answers(410)
    job, delivery = await delivered(http, receiver)
    assert delivery["status"] == "given_up"
    receiver.answer = answers(200)
    reply = await http.post(f"/jobs/deliveries/{delivery['id']}/redeliver")
    assert (reply.status_code, reply.json()["status"]) == (202, "pending")
    again = await settled(http, job)
    assert (again["status"], [one["outcome"] for one in again["tries"]]) == ("delivered", ["gone", "delivered"])
    assert {got.id for got in receiver.got if got.path == "/hook"} == {delivery["id"]}


@pytest.mark.parametrize(
    ("webhook", "code", "pointer"),
    [
        (7, "validation", "/webhook"),
        (None, "validation", "/webhook"),
        ({}, "validation", "/webhook/url"),
        ({"url": "https://hooks.example/", "secret": "x"}, "validation", "/webhook"),
        ({"url": "https://hooks.example/", "events": ["job.progress"]}, "validation", "/webhook/events"),
        ({"url": "https://hooks.example/", "full": "true"}, "validation", "/webhook/full"),
        ({"url": "https://hooks.example/", "full": 1}, "validation", "/webhook/full"),
        ({"url": "https://hooks.example/", "full": None}, "validation", "/webhook/full"),
        ({"url": "ftp://hooks.example/"}, "callback_refused", "/webhook/url"),
        ({"url": "http://hooks.example/"}, "callback_refused", "/webhook/url"),
        ({"url": "https://169.254.169.254/"}, "callback_refused", "/webhook/url"),
        ({"url": "https://[::ffff:127.0.0.1]/"}, "callback_refused", "/webhook/url"),
        ({"url": "https://user@hooks.example/"}, "callback_refused", "/webhook/url"),
        ({"url": "https://hooks.example:25/"}, "callback_refused", "/webhook/url"),
    ],
)
async def test_a_webhook_that_is_wrong_is_refused_with_its_field(
    http: httpx2.AsyncClient, webhook: Any, code: str, pointer: str
) -> None:
    reply = await http.post("/jobs", json={"type": "greet", "payload": {"name": "Ada"}, "webhook": webhook})
    problem = reply.json()
    assert (reply.status_code, problem["code"], problem["errors"][0]["pointer"]) == (422, code, pointer)
    if code == "callback_refused":
        assert problem["errors"][0]["detail"] == REFUSAL
    assert (await http.get("/jobs")).json()["data"] == []


async def test_in_a_batch_a_webhook_that_is_not_called_is_its_items_own_problem(
    http: httpx2.AsyncClient, receiver: Receiver
) -> None:
    item = {"type": "greet", "payload": {"name": "Ada"}}
    jobs = [item | {"webhook": {"url": url}} for url in (receiver.url(), "https://10.0.0.1/")]
    fine, refused = (await http.post("/jobs/batch", json={"jobs": jobs})).json()["jobs"]
    assert "id" in fine and refused["problem"]["code"] == "callback_refused"


@pytest.mark.parametrize(
    ("wrong", "below"),
    [({"secret": "x"}, ""), ({"url": 7}, "/url"), ({"events": ["job.progress"]}, "/events"), ({"full": 0}, "/full")],
)
async def test_in_a_batch_a_webhook_of_the_wrong_form_refuses_all(
    http: httpx2.AsyncClient, receiver: Receiver, wrong: dict[str, Any], below: str
) -> None:
    item = {"type": "greet", "payload": {"name": "Ada"}}
    jobs = [item, item | {"webhook": {"url": receiver.url()} | wrong}]
    problem = (await http.post("/jobs/batch", json={"jobs": jobs})).json()
    assert (problem["code"], problem["errors"][0]["pointer"]) == ("validation", f"/jobs/1/webhook{below}")
    assert (await http.get("/jobs")).json()["data"] == []


async def test_without_a_secret_a_webhook_is_refused_with_what_to_set(
    http: httpx2.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTLAST_SECRET")
    body = {"type": "greet", "payload": {"name": "Ada"}, "webhook": {"url": receiver.url()}}
    problem = (await http.post("/jobs", json=body)).json()
    assert (problem["status"], problem["code"]) == (422, "webhooks_off")
    assert "OUTLAST_SECRET" in problem["detail"]
