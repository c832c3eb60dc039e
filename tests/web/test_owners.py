"""Who sees what: two owners on every route, scopes, keys, hosts and origins."""

import hashlib
import re
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import httpx2
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from outlast import Outlast
from outlast.errors import ConfigurationError
from outlast.web import Principal
from outlast.web.keys import parse_keys
from outlast.web.service import service
from tests.web.ground import as_, client, entry, make_app, submit

KEYS = [
    entry("ann", "ann", "jobs:read+jobs:write+jobs:cancel"),
    entry("ben", "ben", "jobs:read+jobs:write+jobs:cancel"),
    entry("reader", "ann", "jobs:read"),
    entry("writer", "ann", "jobs:write"),
    entry("boss", "boss", "admin"),
]


@pytest.fixture
async def keyed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("OUTLAST_KEYS", ", ".join(KEYS))
    app = make_app()
    async with app.lifespan(worker=False), client(service(app)) as http:
        yield http


async def submitted(http: httpx2.AsyncClient, key: str, **options: Any) -> Any:
    body = {"type": "greet", "payload": {"name": "Ada"}} | options
    reply = await http.post("/jobs", json=body, headers=as_(key))
    assert reply.status_code == 202
    return reply.json()


ROUTES = [
    ("GET", "", {}),
    ("GET", "?wait=5&since=v1", {}),
    ("GET", "?include=payload", {}),
    ("GET", "", {"If-None-Match": "*"}),
    ("DELETE", "", {}),
    ("GET", "/result", {}),
    ("GET", "/output", {}),
    ("GET", "/events", {}),
    ("GET", "/events?after=0&wait=5", {}),
    ("GET", "/events", {"Accept": "text/event-stream"}),
    ("GET", "/events", {"Accept": "text/event-stream", "Last-Event-ID": "0"}),
    ("POST", "/cancel", {}),
    ("POST", "/retry", {}),
    ("POST", "/retry?force=true", {}),
    ("POST", "/signals/answer", {"Content-Type": "application/json"}),
]


