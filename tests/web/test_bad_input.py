"""The catalogue of bad inputs, each by its number: one status, one code, the field that is wrong, nothing stored."""

import asyncio
import gzip
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from outlast import Context, Outlast
from outlast.web.service import service
from tests.web.ground import as_, client, entry, is_a_test, make_app, submit


@dataclass(frozen=True)
class Bad:
    """A request and what must come of it. `body` is sent as JSON unless it is text or bytes."""

    number: str
    status: int
    code: str
    body: Any = None
    pointer: str | None = None
    says: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def field_of(number: str, name: str, value: Any, *, code: str = "validation", says: str = "") -> Bad:
    """A submit that is right but for one field."""
    body = {"type": "greet", "payload": {"name": "Ada"}, name: value}
    return Bad(f"{number} {name} {value!s:.20}", 422, code, body, f"/{name}", says)


def text_of(number: str, code: str, payload: str, *, says: str = "") -> Bad:
    """A submit whose payload is this text."""
    return Bad(number, 400, code, '{"type": "greet", "payload": ' + payload + "}", says=says)


BODIES = [
    Bad("1 empty body", 400, "empty_body", b""),
    Bad("2 not JSON", 400, "invalid_json", b"type=greet", says="line"),
    Bad("3 a list", 422, "body_must_be_object", b"[]"),
    Bad("3 a string", 422, "body_must_be_object", b'"greet"'),
    Bad("3 null", 422, "body_must_be_object", b"null"),
    Bad("4 a form", 415, "unsupported_media_type", b"type=greet", headers={"Content-Type": "text/plain"}),
    Bad("4 no type", 415, "unsupported_media_type", b"{}", headers={"Content-Type": ""}),
    Bad("5 UTF-16", 400, "not_utf8", '{"type": "greet"}'.encode("utf-16")),
    Bad("5 UTF-16 declared", 400, "not_utf8", b"{}", headers={"Content-Type": "application/json; charset=utf-16"}),
    Bad("5 bad UTF-8", 400, "not_utf8", b'{"type": "\xff"}', says="byte 10"),
    Bad("6 BOM", 400, "invalid_json", b"\xef\xbb\xbf{}", says="byte order mark"),
    Bad("7 gzip", 415, "encoding_off", gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}),
    Bad("8 1 MiB + 1", 413, "payload_too_large", b" " * ((1 << 20) + 1), says="1048576"),
    text_of("10 depth 65", "too_deep", "[" * 64 + "]" * 64, says="64"),
    text_of("11 5,000 digits", "number_range", "1" * 5000),
    text_of("12 2 to the 53", "number_range", str(2**53), says="string"),
    text_of("13 1e400", "number_range", "1e400"),
    text_of("14 NaN", "invalid_json", '{"name": NaN}'),
    text_of("14 Infinity", "invalid_json", '{"name": -Infinity}'),
    text_of("15 duplicate key", "duplicate_key", '{"name": "a", "name": "b"}', says="'name'"),
    text_of("16 NUL", "nul_character", '{"name": "\\u0000"}'),
    text_of("17 lone surrogate", "lone_surrogate", '{"name": "\\ud800"}'),
    field_of("18", "prioritty", "high", code="unknown_field", says="priority"),
    field_of("18", "webhooks", {}, code="unknown_field", says="webhook"),
    Bad("17 lone low surrogate", 400, "lone_surrogate", b'{"type": "\\udc00"}'),
    Bad("15 duplicate field", 400, "duplicate_key", b'{"type": "greet", "type": "bill"}', says="'type'"),
    Bad("12 in a field", 400, "number_range", b'{"type": "greet", "delayMs": 9007199254740992}', says="string"),
    *(
        field_of("19", name, "x", code="read_only")
        for name in ("owner", "userId", "user_id", "state", "status", "attempt", "lease", "created_at", "result", "id")
    ),
    Bad("20 type missing", 422, "validation", {"payload": {"name": "Ada"}}, "/type"),
    *(
        Bad(f"{number} type", 422, "validation", {"type": type, "payload": {}}, "/type")
        for number, type in [
            ("21 empty", ""),
            ("21 spaces", "   "),
            ("23 129 characters", "g" * 129),
            ("24 newline", "gr\neet"),
            ("24 slash", "gr/eet"),
            ("24 bidi", "gr\u202eeet"),
            ("25 true", True),
        ]
    ),
    Bad("24 NUL in type", 400, "nul_character", b'{"type": "gr\\u0000eet"}'),
    Bad("22 unknown type", 422, "unknown_type", {"type": "gret", "payload": {}}, "/type", "greet"),
    field_of("25", "maxRetries", True),
    field_of("25", "delayMs", True),
    field_of("26", "maxRetries", "5"),
    field_of("26", "delayMs", "5"),
    field_of("27", "delayMs", -1),
    field_of("28", "delayMs", 1.5),
    field_of("28", "delayMs", 1.0),
    field_of("29", "delayMs", 366 * 86_400_000),
    field_of("29", "runAt", "2999-01-01T00:00:00Z"),
    field_of("31", "runAt", "2026-12-01T10:00:00", says="zone"),
    field_of("31", "runAt", "2026-12-01"),
    field_of("31", "runAt", 1795400000),
    field_of("32", "runAt", "2026-02-30T10:00:00Z"),
    field_of("33", "deadlineMs", 0),
    field_of("33", "keepMs", 0),
    text_of("34 NaN", "invalid_json", '{}, "deadlineMs": NaN'),
    field_of("35", "maxRetries", -1),
    field_of("35", "maxRetries", 1000),
    field_of("36", "priority", 99999),
    field_of("36", "priority", "urgent", says="low"),
    field_of("37", "tags", [f"t{n}" for n in range(11)]),
    field_of("37", "tags", "demo"),
    Bad("37 tag of 65", 422, "validation", {"type": "greet", "tags": ["a", "t" * 65]}, "/tags/1"),
    Bad("37 tag no string", 422, "validation", {"type": "greet", "tags": [7]}, "/tags/0"),
    field_of("38", "metadata", {"a": "x" * (16 << 10)}),
    field_of("38", "metadata", []),
    field_of("39", "externalId", "with space"),
    Bad("41 digits of another script", 422, "validation", {"type": "greet", "delayMs": "٣"}, "/delayMs"),
    Bad("41 underscores", 422, "validation", {"type": "greet", "delayMs": "1_000"}, "/delayMs"),
    Bad("payload no object", 422, "validation", {"type": "greet", "payload": [1]}, "/payload"),
    Bad("payload misses a field", 422, "validation", {"type": "greet", "payload": {}}, "/payload/name"),
    Bad("payload left out", 422, "validation", {"type": "greet"}, "/payload/name"),
    Bad(
        "25 in payload", 422, "validation", {"type": "greet", "payload": {"name": "A", "times": True}}, "/payload/times"
    ),
    Bad(
        "26 in payload", 422, "validation", {"type": "greet", "payload": {"name": "A", "times": "5"}}, "/payload/times"
    ),
    Bad(
        "18 in payload", 422, "validation", {"type": "greet", "payload": {"name": "A", "o/ther": 1}}, "/payload/o~1ther"
    ),
]

