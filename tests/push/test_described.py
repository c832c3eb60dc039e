"""What a push calls stands in the description, where a push is set, and is answered as it says there."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from starlette.applications import Starlette
from starlette.routing import Mount

from outlast import Outlast
from outlast.errors import StoreUnavailable
from outlast.push import Cron, Push
from outlast.web.api import JOBS
from outlast.web.service import SERVICE, service
from tests.push.ground import SECRET, make_app
from tests.push.test_qstash import CURRENT, GOOD, Signed, called, made, naming
from tests.web.ground import client
from tests.web.test_openapi import described, undescribed
from tests.webhooks.ground import answers, receiving

BEARER = {"Authorization": f"Bearer {SECRET}"}
SWEEPS = {("GET", "/push/sweep"), ("POST", "/push/sweep")}
CALLS = SWEEPS | {("POST", "/push/qstash"), ("POST", "/push/dead")}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRON_SECRET", SECRET)


@pytest.fixture
async def app() -> AsyncIterator[Outlast]:
    async with receiving(answers(200)) as receiver, make_app(push=made(receiver.url(""))) as app:
        yield app


@pytest.fixture
async def http(app: Outlast) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(service(app, worker=False)) as http:
        yield http


async def document_of(push: Push | None) -> Any:
    async with make_app(push=push) as app, client(service(app, worker=False)) as http:
        return (await http.get("/openapi.json")).json()


def routes(document: Any) -> set[tuple[str, str]]:
    return {(name.upper(), path) for path, item in document["paths"].items() for name in item if name != "parameters"}


@pytest.mark.parametrize("chosen", [None, "cron", "qstash"])
async def test_what_the_push_calls_is_described_and_nothing_else(chosen: str | None) -> None:
    push, calls = {None: (None, set()), "cron": (Cron(), SWEEPS), "qstash": (made(), CALLS)}[chosen]
    document = await document_of(push)
    validate(document, cls=OpenAPIV31SpecValidator)
    others = {(r.method, f"/jobs{r.path}") for r in JOBS} | {(r.method, r.path) for r in SERVICE}
    assert routes(document) == others | calls
    assert ("secret" in document["components"]["securitySchemes"]) == (push is not None)


async def test_every_answer_is_as_it_is_described(
    app: Outlast, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = (await http.get("/openapi.json")).json()
    seen: set[tuple[str, int]] = set()

    async def hold(reply: httpx2.Response) -> None:
        await reply.aread()
        told = described(document, reply)
        [media] = told["content"].values()
        schema = media["schema"] | {"components": document["components"]}
        Draft202012Validator(schema).validate(reply.json())
        assert undescribed(document, reply) == set(), (reply.request.url, reply.status_code)
        seen.add((f"{reply.request.method} {reply.request.url.path}", reply.status_code))

    http.event_hooks = {"response": [hold]}
    await all_kinds_of_calls(app, http)

    async def unreachable(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    for verb in ("run_slice", "run_due", "dead_letter"):
        monkeypatch.setattr(app, verb, unreachable)
    await all_kinds_of_calls(app, http)
    assert seen == {(f"{method} {path}", status) for method, path in CALLS for status in (200, 401, 413, 503)}


async def all_kinds_of_calls(app: Outlast, http: httpx2.AsyncClient) -> None:
    job = await app.submit("broken", {})
    await called(http, naming(job))
    await called(http, GOOD)
    told = json.dumps({"sourceBody": base64.b64encode(naming(job).body).decode()}).encode()
    await called(http, Signed(url=GOOD.url.replace("qstash", "dead"), signs=told, body=told), "/push/dead")
    for method, path in CALLS:
        await http.request(method, path)
        await http.request(method, path, content=bytes(300_000))
    for method, path in SWEEPS:
        await http.request(method, path, headers=BEARER)


async def test_a_sweep_needs_the_secret_and_no_key(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    for method in ("get", "post"):
        assert document["paths"]["/push/sweep"][method]["security"] == [{"secret": []}]
    assert document["paths"]["/push/qstash"]["post"]["security"] == []


# -- in a host ------------------------------------------------------------------------------------------------------


def by_router(app: Outlast) -> Any:
    host = FastAPI()
    host.include_router(app.router(), prefix="/jobs")
    return host


def by_mount(app: Outlast) -> Any:
    host = Starlette()
    app.mount(host, "/jobs")
    return host


def by_asgi(app: Outlast) -> Any:
    return Starlette(routes=[Mount("/jobs", app=app.asgi())])


HOSTS = [(by_router, "/jobs/push"), (by_asgi, "/jobs/push"), (by_mount, "/push")]


@pytest.mark.parametrize(("host_of", "base"), HOSTS)
async def test_a_host_serves_what_the_push_calls(app: Outlast, host_of: Any, base: str) -> None:
    async with client(host_of(app)) as http:
        job = await app.submit("broken", {})
        assert (await called(http, naming(job), f"{base}/qstash")).json() == {"ran": True}
        for method in ("GET", "POST"):
            assert (await http.request(method, f"{base}/sweep", headers=BEARER)).json() == {"ran": 0}
        assert (await http.post(f"{base}/dead")).status_code == 401
        assert (await http.get(f"{base}/qstash")).status_code == 405


@pytest.mark.parametrize(("host_of", "base"), HOSTS)
async def test_without_a_push_a_host_serves_none_of_it(host_of: Any, base: str) -> None:
    async with make_app() as app, client(host_of(app)) as http:
        assert (await http.get(f"{base}/sweep", headers=BEARER)).status_code == 404


@pytest.mark.parametrize("host_of", [by_router, by_asgi])
async def test_what_lies_below_the_jobs_opens_none_of_them(
    app: Outlast, host_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", f"one:ada:jobs:read:{'0' * 64}")
    async with client(host_of(app)) as http:
        assert (await http.get("/jobs/push/sweep", headers=BEARER)).status_code == 200
        for path in ("push", "push/events", "push/nothing", "sweep"):
            assert (await http.get(f"/jobs/{path}", headers=BEARER)).status_code == 401


async def test_it_stands_in_the_description_of_a_host_that_includes_the_router(app: Outlast) -> None:
    theirs = by_router(app).openapi()
    validate(theirs, cls=OpenAPIV31SpecValidator)
    assert {(method, f"/jobs{path}") for method, path in CALLS} <= routes(theirs)
    assert "security" not in theirs["paths"]["/jobs/push/sweep"]["get"]
    assert theirs["paths"]["/jobs/push/sweep"]["get"]["responses"].keys() == {"200", "401", "408", "413", "500", "503"}


async def test_the_keys_of_qstash_are_nowhere_in_it(app: Outlast, http: httpx2.AsyncClient) -> None:
    text = (await http.get("/openapi.json")).text
    assert CURRENT not in text and SECRET not in text and "of-the-account" not in text
