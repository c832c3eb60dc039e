"""The description is valid OpenAPI 3.1, names every route and code, and is what the service really says."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from outlast import Context, Outlast
from outlast.policy import Limits
from outlast.web.api import JOBS
from outlast.web.problems import CODES
from outlast.web.service import SERVICE, service
from tests.web.ground import SECRET, as_, client, ended, entry, make_app, submit, until


@pytest.fixture
async def document(http: httpx2.AsyncClient) -> Any:
    return (await http.get("/openapi.json")).json()


def check(document: Any, component: str, value: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{component}", "components": document["components"]}
    Draft202012Validator(schema).validate(value)


def accepts(document: Any, component: str, value: Any) -> bool:
    schema = {"$ref": f"#/components/schemas/{component}", "components": document["components"]}
    return bool(Draft202012Validator(schema).is_valid(value))


async def test_the_description_is_valid(document: Any) -> None:
    validate(document, cls=OpenAPIV31SpecValidator)


async def test_an_app_without_handlers_is_described_too() -> None:
    app = Outlast("memory://")
    async with client(service(app)) as http:
        validate((await http.get("/openapi.json")).json(), cls=OpenAPIV31SpecValidator)


async def test_every_route_is_described(document: Any) -> None:
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    described = {(method, path) for method, path in described if method != "PARAMETERS"}
    assert described == {(r.method, f"/jobs{r.path}") for r in JOBS} | {(r.method, r.path) for r in SERVICE}


async def test_every_code_is_told_of_some_route(document: Any) -> None:
    told = str([reply["description"] for path in document["paths"].values() for reply in replies(path)])
    general = {"not_found", "method_not_allowed"}
    assert [code for code in CODES if code not in told and code not in general] == []


def replies(path: Any) -> list[Any]:
    return [reply for name, item in path.items() if name != "parameters" for reply in item["responses"].values()]


async def test_a_submit_is_described_by_type(document: Any) -> None:
    good = {"type": "bill", "payload": {"lines": [{"item": "tea", "price": 2.5}]}, "tags": ["a"], "delayMs": 0}
    assert accepts(document, "Submit", good)
    for wrong in [
        good | {"payload": {"lines": [{"item": "tea"}]}},
        good | {"payload": {}},
        good | {"type": "greet"},
        good | {"type": "nobody"},
        good | {"owner": "me"},
        good | {"tags": ["a b"]},
        good | {"delayMs": -1},
        {"type": "bill"},
    ]:
        assert not accepts(document, "Submit", wrong), wrong


async def test_what_the_service_says_is_what_it_said_it_would(http: httpx2.AsyncClient, document: Any) -> None:
    billed = await submit(http, "bill", lines=[{"item": "tea", "price": 2.5}])
    asked = await submit(http, "ask", question="?")
    await until(http, asked["id"], lambda job: job["status"] == "waiting")
    failed = await ended(http, (await submit(http, "broken"))["id"])
    for job in [billed, asked, failed, await ended(http, billed["id"])]:
        check(document, "AnyJob", job)
        check(document, "AnyJob", (await http.get(f"/jobs/{job['id']}?include=payload")).json())
        check(document, "EventPage", (await http.get(f"/jobs/{job['id']}/events")).json())
    check(document, "JobPage", (await http.get("/jobs?limit=2")).json())
    check(document, "Readiness", (await http.get("/readyz")).json())
    check(document, "Attached", (await http.post("/jobs/attachments", content=b"four")).json())
    for path in ("/jobs/x", "/jobs?limit=0", "/nothing", failed["urls"]["result"]):
        check(document, "Problem", (await http.get(path)).json())
    body = '{"type": "greet", "payload": {"name": NaN}}'
    reply = await http.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    check(document, "Problem", reply.json())


async def test_a_result_is_described_by_type(http: httpx2.AsyncClient, document: Any) -> None:
    job = await ended(http, (await submit(http, "bill", lines=[]))["id"])
    assert accepts(document, "bill.job", job)
    assert not accepts(document, "bill.job", job | {"result": {"total": "none"}})


async def test_names_that_components_cannot_have_are_rewritten() -> None:
    app = make_app()

    @app.handler(name="shop:report.v2")
    async def report(ctx: Context, day: str) -> str:
        return day

    async with client(service(app)) as http:
        document = (await http.get("/openapi.json")).json()
    validate(document, cls=OpenAPIV31SpecValidator)
    assert accepts(document, "Submit", {"type": "shop:report.v2", "payload": {"day": "monday"}})


# -- headers --------------------------------------------------------------------------------------------------------

SHOP = "https://shop.example"
OF_HTTP_ITSELF = {"content-type", "content-length"}


def described(document: Any, reply: httpx2.Response) -> Any:
    """What is said of a reply: of its route, and its status."""
    path = reply.request.url.path
    fitting = [at for at in document["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", at), path)]
    route = document["paths"][min(fitting, key=lambda at: at.count("{"))]
    return route[reply.request.method.lower()]["responses"][str(reply.status_code)]


def undescribed(document: Any, reply: httpx2.Response) -> set[str]:
    told = {name.lower() for name in described(document, reply)["headers"]}
    return set(reply.headers) - told - OF_HTTP_ITSELF


async def test_every_header_of_a_reply_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", entry("ann", "ann", "admin+metrics:read"))
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)
    app = make_app(limits=Limits(submits=5, payload=500, stream=0), cors=[SHOP])
    seen: set[str] = set()
    async with app.lifespan(), client(service(app), headers=as_("ann") | {"Origin": SHOP}) as http:
        document = (await http.get("/openapi.json")).json()

        async def hold(reply: httpx2.Response) -> None:
            assert undescribed(document, reply) == set(), (reply.request.method, reply.request.url, reply.status_code)
            seen.update(reply.headers)

        http.event_hooks = {"response": [hold]}
        await all_kinds_of_replies(http)
    assert {name for name in document["components"]["headers"] if name.lower() not in seen} == set()


async def all_kinds_of_replies(http: httpx2.AsyncClient) -> None:
    greet = {"type": "greet", "payload": {"name": "Ada"}}
    again = {"Idempotency-Key": "order-17", "Prefer": "wait=10"}
    job = (await http.post("/jobs", json=greet, headers=again)).json()["urls"]
    assert (await http.post("/jobs", json=greet, headers=again)).headers["Idempotency-Replayed"] == "true"
    tag = (await http.get(job["self"])).headers["ETag"]
    assert (await http.get(job["self"], headers={"If-None-Match": tag})).status_code == 304
    asked = await submit(http, "ask", question="?")
    at = asked["urls"]["self"]
    for path in ("/events", "/output", "/result", "/deliveries", "?wait=0&since=v99"):
        assert (await http.get(at + path)).is_success
    await http.get(at + "/events", headers={"Accept": "text/event-stream"})
    assert (await http.get("/jobs?limit=1")).headers["Link"]
    assert (await http.post(at + "/cancel")).is_success
    assert (await http.get(at + "/result")).status_code == 409
    assert (await http.post(at + "/retry")).status_code == 202
    assert (await http.post(f"{at}/tokens")).status_code == 201
    assert (await http.post("/jobs", json={"type": "greet", "payload": {"name": "A" * 600}})).status_code == 413
    assert (await http.post("/jobs/batch", json={"jobs": [greet] * 6})).status_code == 429
    assert (await http.get("/jobs", headers={"Authorization": "Bearer nobody"})).status_code == 401
    assert (await http.get("/jobs/ws")).status_code == 426
    for path in ("/jobs/summary", "/jobs/stats", "/jobs/workers", "/metrics", "/healthz", "/readyz"):
        assert (await http.get(path)).is_success
    assert (await http.delete(job["self"])).status_code == 204


# -- parameters -----------------------------------------------------------------------------------------------------


def schema_of(document: Any, method: str, path: str, name: str) -> Any:
    item = document["paths"][path]
    [found] = [one for one in [*item.get("parameters", []), *item[method]["parameters"]] if one["name"] == name]
    return found["schema"]


@pytest.mark.parametrize(
    ("header", "good", "bad"),
    [
        ("Idempotency-Key", ["order-17", '"order-17"', "!", "k" * 128], ["", '""', '"order', "two words", "k" * 129]),
        ("Cancel-After", ["90s", "1h30m", "1.5m", "20ms"], ["", "90", "-1s", "1 h", "soon", "5m!"]),
        ("Prefer", ["wait=1", "handling=strict", ""], []),
        ("traceparent", ["00-0", ""], []),
    ],
)
async def test_a_header_is_described_as_it_is_read(
    http: httpx2.AsyncClient, document: Any, header: str, good: list[str], bad: list[str]
) -> None:
    schema = Draft202012Validator(schema_of(document, "post", "/jobs", header))
    for value in [*good, *bad]:
        reply = await http.post("/jobs", json={"type": "bill", "payload": {"lines": []}}, headers={header: value})
        assert (reply.is_success, schema.is_valid(value)) == (value in good, value in good), value


@pytest.mark.parametrize(
    ("path", "name", "good", "bad"),
    [
        ("/jobs/{id}", "wait", [0, 0.5, 1e-05, 0.0001], [-1, 60.5, 61]),
        ("/jobs/{id}", "since", ["v12", "12", '"v12"'], ["", "v", "twelve", "v" + "1" * 16]),
        ("/jobs/{id}/output", "after", [0, 10**15 - 1], [-1, 10**15]),
        ("/jobs", "limit", [1, 200], [0, 201]),
    ],
)
async def test_a_parameter_of_a_query_is_described_as_it_is_read(
    http: httpx2.AsyncClient, document: Any, path: str, name: str, good: list[Any], bad: list[Any]
) -> None:
    job = await ended(http, (await submit(http, "bill", lines=[]))["id"])
    schema = Draft202012Validator(schema_of(document, "get", path, name))
    for value in [*good, *bad]:
        reply = await http.get(path.format(id=job["id"]), params={name: value})
        assert (reply.status_code != 422, schema.is_valid(value)) == (value in good, value in good), value


async def test_the_ids_that_there_are_have_the_form_that_is_described(http: httpx2.AsyncClient, document: Any) -> None:
    job = await submit(http, "bill", lines=[])
    batch = (await http.post("/jobs/batch", json={"jobs": [{"type": "greet", "payload": {"name": "Ada"}}]})).json()
    Draft202012Validator(schema_of(document, "get", "/jobs/{id}", "id")).validate(job["id"])
    Draft202012Validator(schema_of(document, "get", "/jobs/batches/{id}", "id")).validate(batch["batchId"])


# -- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "component", "good", "bad"),
    [
        (
            "/jobs/bulk",
            "Bulk",
            [
                {"action": "delete", "filter": {"owner": None}, "dryRun": True},
                {"action": "cancel", "all": True, "dryRun": True, "cursor": None, "reason": None},
                {"action": "retry", "filter": {"status": ["failed"]}, "from": "start", "dryRun": True},
            ],
            [
                {"action": "delete", "filter": {}, "dryRun": True},
                {"action": "delete", "filter": {"status": "queued"}, "dryRun": True},
                {"action": "delete", "filter": {"tag": ""}, "dryRun": True},
                {"action": "delete", "filter": {"tag": None, "type": "greet"}, "dryRun": True},
                {"action": "stop", "all": True, "dryRun": True},
            ],
        ),
        (
            "/jobs/tokens",
            "OwnerToken",
            [{}, {"scope": ["read"]}, {"scope": ["submit"], "type": "greet", "ttlMs": 1000}],
            [
                {"scope": []},
                {"scope": ["read", "submit"]},
                {"scope": ["submit"]},
                {"scope": ["submit"], "type": "nobody"},
                {"type": "greet"},
                {"ttlMs": 999},
            ],
        ),
        (
            "/jobs",
            "Submit",
            [
                {"type": "broken", "payload": {}, "delayMs": 0},
                {"type": "broken", "payload": {}, "runAt": "2026-11-22T10:00:00Z"},
            ],
            [{"type": "broken", "payload": {}, "delayMs": 0, "runAt": "2026-11-22T10:00:00Z"}],
        ),
    ],
)
async def test_a_body_is_described_as_it_is_read(
    monkeypatch: pytest.MonkeyPatch, path: str, component: str, good: list[Any], bad: list[Any]
) -> None:
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)
    app = make_app()
    async with app.lifespan(worker=False), client(service(app)) as http:
        document = (await http.get("/openapi.json")).json()
        for body in [*good, *bad]:
            reply = await http.post(path, json=body)
            fits = body in good
            assert (reply.is_success, accepts(document, component, body)) == (fits, fits), (body, reply.text)


# -- links ----------------------------------------------------------------------------------------------------------


def operations(document: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each with its id, itself, and what its path names."""
    for item in document["paths"].values():
        for method, operation in item.items():
            if method != "parameters":
                yield operation["operationId"], operation, item.get("parameters", [])


async def test_a_reply_that_shows_a_job_leads_to_all_that_can_be_done_with_it(document: Any) -> None:
    shown = document["paths"]["/jobs"]["post"]["responses"]["202"]["links"]
    with_a_job = {route.endpoint.__name__ for route in JOBS if route.path.startswith("/{id}")}
    assert {*shown} >= with_a_job


async def test_a_link_leads_to_a_route_that_takes_what_it_gives(document: Any) -> None:
    takes = {
        name: {one["name"] for one in [*operation.get("parameters", []), *in_path]}
        for name, operation, in_path in operations(document)
    }
    for link in document["components"]["links"].values():
        given = {name.rpartition(".")[2] for name in link["parameters"]}
        assert given <= takes[link["operationId"]], link


# -- who asks -------------------------------------------------------------------------------------------------------


async def test_a_server_with_keys_says_that_one_is_needed(document: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {} in document["security"]
    monkeypatch.setenv("OUTLAST_KEYS", entry("ann", "ann", "jobs:read"))
    app = make_app()
    async with app.lifespan(worker=False), client(service(app), headers=as_("ann")) as http:
        assert (await http.get("/openapi.json")).json()["security"] == [{"key": []}]