KEYS = [
    Bad(f"39 {what}", 422, "validation", {"type": "greet"}, "/Idempotency-Key", headers={"Idempotency-Key": key})
    for what, key in [
        ("empty", ""),
        ("quotes alone", '""'),
        ("129", "k" * 129),
        ("space", "a b"),
        ("half quoted", '"a'),
    ]
]


CALLBACK = "tests/webhooks/test_callback.py"
ELSEWHERE = {
    51: "tests/web/test_owners.py::test_another_owners_job_is_not_there",
    52: "tests/web/test_jobs.py::test_52_53_cancelling_is_idempotent",
    53: "tests/web/test_jobs.py::test_52_53_cancelling_is_idempotent",
    54: "tests/web/test_events.py::test_54_a_cursor_the_log_does_not_reach_is_told_so",
    **dict.fromkeys(
        range(42, 49), f"{CALLBACK}::test_a_url_that_leads_elsewhere_than_to_a_public_host_is_refused_in_one_text"
    ),
    49: f"{CALLBACK}::test_a_name_that_does_not_resolve_now_is_taken",
    59: "tests/web/test_sockets.py::test_59_binary_and_large_frames_close",
}


def test_every_number_of_the_catalogue_is_tried_or_says_why_not() -> None:
    named = [bad.number for bad in BODIES + KEYS] + [query[0] for query in QUERIES]
    named += [name.removeprefix("test_") for name in globals() if name.startswith("test_")]
    here = {int(found[0]) for name in named if (found := re.match(r"\d+", name))}
    assert all(is_a_test(reference) for reference in ELSEWHERE.values())
    assert sorted(here | ELSEWHERE.keys()) == list(range(1, 62))


