"""The surface as a FastAPI router: it stands in the host's own description, and answers what a mount would."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import httpx2
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection, Request
from websockets.exceptions import InvalidStatus

from outlast import Context, Outlast
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.api import JOBS
from outlast.web.openapi import describe
from tests.web.ground import SECRET, as_, client, ended, entry, make_app, serving, stream, submit
from tests.web.test_sockets import hear, opened, say

METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH", "PROPFIND")


def host_of(app: Outlast, prefix: str = "/jobs", **include: Any) -> FastAPI:
    host = FastAPI(lifespan=app.lifespan)
    host.include_router(app.router(), prefix=prefix, **include)
    return host


def whole(value: Any, components: Mapping[str, Any]) -> Any:
    """A part of our own description with its references resolved."""
    if isinstance(value, list):
        return [whole(one, components) for one in value]
    if isinstance(value, dict) and "$ref" in value:
        kind, name = value["$ref"].split("/")[-2:]
        return whole(components[kind][name], components)
    if isinstance(value, dict):
        # Links go by names of operations, which are the host's own.
        return {key: whole(one, components) for key, one in value.items() if key != "links"}
    return value


def accepts(document: Any, value: Any) -> bool:
    """Whether the document would have this as the body of a submit."""
    body = document["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return bool(Draft202012Validator(body).is_valid(value))


# -- the host's description -----------------------------------------------------------------------------------------


def test_the_hosts_description_says_of_each_route_what_ours_does() -> None:
    app = make_app()
    ours = describe(app, [("/jobs", route) for route in JOBS], "")
    theirs = host_of(app).openapi()
    validate(theirs, cls=OpenAPIV31SpecValidator)
    assert theirs["paths"].keys() == ours["paths"].keys()
    for path, item in whole(ours["paths"], ours["components"]).items():
        of_path = item.pop("parameters", [])
        assert theirs["paths"][path].keys() == item.keys()
        for method, operation in item.items():
            told = theirs["paths"][path][method]
            assert told.get("parameters", []) == of_path + operation.get("parameters", [])
            for part in ("summary", "requestBody", "responses"):
                assert told.get(part) == operation.get(part), (method, path, part)
            assert told["tags"] == ["jobs"]


def test_what_fastapi_says_of_its_own_is_not_there() -> None:
    theirs = host_of(make_app()).openapi()
    assert "HTTPValidationError" not in str(theirs) and "Successful Response" not in str(theirs)
    assert theirs["components"].keys() == {"securitySchemes"}


def test_two_routers_in_one_host_are_told_apart() -> None:
    host = host_of(make_app(), "/one")
    host.include_router(make_app().router(), prefix="/two", tags=["second"])
    theirs = host.openapi()
    names = [operation["operationId"] for item in theirs["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names)) == 2 * len(JOBS)
    assert theirs["paths"]["/two"]["post"]["tags"] == ["second", "jobs"]


def test_a_handler_that_comes_later_is_described() -> None:
    app = Outlast("memory://")
    host = host_of(app)

    @app.handler
    async def late(ctx: Context, hour: int) -> str:
        return "later"

    theirs = host.openapi()
    assert accepts(theirs, {"type": "late", "payload": {"hour": 1}})
    assert not accepts(theirs, {"type": "late", "payload": {"hour": "one"}})
    assert not accepts(theirs, {"type": "never", "payload": {}})


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]
    friends: list["Dog"] = []


def test_payloads_that_hold_themselves_or_choose_by_a_field_are_described() -> None:
    app = Outlast("memory://")

    @app.handler
    async def feed(ctx: Context, pet: Annotated[Cat | Dog, Field(discriminator="kind")]) -> Dog | None:
        return None

    theirs = host_of(app).openapi()
    validate(theirs, cls=OpenAPIV31SpecValidator)
    for pet in ({"kind": "cat"}, {"kind": "dog", "friends": [{"kind": "dog", "friends": []}]}):
        assert accepts(theirs, {"type": "feed", "payload": {"pet": pet}})
    assert not accepts(theirs, {"type": "feed", "payload": {"pet": {"kind": "cow"}}})


def test_keys_are_told_of_where_keys_let_in_and_not_where_the_host_does() -> None:
    app = make_app()
    by_keys = host_of(app).openapi()
    assert by_keys["components"]["securitySchemes"] == {"outlast": {"type": "http", "scheme": "bearer"}}
    assert by_keys["paths"]["/jobs"]["post"]["security"] == [{"outlast": []}, {}]
    host = FastAPI()
    host.include_router(app.router(authenticate=lambda request: "ann"), prefix="/jobs")
    assert "security" not in str(host.openapi()).lower()


# -- it answers as a mount ------------------------------------------------------------------------------------------


async def test_every_address_and_method_is_answered_as_when_mounted() -> None:
    app = make_app(MemoryStore(clock=FakeClock()))
    mounted = FastAPI()
    app.mount(mounted)
    async with app.lifespan(worker=False), client(mounted) as by_mount, client(host_of(app)) as by_router:
        job = await submit(by_router, "ask", question="?")
        paths = [route.path.format(id=job["id"], name="answer") for route in JOBS]
        for path in [*paths, "/", "//", "/nothing", "/a/b/c/d", f"/{job['id']}/", "/x%2Fy", "/%C3%A4"]:
            for method in METHODS:
                if (method, path) in ENDLESS or (method in CHANGES and path in paths):
                    continue
                asked = [await http.request(method, f"/jobs{path}") for http in (by_mount, by_router)]
                assert told(asked[0]) == told(asked[1]), (method, path)


ENDLESS = {("GET", "/events")}
CHANGES = {"POST", "DELETE"}
"""What is asked a second time finds another job."""


def told(reply: httpx2.Response) -> Any:
    headers = {name: value for name, value in reply.headers.items() if name != "x-request-id"}
    body = reply.json() if reply.headers.get("content-type", "").endswith("json") and reply.content else reply.text
    if isinstance(body, dict):
        body.pop("requestId", None)
    return reply.status_code, headers, body


@pytest.mark.parametrize(("prefix", "base"), [("/api/v1/jobs", "/api/v1/jobs"), ("/of/{tenant}/jobs", "/of/acme/jobs")])
@pytest.mark.parametrize("root", ["", "/behind"])
async def test_every_address_in_a_reply_begins_where_the_router_is(prefix: str, base: str, root: str) -> None:
    app = make_app()
    server = httpx2.ASGITransport(app=host_of(app, prefix), root_path=root)
    async with app.lifespan(worker=False), httpx2.AsyncClient(transport=server, base_url="http://localhost") as http:
        for asked in {base, root + base}:
            job = await submit(http, "greet", asked, name="Ada")
            assert job["urls"]["self"] == f"{root}{base}/{job['id']}"
            for path in (asked, f"{asked}/", f"{asked}/{job['id']}", f"{asked}/{job['id']}/events"):
                assert (await http.get(path)).status_code == 200, path
            assert (await http.get(f"{asked}x")).status_code == 404


async def test_a_router_within_a_router_works() -> None:
    app, outer, host = make_app(), APIRouter(prefix="/v1"), FastAPI()
    outer.include_router(app.router(), prefix="/jobs")
    host.include_router(outer, prefix="/api")
    assert "/api/v1/jobs/{id}" in host.openapi()["paths"]
    async with app.lifespan(), client(host) as http:
        job = await submit(http, "greet", "/api/v1/jobs", name="Ada")
        assert (await ended(http, job["id"], "/api/v1/jobs"))["result"] == {"greeting": "Hello Ada"}


async def test_keys_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", entry("ann", "ann", "jobs:read"))
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)
    app = make_app()
    async with app.lifespan(worker=False), client(host_of(app)) as http:
        assert (await http.get("/jobs")).json()["code"] == "unauthenticated"
        assert (await http.get("/jobs", headers=as_("ann"))).status_code == 200


# -- what the host hangs before it ----------------------------------------------------------------------------------


def refuse(connection: HTTPConnection) -> None:
    raise HTTPException(418, "the host's own refusal")


def takes_a_request(request: Request) -> None:
    pass


async def test_a_dependency_that_only_http_can_run_leaves_no_websocket_open() -> None:
    app = make_app()
    async with (
        serving(host_of(app, dependencies=[Depends(takes_a_request)]), app) as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        assert (await http.get("/jobs")).status_code == 200
        with pytest.raises(InvalidStatus):
            async with opened(http):
                pass


async def test_nothing_gets_by_the_hosts_dependencies() -> None:
    app = make_app()
    async with (
        serving(host_of(app, dependencies=[Depends(refuse)]), app) as url,
        httpx2.AsyncClient(base_url=url) as http,
    ):
        for path in [route.path for route in JOBS] + ["/", "/nothing", "/a/b/c"]:
            for method in METHODS:
                reply = await http.request(method, f"/jobs{path}")
                assert reply.status_code == 418, (method, path)
        for path in ("/jobs", "/jobs/ws", "/jobs/nothing"):
            with pytest.raises(InvalidStatus):
                async with opened(http, path):
                    pass


def look_up(connection: HTTPConnection) -> None:
    connection.state.user = connection.headers.get("x-user")


async def user(request: Request) -> str | None:
    found: str | None = request.state.user
    return found


@asynccontextmanager
async def shared() -> AsyncIterator[httpx2.AsyncClient]:
    """A host whose dependency finds who asks."""
    app = make_app()
    host = FastAPI(lifespan=app.lifespan)
    host.include_router(app.router(authenticate=user), prefix="/jobs", dependencies=[Depends(look_up)])
    async with serving(host, app) as url, httpx2.AsyncClient(base_url=url, timeout=20) as http:
        yield http


async def test_who_asks_may_be_found_by_a_dependency() -> None:
    ann, ben = {"X-User": "ann"}, {"X-User": "ben"}
    async with shared() as http:
        assert (await http.get("/jobs")).json()["code"] == "unauthenticated"
        job = (await http.post("/jobs", json={"type": "ask", "payload": {"question": "?"}}, headers=ann)).json()
        assert (await http.get(job["urls"]["self"], headers=ann)).status_code == 200
        assert (await http.get(job["urls"]["self"], headers=ben)).json()["code"] == "job_not_found"
        async with opened(http, additional_headers=ben) as socket:
            await say(socket, "subscribe", jobs=[{"id": job["id"]}])
            assert (await hear(socket, "error"))["problem"]["code"] == "job_not_found"
        async with opened(http, additional_headers=ann) as socket:
            await say(socket, "subscribe", jobs=[{"id": job["id"]}])
            assert (await hear(socket, "job.snapshot"))["job"]["urls"]["self"] == f"/jobs/{job['id']}"


async def test_a_dependency_may_read_the_body_first() -> None:
    seen: list[bytes] = []

    async def reads(request: Request) -> None:
        seen.append(await request.body())

    app = make_app()
    async with app.lifespan(), client(host_of(app, dependencies=[Depends(reads)])) as http:
        job = await submit(http, "greet", name="Ada" * 1000)
        assert (await ended(http, job["id"]))["status"] == "completed"
    assert b'"type":"greet"' in seen[0].replace(b" ", b"")


async def test_what_a_dependency_opens_and_leaves_lasts_as_long_as_the_reply() -> None:
    happened: list[str] = []

    async def opens(background: BackgroundTasks) -> AsyncIterator[None]:
        background.add_task(happened.append, "left")
        yield
        happened.append("closed")

    app = make_app()
    async with (
        serving(host_of(app, dependencies=[Depends(opens)]), app) as url,
        httpx2.AsyncClient(base_url=url, timeout=20) as http,
    ):
        job = await submit(http, "greet", name="Ada")
        async with asyncio.timeout(20):
            while happened != ["left", "closed"]:
                await asyncio.sleep(0.01)
        job = await submit(http, "count", to=10, pause=0.05)
        async with asyncio.timeout(20):
            while len(happened) < 4:
                await asyncio.sleep(0.01)
        happened.clear()
        async with stream(http, f"{job['urls']['events']}", 0) as (_, found):
            await anext(found)
            assert happened == []
            assert [one.event async for one in found][-1] == "job.completed"
        async with asyncio.timeout(20):
            while happened != ["left", "closed"]:
                await asyncio.sleep(0.01)


# -- the WebSocket --------------------------------------------------------------------------------------------------


async def test_a_client_that_goes_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app = make_app()
    async with serving(host_of(app), app) as url, httpx2.AsyncClient(base_url=url, timeout=20) as http:
        jobs = [await submit(http, "count", to=200, pause=0.001) for _ in range(5)]
        before = len(asyncio.all_tasks())
        for _ in range(5):
            async with opened(http) as socket:
                await say(socket, "subscribe", jobs=[{"id": job["id"], "after": 0} for job in jobs], scope="mine")
                await hear(socket, "job.step")
                socket.transport.abort()
        async with asyncio.timeout(20):
            while len(asyncio.all_tasks()) > before + 3:
                await asyncio.sleep(0.01)
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_handshake_that_is_refused_gets_a_problem() -> None:
    app = make_app()
    async with serving(host_of(app), app) as url, httpx2.AsyncClient(base_url=url) as http:
        for path in ("/jobs/nothing", "/jobs"):
            with pytest.raises(InvalidStatus) as raised:
                async with opened(http, path):
                    pass
            assert raised.value.response.status_code == 404
            assert b"urn:outlast:problem:not_found" in (raised.value.response.body or b"")


# -- without FastAPI ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("missing", "way_out"), [("fastapi", "pip install fastapi"), ("starlette", '".[server]"')])
def test_what_is_missing_is_named_with_what_to_install(missing: str, way_out: str) -> None:
    code = f"import sys; sys.modules['{missing}'] = None; from outlast import Outlast; Outlast('memory://').router()"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, encoding="utf-8")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"outlast.errors.ConfigurationError: {missing} is not installed")
    assert way_out in last
