"""Attempts over HTTP: for whoever operates, and for nobody else."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from outlast import Outlast, Principal
from outlast.web.service import service
from tests.web.ground import as_, client, ended, make_app, submit
from tests.web.test_owners import KEYS


@pytest.fixture
async def app() -> AsyncIterator[Outlast]:
    app = make_app()
    async with app.lifespan():
        yield app


async def broken(app: Outlast, headers: dict[str, str] | None = None) -> str:
    """The id of a job that failed."""
    async with client(service(app), headers=headers) as http:
        job = await ended(http, (await submit(http, "broken"))["id"])
    return str(job["id"])


async def asked(app: Outlast, id: str, include: str = "attempts", **how: Any) -> httpx2.Response:
    async with client(service(app), **how) as http:
        return await http.get(f"/jobs/{id}?include={include}")


async def test_the_operator_sees_how_each_attempt_ended(app: Outlast) -> None:
    id = await broken(app)
    reply = await asked(app, id, "payload,attempts")
    job = reply.json()
    assert reply.status_code == 200
    assert job["payload"] == {}
    [attempt] = job["attempts"]
    assert (attempt["attempt"], attempt["status"], attempt["code"]) == (1, "failed", "handler_error")
    assert attempt["message"] == "RuntimeError: no such luck"
    assert 'raise RuntimeError("no such luck")' in attempt["traceback"]
    assert (attempt["lines"], attempt["linesDropped"]) == ([], 0)
    assert attempt["worker"].startswith("worker_")
    assert attempt["startedAt"] <= attempt["endedAt"] <= job["completedAt"]


async def test_nothing_of_it_is_in_any_other_answer(app: Outlast) -> None:
    id = await broken(app)
    async with client(service(app)) as http:
        paths = ["", "?include=payload", "/events", "/events?after=0", "/output", "/result"]
        answers = [(await http.get(f"/jobs/{id}{path}")).text for path in paths]
        answers.append((await http.get("/jobs")).text)
    assert [answer for answer in answers if "Traceback" in answer or "worker_" in answer] == []


@pytest.mark.parametrize(("key", "status"), [("boss", 200), ("ann", 403), ("reader", 403), ("ben", 403)])
async def test_a_key_without_the_scope_admin_is_refused(key: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", ", ".join(KEYS))
    app = make_app()
    async with app.lifespan():
        id = await broken(app, as_("ann"))
        reply = await asked(app, id, headers=as_(key))
        unknown = await asked(app, "job_absent", headers=as_(key))
    assert reply.status_code == status
    assert ("Traceback" in reply.text) == (status == 200)
    if status == 403:
        assert (reply.json()["code"], unknown.json()["code"]) == ("forbidden_scope", "forbidden_scope")


async def test_a_hosts_own_principal_needs_the_scope_too(app: Outlast) -> None:
    id = await broken(app)
    for scopes, status in ((frozenset({"jobs:read"}), 403), (frozenset({"admin"}), 200)):
        principal = Principal(None, scopes)
        async with client(app.asgi(authenticate=lambda request, who=principal: who)) as http:
            assert (await http.get(f"/{id}?include=attempts")).status_code == status


PROXIED = [{"X-Forwarded-For": "192.0.2.7"}, {"Forwarded": "for=192.0.2.7"}, {"X-Forwarded-Host": "shop.example"}]


async def test_an_open_server_shows_them_to_its_own_machine_alone(app: Outlast) -> None:
    id = await broken(app)
    transport = httpx2.ASGITransport(app=service(app), client=("192.0.2.7", 4711))
    async with httpx2.AsyncClient(transport=transport, base_url="http://10.0.0.5") as http:
        assert (await http.get(f"/jobs/{id}")).status_code == 200
        refused = [await http.get(f"/jobs/{id}?include=attempts")]
    refused += [await asked(app, id, headers=headers) for headers in PROXIED]
    for reply in refused:
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden_scope")
        assert "OUTLAST_KEYS" in reply.json()["detail"]
    assert (await asked(app, id)).status_code == 200
