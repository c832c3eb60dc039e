"""Batches: a hundred jobs in one request, counted, cancelled and read as one."""

import json
from typing import Any

import httpx2
import pytest

from outlast import Outlast
from outlast.principal import Principal
from outlast.web.service import service
from tests.web.ground import client, ended, eventually, make_app

GREET = {"type": "greet", "payload": {"name": "Ada"}}


async def batch(http: httpx2.AsyncClient, *jobs: Any, **more: Any) -> Any:
    reply = await http.post("/jobs/batch", json={"jobs": list(jobs), **more})
    assert reply.status_code == 202, reply.text
    return reply.json()


async def test_a_batch_is_accepted_whole_and_counted_as_one(http: httpx2.AsyncClient) -> None:
    made = await batch(http, *[GREET] * 98, {"type": "broken"}, {"type": "ask", "payload": {"question": "?"}})
    assert [job["index"] for job in made["jobs"]] == list(range(100))
    assert len({job["id"] for job in made["jobs"]}) == 100
    own = made["urls"]["self"]

    async def nearly() -> bool:
        counts = (await http.get(own)).json()
        return bool(counts["completed"] == 98 and counts["failed"] == 1 and counts["waiting"] == 1)

    await eventually(nearly)
    counts = (await http.get(own)).json()
    assert (counts["batchId"], counts["status"], counts["total"]) == (made["batchId"], "live", 100)
    listed = (await http.get("/jobs", params={"batchId": made["batchId"], "limit": 200})).json()["data"]
    assert {job["id"] for job in listed} == {job["id"] for job in made["jobs"]}


async def test_the_results_of_what_has_ended_come_as_lines(http: httpx2.AsyncClient) -> None:
    names = [f"{number}" for number in range(5)]
    jobs = [{"type": "greet", "payload": {"name": name}, "externalId": name} for name in names]
    made = await batch(http, *jobs, {"type": "broken", "externalId": "b"}, {"type": "endless"})
    for job in made["jobs"][:-1]:
        await ended(http, job["id"])
    reply = await http.get(made["urls"]["results"])
    assert reply.headers["content-type"] == "application/jsonl"
    lines = {line["externalId"]: line for line in map(json.loads, reply.text.splitlines())}
    assert lines.keys() == {*names, "b"}
    assert all(lines[name]["result"] == {"greeting": f"Hello {name}"} for name in names)
    assert (lines["b"]["status"], lines["b"]["result"]) == ("failed", None)
    assert lines["b"]["lastError"]["code"] == "handler_error"


async def test_a_batch_is_cancelled_as_one(http: httpx2.AsyncClient) -> None:
    made = await batch(http, *[{"type": "endless"}] * 3, GREET)
    await ended(http, made["jobs"][3]["id"])
    reply = await http.post(made["urls"]["cancel"], json={"reason": "enough"})
    assert reply.status_code in (200, 202)
    for job in made["jobs"][:3]:
        assert (await ended(http, job["id"]))["cancelReason"] == "enough"
    counts = (await http.get(made["urls"]["self"])).json()
    assert (counts["status"], counts["cancelled"], counts["completed"]) == ("ended", 3, 1)
    again = await http.post(made["urls"]["cancel"])
    assert (again.status_code, again.json()) == (200, counts)


async def test_what_only_a_submit_can_tell_is_each_items_own(idle: httpx2.AsyncClient, app: Outlast) -> None:
    made = await batch(idle, GREET, {"type": "gret"}, {"type": "greet", "payload": {"nam": 1}}, GREET)
    codes = [job.get("problem", {}).get("code") for job in made["jobs"]]
    assert codes == [None, "unknown_type", "validation", None]
    assert made["jobs"][2]["problem"]["errors"][0]["pointer"].startswith("/payload")
    assert sum((await app.count()).values()) == 2


async def test_an_items_key_makes_a_repeat_harmless(idle: httpx2.AsyncClient, app: Outlast) -> None:
    jobs = [GREET | {"idempotencyKey": f"k{number}"} for number in range(3)]
    first = await batch(idle, *jobs, batchId="night")
    again = await batch(idle, *jobs, batchId="night")
    assert [job["id"] for job in again["jobs"]] == [job["id"] for job in first["jobs"]]
    assert all(job["replayed"] for job in again["jobs"])
    other = await batch(idle, GREET | {"idempotencyKey": "k0", "priority": "high"}, batchId="night")
    assert other["jobs"][0]["problem"]["code"] == "idempotency_key_reused"
    assert sum((await app.count()).values()) == 3
    assert (await idle.get("/jobs/batches/night")).json()["total"] == 3


async def test_a_payload_of_a_batch_is_kept_as_it_was_written(idle: httpx2.AsyncClient, app: Outlast) -> None:
    written = '{ "times":1,  "name" : "A\\u0064a, ]}" }'
    body = '{"jobs": [ {"type":"greet"  ,"payload":' + written + '} , {"payload" : ' + written + ',"type":"greet"}]}'
    made = (await idle.post("/jobs/batch", content=body, headers={"Content-Type": "application/json"})).json()
    for job in made["jobs"]:
        assert (await app.get(job["id"], payload=True)).payload_json == written


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/jobs", "validation"),
        ({"jobs": []}, "/jobs", "validation"),
        ({"jobs": [GREET] * 101}, "/jobs", "validation"),
        ({"jobs": {}}, "/jobs", "validation"),
        ({"jobs": [GREET, 1]}, "/jobs/1", "validation"),
        ({"jobs": [GREET, {"payload": {}}]}, "/jobs/1/type", "validation"),
        ({"jobs": [GREET, GREET | {"owner": "bob"}]}, "/jobs/1/owner", "read_only"),
        ({"jobs": [GREET | {"batchId": "x"}]}, "/jobs/0/batchId", "validation"),
        ({"jobs": [GREET | {"idempotencyKey": "a b"}]}, "/jobs/0/idempotencyKey", "validation"),
        ({"jobs": [GREET | {"tags": ["ok", 1]}]}, "/jobs/0/tags/1", "validation"),
        ({"jobs": [GREET], "batchId": ""}, "/batchId", "validation"),
        ({"jobs": [GREET], "batchid": "x"}, "/batchid", "unknown_field"),
    ],
)
async def test_a_malformed_batch_is_refused_whole(
    body: Any, pointer: str, code: str, idle: httpx2.AsyncClient, app: Outlast
) -> None:
    reply = await idle.post("/jobs/batch", json=body)
    assert (reply.status_code, reply.json()["code"]) == (422, code)
    assert reply.json()["errors"][0]["pointer"] == pointer
    assert await app.count() == {}


async def test_anothers_batch_and_one_that_never_was_answer_alike() -> None:
    app = make_app()

    def who(request: Any) -> Principal | None:
        return Principal(request.headers.get("x-user"))

    async with app.lifespan(worker=False), client(service(app, authenticate=who)) as http:
        made = (await http.post("/jobs/batch", json={"jobs": [GREET]}, headers={"X-User": "ada"})).json()
        for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/results")):
            own = f"/jobs/batches/{made['batchId']}{path}"
            foreign = await http.request(method, own, headers={"X-User": "bob"})
            absent = await http.request(method, f"/jobs/batches/none{path}", headers={"X-User": "bob"})
            assert foreign.status_code == absent.status_code == 404
            assert foreign.content == absent.content
        assert (await http.get(f"/jobs/batches/{made['batchId']}", headers={"X-User": "ada"})).json()["queued"] == 1