@pytest.mark.parametrize(("method", "path", "headers"), ROUTES)
async def test_another_owners_job_is_not_there(
    keyed: httpx2.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> None:
    job = await submitted(keyed, "ann")
    content = b"1" if "signals" in path else None
    asked: Any = {"content": content, "headers": headers | as_("ben")}
    foreign = await keyed.request(method, f"/jobs/{job['id']}{path}", **asked)
    unknown = await keyed.request(method, f"/jobs/job_038G676ZMA6TPAJ0WMP67MDPD6FZ8{path}", **asked)
    assert (foreign.status_code, foreign.content) == (404, unknown.content)
    assert foreign.json()["code"] == "job_not_found"
    assert untold(foreign) == untold(unknown)
    still = (await keyed.get(f"/jobs/{job['id']}", headers=as_("ann"))).json()
    assert still == job | {"pollAfterMs": still["pollAfterMs"]}


def untold(reply: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name != "x-request-id"}


async def test_owners_neither_see_nor_count_each_others_jobs(keyed: httpx2.AsyncClient) -> None:
    anns = [(await submitted(keyed, "ann"))["id"] for _ in range(3)]
    bens = [(await submitted(keyed, "ben"))["id"]]
    for key, ids in [("ann", anns), ("ben", bens), ("boss", anns + bens)]:
        page = (await keyed.get("/jobs", headers=as_(key))).json()
        assert {job["id"] for job in page["data"]} == set(ids)
    cursor = (await keyed.get("/jobs?limit=1", headers=as_("ann"))).json()["nextCursor"]
    page = (await keyed.get(f"/jobs?limit=1&cursor={cursor}", headers=as_("ben"))).json()
    assert not {job["id"] for job in page["data"]} & set(anns)


async def test_a_key_of_one_owner_is_not_the_key_of_another(keyed: httpx2.AsyncClient) -> None:
    replies = [
        await keyed.post("/jobs", json={"type": "greet", "payload": {"name": name}}, headers=as_(key) | again)
        for key, name in [("ann", "A"), ("ben", "B")]
        for again in [{"Idempotency-Key": "same"}]
    ]
    assert [reply.status_code for reply in replies] == [202, 202]
    assert [reply.json()["owner"] for reply in replies] == ["ann", "ben"]


@pytest.mark.parametrize(
    ("key", "method", "path", "allowed"),
    [
        ("reader", "GET", "", True),
        ("reader", "GET", "/events", True),
        ("reader", "POST", "/cancel", False),
        ("reader", "POST", "/retry", False),
        ("reader", "POST", "/signals/x", False),
        ("reader", "DELETE", "", False),
        ("writer", "GET", "", False),
        ("writer", "GET", "/output", False),
        ("writer", "POST", "/cancel", False),
        ("writer", "DELETE", "", True),
        ("boss", "GET", "", True),
        ("boss", "POST", "/cancel", True),
    ],
)
async def test_a_key_does_what_its_scopes_say(
    keyed: httpx2.AsyncClient, key: str, method: str, path: str, allowed: bool
) -> None:
    job = await submitted(keyed, "ann")
    reply = await keyed.request(method, f"/jobs/{job['id']}{path}", headers=as_(key))
    assert (reply.status_code != 403) is allowed
    if not allowed:
        assert reply.json()["code"] == "forbidden_scope"
        assert (await keyed.get(f"/jobs/{job['id']}", headers=as_("ann"))).json()["status"] == "queued"


async def test_a_reader_may_not_submit_nor_a_writer_list(keyed: httpx2.AsyncClient) -> None:
    body = {"type": "greet", "payload": {"name": "Ada"}}
    assert (await keyed.post("/jobs", json=body, headers=as_("reader"))).status_code == 403
    assert (await keyed.get("/jobs", headers=as_("writer"))).status_code == 403


PATHS = ["/jobs", "/jobs/", "/jobs/healthz", "/jobs/x/readyz", "/jobs//healthz", "/jobs/%2fhealthz", "/jobs/x/y/z"]
PATHS += ["/openapi.json", "//healthz", "/healthz/", "/jobs/openapi.json", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_gets_by_without_a_key(keyed: httpx2.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "HEAD", "PUT"):
        reply = await keyed.request(method, httpx2.URL("http://localhost", raw_path=path.encode()))
        assert reply.status_code == 401, method


async def test_the_bare_address_names_what_there_is(keyed: httpx2.AsyncClient) -> None:
    told = (await keyed.get("/")).json()
    assert told.pop("name") == "outlast"
    for path in told.values():
        assert (await keyed.get(path, headers=as_("boss"))).status_code == 200
    assert (await keyed.post("/")).status_code == 405


async def test_health_needs_no_key(keyed: httpx2.AsyncClient) -> None:
    assert (await keyed.get("/healthz")).status_code == 200
    assert (await keyed.get("/readyz")).status_code == 200
    assert (await keyed.get("/openapi.json", headers=as_("reader"))).status_code == 200


# -- the host's own users -------------------------------------------------------------------------------------------


async def user_of(request: Request) -> str | Principal | None:
    name = request.headers.get("x-user")
    return Principal(name, frozenset({"jobs:read"})) if name == "guest" else name


def now_of(request: Request) -> str | Principal | None:
    return request.headers.get("x-user")


@pytest.mark.parametrize("authenticate", [user_of, now_of])
async def test_a_host_says_who_asks(authenticate: Any) -> None:
    app = make_app()
    async with app.lifespan(worker=False), client(app.asgi(authenticate=authenticate)) as http:
        body = {"type": "greet", "payload": {"name": "Ada"}}
        unknown = await http.post("/", json=body)
        assert (unknown.status_code, unknown.json()["code"]) == (401, "unauthenticated")
        assert "did not recognise the caller" in unknown.json()["detail"]
        assert not {"key", "Bearer"} & set(re.findall(r"\w+", unknown.text))
        assert "WWW-Authenticate" not in unknown.headers
        job = (await http.post("/", json=body, headers={"X-User": "a@example.com"})).json()
        assert job["owner"] == "a@example.com"
        assert (await http.get(f"/{job['id']}", headers={"X-User": "a@example.com.evil"})).status_code == 404
        if authenticate is user_of:
            assert (await http.post("/", json=body, headers={"X-User": "guest"})).status_code == 403


@pytest.mark.parametrize(("status", "code"), [(401, "unauthenticated"), (403, "forbidden")])
async def test_a_host_may_say_no_in_its_own_way(status: int, code: str) -> None:
    def no(request: Request) -> str:
        raise HTTPException(status, "canary", {"WWW-Authenticate": "Negotiate", "X-Other": "canary"})

    async with client(make_app().asgi(authenticate=no)) as http:
        reply = await http.get("/")
    assert reply.headers.get("www-authenticate") == ("Negotiate" if status == 401 else None)
    assert "X-Other" not in reply.headers
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert "canary" not in reply.text


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:9", "http://localhost.evil.example"]
)
async def test_a_foreign_page_changes_nothing_for_a_user(origin: str) -> None:
    app = make_app()
    async with app.lifespan(worker=False), client(app.asgi(authenticate=now_of)) as http:
        own = {"X-User": "ann", "Origin": "http://localhost"}
        job = (await http.post("/", json={"type": "greet", "payload": {"name": "Ada"}}, headers=own)).json()
        for method, path in [("POST", "/"), ("POST", f"/{job['id']}/cancel"), ("DELETE", f"/{job['id']}")]:
            reply = await http.request(method, path, headers={"X-User": "ann", "Origin": origin})
            assert (reply.status_code, reply.json()["code"]) == (403, "origin_refused")
        assert (await http.get(f"/{job['id']}", headers={"X-User": "ann", "Origin": origin})).status_code == 200


# -- open on one's own machine --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "app.localhost", "web"]
)
async def test_an_open_server_answers_to_its_own_names(idle: httpx2.AsyncClient, host: str) -> None:
    assert (await idle.get("/jobs", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "a b", "x@y.z"]
)
async def test_an_open_server_answers_to_no_foreign_name(idle: httpx2.AsyncClient, host: str) -> None:
    for path in ("/jobs", "/openapi.json"):
        reply = await idle.get(path, headers={"Host": host})
        assert (reply.status_code, reply.json()["code"]) == (421, "host_refused")