@pytest.mark.parametrize("bad", BODIES + KEYS, ids=lambda bad: bad.number)
async def test_a_bad_submit_is_refused_with_its_code(idle: httpx2.AsyncClient, app: Outlast, bad: Bad) -> None:
    reply = await idle.post("/jobs", content=raw(bad.body), headers={"Content-Type": "application/json"} | bad.headers)
    problem = assert_problem(reply, bad)
    assert bad.says in json.dumps(problem, ensure_ascii=False)
    assert await app.count() == {}


def raw(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def assert_problem(reply: httpx2.Response, bad: Bad) -> Any:
    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (bad.status, bad.code), reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["status"] == bad.status
    assert problem["requestId"] == reply.headers["x-request-id"]
    assert max(len(word) for word in reply.text.split()) < 200
    if bad.pointer is not None:
        assert problem["errors"][0]["pointer"] == bad.pointer
    return problem


@pytest.mark.parametrize("head", ["Transfer-Encoding: chunked", "Content-Length: 99999999999999"])
async def test_9_an_endless_body_is_cut_off_at_the_cap(live: httpx2.AsyncClient, head: str) -> None:
    reader, writer = await asyncio.open_connection(live.base_url.host, live.base_url.port)
    lines = ["POST /jobs HTTP/1.1", "Host: localhost", "Content-Type: application/json", head, "", ""]
    writer.write("\r\n".join(lines).encode())
    answer = asyncio.create_task(reader.readline())
    sent = 0
    with suppress(ConnectionError):
        while not answer.done():
            writer.write(b"10000\r\n" + b" " * (1 << 16) + b"\r\n")
            await writer.drain()
            sent += 1 << 16
    assert b" 413 " in await answer
    assert sent < 1 << 25
    await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_22_near_names_are_told_and_no_more_than_ten() -> None:
    app = Outlast("memory://")

    async def act(ctx: Context) -> None: ...

    for number in range(30):
        app.handler(name=f"act{number}")(act)
    async with app.lifespan(worker=False), client(service(app)) as http:
        detail = (await http.post("/jobs", json={"type": "act"})).json()["detail"]
    assert 1 <= len(re.findall(r"act\d+", detail)) <= 10


async def test_a_body_that_drips_is_not_waited_for(live: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast.web.body.SECONDS", 0.2)
    reader, writer = await asyncio.open_connection(live.base_url.host, live.base_url.port)
    head = "POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    writer.write(head.encode() + b"{")
    assert b" 408 " in await reader.readline()
    await closed(writer)


async def test_every_wrong_field_is_told_at_once(idle: httpx2.AsyncClient) -> None:
    body = {"type": "greet", "owner": "me", "delayMs": -1, "tags": "x", "nonsense": 1}
    problem = (await idle.post("/jobs", json=body)).json()
    assert [error["pointer"] for error in problem["errors"]] == ["/owner", "/delayMs", "/tags", "/nonsense"]


async def test_30_a_time_in_the_past_runs_now_with_a_warning(http: httpx2.AsyncClient) -> None:
    body = {"type": "greet", "payload": {"name": "Ada"}, "runAt": "2020-01-01T00:00:00+01:00"}
    reply = await http.post("/jobs", json=body)
    assert reply.status_code == 202
    assert "past" in reply.json()["warning"]
    done = await http.get(f"{reply.json()['urls']['self']}?wait=10")
    assert done.json()["status"] == "completed"


async def test_40_a_key_with_another_body_names_the_first_job(idle: httpx2.AsyncClient) -> None:
    first = await idle.post("/jobs", json=greeting("Ada"), headers={"Idempotency-Key": "k1"})
    other = await idle.post("/jobs", json=greeting("Bob"), headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert other.json()["jobId"] == first.json()["id"]


def greeting(name: str) -> dict[str, Any]:
    return {"type": "greet", "payload": {"name": name}}


QUERIES = [
    *(("55", f"/jobs/{{id}}?wait={wait}", "/wait") for wait in ("-1", "9999", "abc", "%D9%A3", "1_0", "")),
    *(("55 events", f"/jobs/{{id}}/events?wait={wait}", "/wait") for wait in ("-1", "9999", "abc")),
    *(("57", f"/jobs?limit={limit}", "/limit") for limit in ("0", "201", "-1", "abc", "%D9%A3", "1_0")),
    *(("57 events", f"/jobs/{{id}}/events?limit={limit}", "/limit") for limit in ("0", "1001")),
    ("58", "/jobs?status=running", "/status"),
    ("58", "/jobs?status=queued,runing", "/status"),
    ("empty word", "/jobs?status=queued,", "/status"),
    ("no word", "/jobs?status=", "/status"),
    ("order", "/jobs?order=owner", "/order"),
    ("time without zone", "/jobs?createdAfter=2026-01-01T00:00:00", "/createdAfter"),
    ("since", "/jobs/{id}?since=latest", "/since"),
    ("include", "/jobs/{id}?include=secrets", "/include"),
    ("41 after", "/jobs/{id}/events?after=%D9%A3", "/after"),
    ("41 after", "/jobs/{id}/output?after=1_0", "/after"),
]


@pytest.mark.parametrize(("number", "path", "pointer"), QUERIES)
async def test_a_bad_query_is_refused(idle: httpx2.AsyncClient, number: str, path: str, pointer: str) -> None:
    job = await submit(idle, "greet", name="Ada")
    reply = await idle.get(path.format(id=job["id"]))
    problem = assert_problem(reply, Bad(number, 422, "validation", pointer=pointer))
    assert problem["errors"][0]["in"] == "query"


async def test_every_wrong_query_parameter_is_told_at_once(idle: httpx2.AsyncClient) -> None:
    job = await submit(idle, "greet", name="Ada")
    for path, wrong in [
        ("/jobs?status=foo&limit=0&cursor=x", ["/status", "/cursor", "/limit"]),
        (f"/jobs/{job['id']}?wait=x&since=y&include=z", ["/wait", "/since", "/include"]),
        (f"/jobs/{job['id']}/events?after=x&limit=0&wait=y", ["/after", "/limit", "/wait"]),
    ]:
        problem = assert_problem(await idle.get(path), Bad(path, 422, "validation"))
        assert [(error["pointer"], error["in"]) for error in problem["errors"]] == [(name, "query") for name in wrong]


async def test_what_is_no_number_of_an_event_is_told_no_bound_that_is_not_there(idle: httpx2.AsyncClient) -> None:
    job = await submit(idle, "greet", name="Ada")
    reply = await idle.get(f"/jobs/{job['id']}/events?after=x")
    assert reply.json()["detail"] == "after: a whole number from 0 on, not 'x'"
    beyond = await idle.get(f"/jobs/{job['id']}/events?after=999")
    assert [event["type"] for event in beyond.json()["data"]] == ["job.reset", "job.snapshot"]
    both = await idle.get(f"/jobs/{job['id']}/events?after=1", headers={"Last-Event-ID": "0"})
    assert both.json()["data"][0]["seq"] == 1


async def test_58_an_unknown_status_is_answered_with_the_known_ones(idle: httpx2.AsyncClient) -> None:
    detail = (await idle.get("/jobs?status=running")).json()["detail"]
    assert all(status in detail for status in ("queued", "processing", "waiting", "retrying", "completed", "cancelled"))


async def test_56_an_edited_cursor_is_refused(idle: httpx2.AsyncClient) -> None:
    for _ in range(3):
        await submit(idle, "greet", name="Ada")
    cursor = (await idle.get("/jobs?limit=1")).json()["nextCursor"]
    assert (await idle.get(f"/jobs?limit=1&cursor={cursor}")).status_code == 200
    edited = cursor[:-3] + ("A" if cursor[-3] != "A" else "B") + cursor[-2:]
    for wrong in (edited, cursor[:-1], cursor + "=", "x", "%00", "", "j" * 3000):
        reply = await idle.get(f"/jobs?limit=1&cursor={wrong}")
        assert (reply.status_code, reply.json()["code"]) == (422, "bad_cursor"), wrong
    assert (await idle.get(f"/jobs?limit=1&type=greet&cursor={cursor}")).json()["code"] == "bad_cursor"


STRANGE_IDS = [
    "x",
    "job_",
    "job_" + "0" * 29,
    "%00",
    "%ff",
    "a%0Ab",
    "%3Cb%3E",
    "'; --",
    "%25",
    "j" * 5000,
    "job_%E2%80%AE",
    "*",
]


@pytest.mark.parametrize("id", STRANGE_IDS, ids=range(len(STRANGE_IDS)))
async def test_50_a_malformed_id_is_answered_like_an_unknown_one(idle: httpx2.AsyncClient, id: str) -> None:
    unknown = await idle.get("/jobs/job_038G676ZMA6TPAJ0WMP67MDPD6FZ8")
    for method, path in [("GET", ""), ("GET", "/events"), ("GET", "/output"), ("POST", "/cancel"), ("DELETE", "")]:
        url = httpx2.URL("http://localhost", raw_path=f"/jobs/{id}{path}".encode())
        reply = await idle.request(method, url)
        assert (reply.status_code, reply.content) == (404, unknown.content), (method, path)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "BREW"])
async def test_60_another_method_is_told_which_are_allowed(idle: httpx2.AsyncClient, method: str) -> None:
    for path, allow in [
        ("/jobs", "GET, HEAD, OPTIONS, POST"),
        ("/jobs/x", "DELETE, GET, HEAD, OPTIONS"),
        ("/jobs/x/cancel", "OPTIONS, POST"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ]:
        reply = await idle.request(method, path)
        assert (reply.status_code, reply.headers["allow"]) == (405, allow)
        assert reply.json()["code"] == "method_not_allowed"


async def test_61_a_key_that_is_missing_or_wrong_is_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", "k:ann:jobs:read:" + "0" * 64)
    app = make_app()
    async with app.lifespan(worker=False), client(service(app)) as http:
        for headers in ({}, {"Authorization": "Bearer canary"}, {"Authorization": "Basic canary"}, {"X-Key": "canary"}):
            reply = await http.get("/jobs?key=canary", headers=headers)
            assert (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")
            assert "API key" in reply.json()["detail"]
            assert "canary" not in reply.text
            assert reply.headers["www-authenticate"] == "Bearer"


async def test_61_a_key_that_has_expired_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{entry(day, 'ann', 'jobs:read')}:{day}" for day in ("2020-01-01", "9999-12-31")]
    monkeypatch.setenv("OUTLAST_KEYS", ",".join(keys))
    app = make_app()
    async with app.lifespan(worker=False), client(service(app)) as http:
        expired = await http.get("/jobs", headers=as_("2020-01-01"))
        assert (expired.status_code, expired.json()["detail"]) == (401, "this API key has expired")
        assert (await http.get("/jobs", headers=as_("9999-12-31"))).status_code == 200


WISHES = [
    Bad("reason", 422, "validation", {"reason": 7}, "/reason"),
    Bad("reason too long", 422, "validation", {"reason": "x" * 501}, "/reason"),
    Bad("unknown field", 422, "unknown_field", {"resaon": "x"}, "/resaon"),
    Bad("no object", 422, "body_must_be_object", ["x"]),
    Bad("a form", 415, "unsupported_media_type", b"reason=x", headers={"Content-Type": "text/plain"}),
]


@pytest.mark.parametrize("bad", WISHES, ids=lambda bad: bad.number)
async def test_a_bad_cancel_changes_nothing(idle: httpx2.AsyncClient, bad: Bad) -> None:
    job = await submit(idle, "greet", name="Ada")
    headers = {"Content-Type": "application/json"} | bad.headers
    reply = await idle.post(f"/jobs/{job['id']}/cancel", content=raw(bad.body), headers=headers)
    assert_problem(reply, bad)
    assert (await idle.get(f"/jobs/{job['id']}")).json()["status"] == "queued"


async def test_a_signal_needs_a_printable_name_whatever_its_body(idle: httpx2.AsyncClient) -> None:
    job = await submit(idle, "ask", question="?")
    for name in ("a%0Ab", "n" * 129):
        for body in (b"1", b"{", b""):
            reply = await idle.post(f"/jobs/{job['id']}/signals/{name}", content=body)
            assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (422, "/name")


async def test_a_signal_with_a_body_that_is_no_json_is_refused(idle: httpx2.AsyncClient) -> None:
    job = await submit(idle, "ask", question="?")
    for body, sent_as, status in [(b"1", "text/plain", 415), (b"{", "application/json", 400)]:
        headers = {"Content-Type": sent_as}
        reply = await idle.post(f"/jobs/{job['id']}/signals/answer", content=body, headers=headers)
        assert reply.status_code == status


async def test_nothing_a_client_sends_gives_a_500_or_is_repeated_at_length(idle: httpx2.AsyncClient) -> None:
    long = "canary" * 1000
    for body in [
        {long: 1},
        {"type": long},
        {"type": "greet", "payload": {long: 1}},
        {"type": "greet", "priority": long},
    ]:
        reply = await idle.post("/jobs", json=body)
        assert reply.status_code == 422
        assert long[:100] not in reply.text
    assert long[:100] not in (await idle.get(f"/{long}")).text
    assert long[:100] not in (await idle.get("/jobs", headers={"Host": long})).text


async def test_an_error_of_ours_shows_nothing_of_itself(
    app: Outlast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise KeyError("canary")

    monkeypatch.setattr(app, "find", fails)
    async with client(app.asgi()) as http:
        reply = await http.get("/")
    assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
    assert "canary" not in reply.text
    assert reply.json()["requestId"] in caplog.text
    assert "canary" in caplog.text
