"""The description is valid OpenAPI 3.1, names every route and code, and is what the service really says."""

from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from outlast import Context, Outlast
from outlast.web.api import JOBS
from outlast.web.problems import CODES
from outlast.web.service import SERVICE, service
from tests.web.ground import client, ended, make_app, submit, until


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
