"""POST /jobs/bulk: for operators alone, counted by dryRun, done in parts that a cursor joins."""

import hashlib
from typing import Any

import httpx2
import pytest

from outlast import Outlast
from outlast.bulk import PART
from outlast.policy import Limits
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.service import service
from tests.web.ground import client, ended, make_app, submit


async def asked(http: httpx2.AsyncClient, **body: Any) -> Any:
    reply = await http.post("/jobs/bulk", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_a_dry_run_counts_and_changes_nothing(idle: httpx2.AsyncClient, app: Outlast) -> None:
    for _ in range(3):
        await submit(idle, "greet", name="Ada")
    await submit(idle, "broken")
    before = await app.count()
    found = await asked(idle, action="cancel", filter={"type": "greet"}, dryRun=True)
    assert found == {"action": "cancel", "dryRun": True, "matched": 3, "byStatus": {"queued": 3}}
    none = await asked(idle, action="delete", all=True, dryRun=True)
    assert (none["matched"], none["byStatus"]) == (0, {})
    assert await app.count() == before


async def test_parts_are_joined_by_a_cursor_and_come_by_each_job_once(idle: httpx2.AsyncClient, app: Outlast) -> None:
    for _ in range(PART + 3):
        await app.submit("greet", {"name": "Ada"}, owner="ada")
    body: dict[str, Any] = {"action": "cancel", "filter": {"owner": "ada"}, "reason": "enough"}
    first = await asked(idle, **body)
    assert (first["done"], first["skipped"]) == (PART, 0)
    last = await asked(idle, **body, cursor=first["nextCursor"])
    assert last == {"action": "cancel", "dryRun": False, "done": 3, "skipped": 0, "nextCursor": None}
    [job] = await app.list(limit=1)
    assert job.cancel_reason == "enough"


async def test_failed_jobs_are_retried_and_ended_ones_deleted(http: httpx2.AsyncClient) -> None:
    job = await ended(http, (await submit(http, "broken"))["id"])
    again = await asked(http, action="retry", filter={"status": ["failed"]}, **{"from": "start"})
    assert (again["done"], again["nextCursor"]) == (1, None)
    [new] = [one for one in (await http.get("/jobs")).json()["data"] if one["id"] != job["id"]]
    await ended(http, new["id"])
    gone = await asked(http, action="delete", filter={"status": "failed", "olderMs": 0})
    assert gone["done"] == 2
    assert (await http.get("/jobs")).json()["data"] == []


async def test_a_job_that_was_retried_like_this_is_skipped(http: httpx2.AsyncClient) -> None:
    await ended(http, (await submit(http, "broken"))["id"])
    body = {"action": "retry", "filter": {"type": "broken", "olderMs": 0}}
    assert (await asked(http, **body))["done"] == 1
    assert (await asked(http, **body))["skipped"] >= 1


async def test_a_retry_stops_where_the_queue_is_full_and_goes_on_once_it_is_not() -> None:
    clock = FakeClock()
    app = make_app(MemoryStore(clock=clock), limits=Limits(queued=PART, queued_by_owner=1))
    async with app.lifespan(worker=False), client(service(app)) as http:
        for _ in range(PART + 5):
            await app.cancel(await app.submit("greet", {"name": "Ada"}, owner="ada"))
        clock.advance(60)
        body: dict[str, Any] = {"action": "retry", "filter": {"owner": "ada"}}
        first = await asked(http, **body)
        assert first["done"] == PART, "no owner's cap holds for what an operator does"
        clock.advance(60)
        body["cursor"] = first["nextCursor"]
        full = await http.post("/jobs/bulk", json=body)
        assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (503, "queue_full", "5")
        assert (await asked(http, action="cancel", filter={"status": "queued"}))["done"] == PART, "and none was begun"
        clock.advance(60)
        last = await asked(http, **body)
        assert (last["done"], last["nextCursor"]) == (5, None)


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"filter": {"type": "greet"}}, "validation", "/action"),
        ({"action": "stop", "filter": {"type": "greet"}}, "validation", "/action"),
        ({"action": "cancel"}, "validation", "/filter"),
        ({"action": "cancel", "filter": {}}, "validation", "/filter"),
        ({"action": "cancel", "filter": {}, "dryRun": True}, "validation", "/filter"),
        ({"action": "cancel", "filter": []}, "validation", "/filter"),
        ({"action": "cancel", "filter": {"status": "failed"}}, "validation", "/filter/status"),
        ({"action": "cancel", "filter": {"status": ["lost"]}}, "validation", "/filter/status"),
        ({"action": "cancel", "filter": {"status": []}}, "validation", "/filter/status"),
        ({"action": "cancel", "filter": {"typ": "greet"}}, "unknown_field", "/filter/typ"),
        ({"action": "cancel", "filter": {"type": 1}}, "validation", "/filter/type"),
        ({"action": "cancel", "filter": {"olderMs": True}}, "validation", "/filter/olderMs"),
        ({"action": "cancel", "filter": {"olderMs": -1}}, "validation", "/filter/olderMs"),
        ({"action": "cancel", "filter": {"type": "a"}, "cursor": "forged"}, "bad_cursor", "/cursor"),
        ({"action": "cancel", "filter": {"type": "a"}, "dryRun": "yes"}, "validation", "/dryRun"),
        ({"action": "cancel", "filter": {"type": "a"}, "reason": 1}, "validation", "/reason"),
        ({"action": "retry", "filter": {"type": "a"}, "from": "end"}, "validation", "/from"),
        ({"action": "retry", "filter": {"type": "a"}, "dryrun": True}, "unknown_field", "/dryrun"),
    ],
)
async def test_what_is_wrong_is_named(idle: httpx2.AsyncClient, body: Any, code: str, pointer: str) -> None:
    job = await submit(idle, "greet", name="Ada")
    reply = await idle.post("/jobs/bulk", json=body)
    assert (reply.status_code, reply.json()["code"]) == (422, code)
    assert [error["pointer"] for error in reply.json()["errors"]] == [pointer]
    assert (await idle.get(f"/jobs/{job['id']}")).json()["status"] == "queued"


