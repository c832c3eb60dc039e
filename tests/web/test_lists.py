"""Many jobs at a glance: by their ids, and as the few numbers that a badge shows."""

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from outlast.principal import Principal
from outlast.web.service import service
from tests.web.ground import client, ended, eventually, make_app, submit


async def test_a_hundred_jobs_are_asked_for_at_once(idle: httpx2.AsyncClient) -> None:
    jobs = [await submit(idle, "greet", name=f"{number}") for number in range(3)]
    ids = [job["id"] for job in jobs]
    reply = await idle.post("/jobs/status", json={"ids": [*ids, "job_none", *ids]})
    found = reply.json()
    assert list(found["data"]) == ids
    assert found["missing"] == ["job_none"]
    listed = {job["id"]: job for job in (await idle.get("/jobs")).json()["data"]}
    assert found["data"] == listed


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/ids"),
        ({"ids": []}, "/ids"),
        ({"ids": ["x"] * 101}, "/ids"),
        ({"ids": "x"}, "/ids"),
        ({"ids": ["x", 1]}, "/ids/1"),
        ({"ids": ["x"], "id": 1}, "/id"),
    ],
)
async def test_wrong_ids_are_refused(body: Any, pointer: str, idle: httpx2.AsyncClient) -> None:
    reply = await idle.post("/jobs/status", json=body)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == pointer


async def test_a_summary_counts_what_is_live_and_what_has_ended_since(http: httpx2.AsyncClient) -> None:
    before = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    asks = [await submit(http, "ask", question="?") for _ in range(2)]
    await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    await ended(http, (await submit(http, "broken"))["id"])

    async def parked() -> bool:
        return bool((await http.get("/jobs/summary")).json()["waiting"] == 2)

    await eventually(parked)
    shown = (await http.get("/jobs/summary", params={"since": before})).json()
    counts = {name: value for name, value in shown.items() if name != "newest"}
    live = {"active": 2, "queued": 0, "processing": 0, "waiting": 2, "retrying": 0}
    assert counts == live | {"completedSince": 1, "failedSince": 1}
    assert len(shown["newest"]) == 4
    assert {job["id"] for job in shown["newest"]} > {job["id"] for job in asks}
    later = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    assert (await http.get("/jobs/summary", params={"since": later})).json()["completedSince"] == 0
    assert "completedSince" not in (await http.get("/jobs/summary")).json()


async def test_a_summary_that_is_known_is_304(http: httpx2.AsyncClient) -> None:
    first = await http.get("/jobs/summary")
    again = await http.get("/jobs/summary", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await submit(http, "ask", question="?")
    assert (await http.get("/jobs/summary", headers={"If-None-Match": first.headers["etag"]})).status_code == 200


async def test_a_summary_of_a_wrong_time_is_refused(idle: httpx2.AsyncClient) -> None:
    reply = await idle.get("/jobs/summary", params={"since": "yesterday"})
    assert (reply.status_code, reply.json()["errors"][0]["in"]) == (422, "query")


async def test_nothing_of_another_owner_is_counted_or_found() -> None:
    app = make_app()

    def who(request: Any) -> Principal | None:
        return Principal(request.headers.get("x-user"))

    async with app.lifespan(worker=False), client(service(app, authenticate=who)) as http:
        made = await http.post("/jobs", json={"type": "endless"}, headers={"X-User": "ada"})
        id, bob = made.json()["id"], {"X-User": "bob"}
        assert (await http.post("/jobs/status", json={"ids": [id]}, headers=bob)).json() == {
            "data": {},
            "missing": [id],
        }
        assert (await http.get("/jobs/summary", headers=bob)).json()["active"] == 0
        assert (await http.get("/jobs/summary", headers={"X-User": "ada"})).json()["active"] == 1
