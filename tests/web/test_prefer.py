"""`Prefer: wait` and `Cancel-After`: the answer is the ended job if it ends in time, else 202, and no job hangs."""

import asyncio
from time import monotonic

import httpx2
import pytest
from starlette.requests import Request

from outlast import Outlast
from outlast.web.prefer import Preference, preference
from tests.web.ground import eventually, submit


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([], Preference(None, "")),
        (["wait=10"], Preference(10.0, "wait=10")),
        (["respond-async, wait=10"], Preference(10.0, "respond-async, wait=10")),
        (["Respond-Async", 'WAIT = "3"'], Preference(3.0, "respond-async, wait=3")),
        (["wait=3;urgent, wait=9"], Preference(3.0, "wait=3")),
        (["wait=9999"], Preference(25.0, "wait=25")),
        (["wait=-1"], Preference(None, "")),
        (["wait=soon, respond-async"], Preference(None, "respond-async")),
        (["wait=٣"], Preference(None, "")),
        (["return=minimal; x=1, handling=lenient"], Preference(None, "")),
    ],
)
def test_a_preference_is_honoured_or_passed_over(sent: list[str], expected: Preference) -> None:
    headers = [(b"prefer", value.encode()) for value in sent]
    request = Request({"type": "http", "headers": headers})
    assert preference(request, 25.0, "respond-async") == expected


async def test_a_submit_that_waits_answers_with_the_ended_job(http: httpx2.AsyncClient) -> None:
    body = {"type": "greet", "payload": {"name": "Ada"}}
    reply = await http.post("/jobs", json=body, headers={"Prefer": "respond-async, wait=10"})
    assert (reply.status_code, reply.json()["status"]) == (200, "completed")
    assert reply.json()["result"] == {"greeting": "Hello Ada"}
    assert reply.headers["preference-applied"] == "respond-async, wait=10"
    assert reply.headers["location"] == f"/jobs/{reply.json()['id']}"
    assert "Preference-Applied" in reply.headers["access-control-expose-headers"]


async def test_a_failed_job_is_an_answer_too(http: httpx2.AsyncClient) -> None:
    reply = await http.post("/jobs", json={"type": "broken", "payload": {}}, headers={"Prefer": "wait=10"})
    assert (reply.status_code, reply.json()["status"]) == (200, "failed")


async def test_what_takes_longer_is_202_and_goes_on(http: httpx2.AsyncClient) -> None:
    began = monotonic()
    body = {"type": "count", "payload": {"to": 3, "pause": 0.6}}
    reply = await http.post("/jobs", json=body, headers={"Prefer": "wait=1"})
    assert 1 <= monotonic() - began < 1.7
    assert (reply.status_code, reply.json()["status"]) == (202, "processing")
    assert reply.headers["preference-applied"] == "wait=1"
    ended = await http.get(reply.headers["location"], headers={"Prefer": "wait=10"})
    assert (ended.status_code, ended.json()["result"]) == (200, 3)
    assert ended.headers["preference-applied"] == "wait=10"


async def test_a_repeated_submit_waits_for_the_same_job(http: httpx2.AsyncClient) -> None:
    body = {"type": "count", "payload": {"to": 2, "pause": 0.2}}
    headers = {"Idempotency-Key": "once", "Prefer": "wait=10"}
    first, again = await asyncio.gather(*(http.post("/jobs", json=body, headers=headers) for _ in range(2)))
    assert first.json() == again.json()
    assert (first.status_code, first.json()["result"]) == (200, 2)


async def test_a_cap_of_the_server_cuts_what_is_preferred(app: Outlast, http: httpx2.AsyncClient) -> None:
    app.limits = type(app.limits)(wait=0.2)
    reply = await http.post("/jobs", json={"type": "endless", "payload": {}}, headers={"Prefer": "wait=20"})
    assert (reply.status_code, reply.headers["preference-applied"]) == (202, "wait=0.2")


async def test_a_long_poll_may_be_asked_for_as_a_preference(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "ask", question="?")

    async def parked() -> bool:
        return bool((await http.get(f"/jobs/{job['id']}")).json()["status"] == "waiting")

    await eventually(parked)
    known = (await http.get(f"/jobs/{job['id']}")).headers["etag"]
    headers = {"If-None-Match": known, "Prefer": "wait=10"}
    news = asyncio.create_task(http.get(f"/jobs/{job['id']}", headers=headers))
    await http.post(f"/jobs/{job['id']}/signals/answer", json=1)
    reply = await news
    assert reply.status_code == 200
    assert reply.headers["etag"] != known
    nothing = await http.get(f"/jobs/{job['id']}", headers={"If-None-Match": reply.headers["etag"], "Prefer": "wait=0"})
    assert nothing.headers["preference-applied"] == "wait=0"


async def test_cancel_after_is_a_deadline(http: httpx2.AsyncClient) -> None:
    body = {"type": "endless", "payload": {}, "deadlineMs": 60_000}
    reply = await http.post("/jobs", json=body, headers={"Cancel-After": "300ms", "Prefer": "wait=10"})
    job = reply.json()
    assert (reply.status_code, job["status"], job["lastError"]["code"]) == (200, "failed", "deadline_exceeded")
    sooner = await http.post(
        "/jobs", json=body | {"deadlineMs": 200}, headers={"Cancel-After": "5m", "Prefer": "wait=10"}
    )
    assert sooner.json()["lastError"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("wrong", ["0s", "-1s", "soon", "999999d", "5"])
async def test_a_wrong_cancel_after_is_refused_and_stores_nothing(
    wrong: str, idle: httpx2.AsyncClient, app: Outlast
) -> None:
    reply = await idle.post("/jobs", json={"type": "endless", "payload": {}}, headers={"Cancel-After": wrong})
    assert (reply.status_code, reply.json()["code"]) == (422, "validation")
    assert reply.json()["errors"][0]["pointer"] == "/Cancel-After"
    assert await app.count() == {}