async def test_all_that_is_wrong_is_told_at_once(idle: httpx2.AsyncClient) -> None:
    body = {"action": "stop", "filter": {"type": 1, "olderMs": "7d"}, "all": 1}
    errors = (await idle.post("/jobs/bulk", json=body)).json()["errors"]
    assert {error["pointer"] for error in errors} == {"/action", "/filter/type", "/filter/olderMs", "/all"}


async def test_a_cursor_is_good_for_its_own_action_and_filter(idle: httpx2.AsyncClient, app: Outlast) -> None:
    for _ in range(PART + 1):
        await app.submit("greet", {"name": "Ada"})
    cursor = (await asked(idle, action="cancel", filter={"type": "greet"}))["nextCursor"]
    for other in ({"action": "delete", "filter": {"type": "greet"}}, {"action": "cancel", "filter": {"owner": "ada"}}):
        reply = await idle.post("/jobs/bulk", json={**other, "cursor": cursor})
        assert reply.json()["code"] == "bad_cursor"


@pytest.mark.parametrize(("scopes", "status"), [("jobs:read+jobs:write+jobs:cancel", 403), ("admin", 200)])
async def test_only_an_operator_may(monkeypatch: pytest.MonkeyPatch, scopes: str, status: int) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    monkeypatch.setenv("OUTLAST_KEYS", f"one:ada:{scopes}:{digest}")
    app = make_app()
    async with app.lifespan(worker=False), client(service(app)) as http:
        job = await app.submit("greet", {"name": "Ada"}, owner="ada")
        body = {"action": "cancel", "all": True}
        assert (await http.post("/jobs/bulk", json=body)).status_code == 401
        reply = await http.post("/jobs/bulk", json=body, headers={"Authorization": "Bearer secret"})
        assert reply.status_code == status
        assert (await app.get(job)).status.value == ("cancelled" if status == 200 else "queued")
