"""A server that acts for its users: one key with `owner:any`, and the header `Outlast-Owner`."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from outlast.web import Principal
from outlast.web.service import service
from tests.web.ground import as_, client, entry, make_app

USUAL = "jobs:read+jobs:write+jobs:cancel"
GREET = {"type": "greet", "payload": {"name": "Ada"}}


@pytest.fixture
async def keyed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    keys = [entry("shop", "shop", f"{USUAL}+owner:any"), entry("ann", "ann", USUAL), entry("boss", "boss", "admin")]
    keys += [entry("reader", "reader", "jobs:read+owner:any")]
    monkeypatch.setenv("OUTLAST_KEYS", ",".join(keys))
    app = make_app()
    async with app.lifespan(worker=False), client(service(app)) as http:
        yield http


async def listed(http: httpx2.AsyncClient, headers: dict[str, str]) -> set[str]:
    return {job["id"] for job in (await http.get("/jobs", headers=headers)).json()["data"]}


async def test_a_server_submits_for_its_users_and_sees_what_each_of_them_would(keyed: httpx2.AsyncClient) -> None:
    made: dict[str | None, str] = {}
    for owner in ("ann", "ben", None):
        job = (await keyed.post("/jobs", json=GREET, headers=as_("shop", owner))).json()
        assert job["owner"] == (owner or "shop")
        made[owner] = job["id"]
    assert await listed(keyed, as_("ann")) == {made["ann"]}
    for owner, id in made.items():
        assert await listed(keyed, as_("shop", owner)) == {id}
        for other in made:
            reply = await keyed.get(f"/jobs/{id}", headers=as_("shop", other))
            assert (reply.status_code == 200) is (other == owner)


async def test_a_batch_and_its_counts_belong_to_the_owner_that_is_named(keyed: httpx2.AsyncClient) -> None:
    made = (await keyed.post("/jobs/batch", json={"jobs": [GREET, GREET]}, headers=as_("shop", "ann"))).json()
    own = made["urls"]["self"]
    assert (await keyed.get(own, headers=as_("ann"))).json()["total"] == 2
    assert (await keyed.get(own, headers=as_("shop"))).status_code == 404
    ended = await keyed.post(f"{own}/cancel", headers=as_("shop", "ann"))
    assert ended.json()["cancelled"] == 2
    summary = await keyed.get("/jobs/summary?since=2020-01-01T00:00:00Z", headers=as_("shop", "ann"))
    assert len(summary.json()["newest"]) == 2


async def test_the_header_takes_the_scope(keyed: httpx2.AsyncClient) -> None:
    for path in ("/jobs", "/jobs/x", "/openapi.json", "/nothing"):
        reply = await keyed.get(path, headers=as_("ann", "ann"))
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden_scope")
    assert (await keyed.post("/jobs", json=GREET, headers=as_("reader", "ann"))).status_code == 403


async def test_who_acts_for_an_owner_is_no_operator_meanwhile(keyed: httpx2.AsyncClient) -> None:
    anns = (await keyed.post("/jobs", json=GREET, headers=as_("boss", "ann"))).json()["id"]
    assert await listed(keyed, as_("boss", "ben")) == set()
    assert await listed(keyed, as_("boss")) == {anns}
    bulk = {"action": "cancel", "all": True}
    assert (await keyed.post("/jobs/bulk", json=bulk, headers=as_("boss", "ann"))).status_code == 403
    assert (await keyed.get(f"/jobs/{anns}?include=attempts", headers=as_("boss", "ann"))).status_code == 403
    assert (await keyed.get("/metrics", headers=as_("boss", "ann"))).status_code == 403


@pytest.mark.parametrize("name", ["owner", "userId"])
async def test_in_a_body_the_owner_is_refused(keyed: httpx2.AsyncClient, name: str) -> None:
    one: Any = GREET | {name: "ben"}
    for path, body in [("/jobs", one), ("/jobs/batch", {"jobs": [GREET, one]})]:
        reply = await keyed.post(path, json=body, headers=as_("shop", "ann"))
        assert (reply.status_code, reply.json()["code"]) == (422, "read_only")
    assert await listed(keyed, as_("boss")) == set()


@pytest.mark.parametrize("owner", ["", "a" * 129, "a\tb", "ünal"])
async def test_an_owner_that_cannot_be_is_refused(keyed: httpx2.AsyncClient, owner: str) -> None:
    headers = [(name.encode(), value.encode()) for name, value in as_("shop", owner).items()]
    reply = await keyed.post("/jobs", json=GREET, headers=headers)
    assert (reply.status_code, reply.json()["errors"][0]["in"]) == (422, "header")


async def test_two_owners_in_one_request_are_refused(keyed: httpx2.AsyncClient) -> None:
    headers = [*as_("shop", "ann").items(), ("Outlast-Owner", "ben")]
    assert (await keyed.post("/jobs", json=GREET, headers=headers)).status_code == 422


async def test_a_host_may_give_the_scope_too() -> None:
    def backend(request: Request) -> Principal:
        return Principal("backend", frozenset({"jobs:read", "jobs:write", "owner:any"}))

    app = make_app()
    async with app.lifespan(worker=False), client(app.asgi(authenticate=backend)) as http:
        assert (await http.post("/", json=GREET, headers={"Outlast-Owner": "ann"})).json()["owner"] == "ann"
        assert (await http.post("/", json=GREET)).json()["owner"] == "backend"