async def test_an_open_server_sees_the_jobs_of_all(idle: httpx2.AsyncClient, app: Outlast) -> None:
    await app.submit("greet", {"name": "Ada"}, owner="ann")
    job = await submit(idle, "greet", name="Ben")
    assert job["owner"] is None
    assert len((await idle.get("/jobs")).json()["data"]) == 2


# -- keys as text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["ann", "ann:ann:jobs:read", entry("a", "b", "jobs:fly"), entry("a", "", "admin"), "a:b:admin:" + "z" * 64],
)
def test_a_key_of_another_form_is_refused_by_its_place(text: str) -> None:
    with pytest.raises(ConfigurationError, match="OUTLAST_KEYS, entry 2") as refused:
        parse_keys(f"{KEYS[0]},{text}")
    assert hashlib.sha256(b"a").hexdigest() not in str(refused.value)


def test_a_key_may_end_on_a_day_that_there_is() -> None:
    until, never = parse_keys(f"{KEYS[0]}:2027-01-31,{KEYS[1]}")
    assert (until.until, never.until) == (date(2027, 1, 31), None)
    with pytest.raises(ConfigurationError, match="no day 2027-02-30"):
        parse_keys(f"{KEYS[0]}:2027-02-30")


def test_keys_know_their_owner_and_scopes() -> None:
    (key,) = parse_keys(f" {KEYS[2]} ,")
    assert (key.id, key.principal) == ("reader", Principal("ann", frozenset({"jobs:read"})))
