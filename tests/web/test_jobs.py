"""The life of a job over HTTP, its log apart: submit, show, list, result, output, cancel, retry, signal, delete."""

import asyncio
import json
from time import monotonic
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from outlast import Outlast
from outlast.errors import ConfigurationError, StoreRefused, StoreUnavailable
from outlast.web.service import service
from tests.web.ground import client, ended, make_app, submit, until


async def test_an_accepted_job_is_there_at_once(idle: httpx2.AsyncClient) -> None:
    reply = await idle.post("/jobs", json={"type": "greet", "payload": {"name": "Ada"}})
    job = reply.json()
    assert reply.status_code == 202
    assert reply.headers["location"] == f"/jobs/{job['id']}"
    assert reply.headers["etag"] == '"v1"'
    assert reply.headers["retry-after"] == "1"
    assert reply.headers["cache-control"] == "private, no-cache"
    assert f'</jobs/{job["id"]}/events>; rel="events"' in reply.headers["link"]
    assert "Location" in reply.headers["access-control-expose-headers"]
    assert (await idle.get(reply.headers["location"])).json() == job


async def test_a_job_shows_what_was_asked_for(idle: httpx2.AsyncClient) -> None:
    asked = {
        "priority": "high",
        "maxRetries": 7,
        "tags": ["demo", "a:b"],
        "metadata": {"snake_case": {"z": [1.0, None]}, "a": "ü"},
        "externalId": "order-17",
    }
    options = {"delayMs": 60_000, "deadlineMs": 3_600_000, "keepMs": 5_000}
    reply = await idle.post("/jobs", json={"type": "greet", "payload": {"name": "Ada"}} | asked | options)
    job = reply.json()
    assert {name: job[name] for name in asked} == asked
    assert job["deadline"] > job["createdAt"]
    assert "payload" not in job
    assert (job["status"], job["attempt"], job["result"], job["completedAt"]) == ("queued", 0, None, None)
    assert [step["status"] for step in job["steps"]] == ["pending", "pending"]


async def test_a_payload_is_kept_as_it_was_written(idle: httpx2.AsyncClient, app: Outlast) -> None:
    written = '{ "times":1,  "name" : "A\\u0064a" }'
    body = '{"payload": ' + written + ', "type": "greet"}'
    reply = await idle.post("/jobs", content=body, headers={"Content-Type": "application/json; charset=UTF-8"})
    id = reply.json()["id"]
    assert (await app.get(id, payload=True)).payload_json == written
    shown = (await idle.get(f"/jobs/{id}?include=payload")).json()["payload"]
    assert list(shown.items()) == [("times", 1), ("name", "Ada")]


async def test_a_job_carries_the_trace_of_the_request(idle: httpx2.AsyncClient, app: Outlast) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def submitted(**headers: str) -> str:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await idle.post("/jobs", json={"type": "greet", "payload": {"name": "Ada"}}, headers=headers)
        assert reply.status_code == 202
        return str(reply.json()["id"])

    id = await submitted(traceparent=trace, idempotency_key="k")
    assert (await app.get(id)).trace == trace
    assert (await app.get(await submitted(traceparent="00-no-trace"))).trace is None
    assert (await app.get(await submitted())).trace is None
    assert await submitted(traceparent=trace.removesuffix("01") + "00", idempotency_key="k") == id


async def test_a_repeated_key_gives_the_first_job(http: httpx2.AsyncClient, app: Outlast) -> None:
    body = {"type": "greet", "payload": {"name": "Ada"}}
    first = await http.post("/jobs", json=body, headers={"Idempotency-Key": "8e03-a"})
    again = await http.post("/jobs", json=body, headers={"Idempotency-Key": '"8e03-a"'})
    assert again.status_code in (200, 202)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    await ended(http, first.json()["id"])
    late = await http.post("/jobs", json=body, headers={"Idempotency-Key": "8e03-a"})
    assert (late.status_code, late.json()["status"]) == (200, "completed")
    assert sum((await app.count()).values()) == 1


# -- show, wait -----------------------------------------------------------------------------------------------------


async def test_what_has_not_changed_is_not_sent_again(idle: httpx2.AsyncClient) -> None:
    job = await submit(idle, "greet", name="Ada")
    path = job["urls"]["self"]
    for condition in ('"v1"', 'W/"v1"', '"v0", "v1"', "*"):
        reply = await idle.get(path, headers={"If-None-Match": condition})
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", '"v1"')
        assert reply.headers["retry-after"] == "1"
        assert "x-request-id" in reply.headers
    for condition in ('"v2"', '"v11"', '"x"'):
        assert (await idle.get(path, headers={"If-None-Match": condition})).status_code == 200
    assert (await idle.get(f"{path}?since=v1")).status_code == 304
    assert (await idle.get(f"{path}?since=0")).status_code == 200


async def test_a_wait_ends_with_the_first_news(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "ask", question="?")
    waiting = await until(http, job["id"], lambda job: job["status"] == "waiting")
    path = f"{job['urls']['self']}?wait=10&since=v{waiting['version']}"
    began = monotonic()
    reply, _ = await asyncio.gather(http.get(path), later(0.2, http.post(f"/jobs/{job['id']}/signals/answer", json=1)))
    assert reply.status_code == 200
    assert reply.json()["version"] > waiting["version"]
    assert 0.1 < monotonic() - began < 5


async def later(seconds: float, awaitable: Any) -> Any:
    await asyncio.sleep(seconds)
    return await awaitable


async def test_a_wait_without_news_is_a_304_and_may_be_repeated_at_once(idle: httpx2.AsyncClient) -> None:
    job = await submit(idle, "greet", name="Ada")
    for query, headers in [("?wait=0.2&since=v1", {}), ("?wait=0.2", {"If-None-Match": '"v1"'})]:
        reply = await idle.get(job["urls"]["self"] + query, headers=headers)
        assert (reply.status_code, reply.headers["retry-after"], reply.headers["etag"]) == (304, "0", '"v1"')


async def test_a_version_that_is_not_the_jobs_is_answered_at_once(idle: httpx2.AsyncClient) -> None:
    job = await submit(idle, "greet", name="Ada")
    began = monotonic()
    for version in ("v0", "v99"):
        assert (await idle.get(f"{job['urls']['self']}?wait=20&since={version}")).status_code == 200
    assert monotonic() - began < 2


async def test_a_wait_without_a_version_is_for_the_end(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "greet", name="Ada")
    assert (await http.get(f"{job['urls']['self']}?wait=20")).json()["status"] == "completed"
    job = await submit(http, "endless")
    reply = await http.get(f"{job['urls']['self']}?wait=0.3")
    assert (reply.status_code, reply.json()["completedAt"]) == (200, None)


async def test_nobody_waits_for_news_of_an_ended_job(http: httpx2.AsyncClient) -> None:
    job = await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    began = monotonic()
    reply = await http.get(f"/jobs/{job['id']}?wait=20&since=v{job['version']}")
    assert (reply.status_code, "retry-after" in reply.headers) == (304, False)
    assert monotonic() - began < 2
    assert "sunset" in reply.headers


async def test_a_completed_job_shows_its_end(http: httpx2.AsyncClient) -> None:
    job = await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    assert (job["status"], job["progress"], job["result"]) == ("completed", 100, {"greeting": "Hello Ada"})
    assert [(step["name"], step["status"]) for step in job["steps"]] == [("look", "completed"), ("greet", "completed")]
    assert job["output"] == {"offset": 11, "complete": True}
    assert (job["pollAfterMs"], job["estimatedCompletion"]) == (None, None)
    assert job["expiresAt"] > job["completedAt"]


async def test_an_estimate_comes_from_the_types_own_history(
    http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.estimates.AGE", 0.0)
    monkeypatch.setattr("outlast.estimates.NOTHING_AGE", 0.0)
    await ended(http, (await submit(http, "count", to=5, pause=0.05))["id"])
    running = await submit(http, "count", to=1000)
    assert running["estimatedCompletion"] is not None
    assert running["pollAfterMs"] >= 1000
    await http.post(f"/jobs/{running['id']}/cancel")


# -- result, output -------------------------------------------------------------------------------------------------


async def test_a_result_comes_alone_once_there_is_one(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "ask", question="?")
    early = await http.get(job["urls"]["result"])
    assert (early.status_code, early.json()["id"]) == (202, job["id"])
    assert int(early.headers["retry-after"]) >= 1
    await http.post(f"/jobs/{job['id']}/signals/answer", json={"b": 1.0, "a": [None]})
    await ended(http, job["id"])
    reply = await http.get(job["urls"]["result"])
    assert (reply.status_code, reply.text) == (200, '{"b":1.0,"a":[null]}')
    assert reply.headers["content-type"] == "application/json"


async def test_a_job_without_a_result_says_why(http: httpx2.AsyncClient) -> None:
    failed = await ended(http, (await submit(http, "broken"))["id"])
    reply = await http.get(failed["urls"]["result"])
    assert (reply.status_code, reply.json()["code"]) == (409, "job_failed")
    assert reply.json()["lastError"]["message"] == failed["lastError"]["message"]
    cancelled = await submit(http, "ask", question="?")
    await until(http, cancelled["id"], lambda job: job["status"] == "waiting")
    await http.post(cancelled["urls"]["cancel"])
    assert (await http.get(cancelled["urls"]["result"])).json()["code"] == "job_cancelled"


async def test_output_is_read_from_any_character_on(http: httpx2.AsyncClient) -> None:
    job = await ended(http, (await submit(http, "greet", name="Zoë 😀"))["id"])
    whole = await http.get(f"/jobs/{job['id']}/output")
    assert whole.text == "Hello Zoë 😀. "
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.headers["x-output-offset"] == str(len(whole.text)) == "13"
    assert (whole.headers["x-output-complete"], whole.headers["x-output-resets"]) == ("?1", "0")
    assert (await http.get(f"/jobs/{job['id']}/output?after=11")).text == "😀. "[-2:]
    assert (await http.get(f"/jobs/{job['id']}/output?after=999")).text == ""
    assert (await http.get(f"/jobs/{job['id']}/output?channel=other")).text == ""


# -- list -----------------------------------------------------------------------------------------------------------


async def test_pages_neither_miss_nor_repeat_while_jobs_are_added(idle: httpx2.AsyncClient) -> None:
    before = [(await submit(idle, "greet", name=str(number)))["id"] for number in range(7)]
    seen, path = [], "/jobs?limit=3"
    while path:
        reply = await idle.get(path)
        page = reply.json()
        seen += [job["id"] for job in page["data"]]
        assert page["hasMore"] is (page["nextCursor"] is not None)
        path = reply.headers["link"].split(">")[0].removeprefix("<") if page["hasMore"] else ""
        await submit(idle, "greet", name="late")
    assert len(seen) == len(set(seen))
    assert set(before) <= set(seen)


async def test_oldest_first_sees_what_is_added(idle: httpx2.AsyncClient) -> None:
    ids = [(await submit(idle, "greet", name=str(number)))["id"] for number in range(3)]
    page = (await idle.get("/jobs?order=createdAt&limit=2")).json()
    await asyncio.sleep(0.005)  # within a millisecond the order is chance
    ids.append((await submit(idle, "greet", name="late"))["id"])
    rest = (await idle.get(f"/jobs?order=createdAt&limit=2&cursor={page['nextCursor']}")).json()
    found = [job["id"] for job in page["data"] + rest["data"]]
    assert sorted(found) == sorted(ids)
    assert found[-1] == ids[-1]


async def test_a_list_is_of_what_was_asked_for(http: httpx2.AsyncClient) -> None:
    greeted = await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    tagged = await http.post("/jobs", json={"type": "ask", "payload": {"question": "?"}, "tags": ["demo"]})
    await until(http, tagged.json()["id"], lambda job: job["status"] == "waiting")
    for query, wanted in [
        ("type=greet", [greeted["id"]]),
        ("tag=demo", [tagged.json()["id"]]),
        ("status=completed", [greeted["id"]]),
        ("status=waiting,queued", [tagged.json()["id"]]),
        ("type=nobody", []),
        ("createdAfter=2999-01-01T00:00:00Z", []),
        ("createdBefore=2999-01-01T00:00:00%2B01:00&status=completed", [greeted["id"]]),
        ("updatedAfter=2999-01-01T00:00:00Z", []),
        ("unknown=ignored&type=greet", [greeted["id"]]),
    ]:
        found = (await http.get(f"/jobs?{query}")).json()
        assert [job["id"] for job in found["data"]] == wanted, query
    lite = (await http.get("/jobs?type=greet")).json()["data"][0]
    assert set(lite) == set(
        "id type status version progress currentStep message createdAt updatedAt completedAt lastError urls".split()
    )


async def test_a_list_that_has_not_changed_is_not_sent_again(idle: httpx2.AsyncClient) -> None:
    await submit(idle, "greet", name="Ada")
    tag = (await idle.get("/jobs")).headers["etag"]
    assert (await idle.get("/jobs", headers={"If-None-Match": tag})).status_code == 304
    await submit(idle, "greet", name="Bob")
    assert (await idle.get("/jobs", headers={"If-None-Match": tag})).status_code == 200


# -- steer ----------------------------------------------------------------------------------------------------------


async def test_52_53_cancelling_is_idempotent(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "ask", question="?")
    await until(http, job["id"], lambda job: job["status"] == "waiting")
    first = await http.post(job["urls"]["cancel"], json={"reason": "no longer needed"})
    again = await http.post(job["urls"]["cancel"])
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert (again.status_code, again.json()) == (200, first.json())


async def test_a_running_job_is_cancelled_by_its_worker(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "endless")
    await until(http, job["id"], lambda job: job["status"] == "processing")
    asked = await http.post(job["urls"]["cancel"])
    assert asked.status_code == 202
    assert asked.json()["cancelRequestedAt"] is not None
    assert (await ended(http, job["id"]))["status"] == "cancelled"


async def test_a_retry_is_a_new_job_with_the_finished_steps(http: httpx2.AsyncClient) -> None:
    job = await ended(http, (await submit(http, "broken"))["id"])
    reply = await http.post(f"/jobs/{job['id']}/retry")
    again = reply.json()
    assert (reply.status_code, again["retryOf"]) == (202, job["id"])
    assert reply.headers["location"] == again["urls"]["self"] != job["urls"]["self"]
    assert [step["status"] for step in again["steps"]] == ["completed"]
    anew = await http.post(f"/jobs/{job['id']}/retry", json={"from": "start"})
    assert anew.json()["steps"] == []
    wrong = await http.post(f"/jobs/{job['id']}/retry", json={"from": "middle"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/from")


async def test_a_live_job_is_not_retried_and_a_completed_one_only_by_force(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "ask", question="?")
    assert (await http.post(f"/jobs/{job['id']}/retry")).json()["code"] == "job_live"
    done = await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    assert (await http.post(f"/jobs/{done['id']}/retry")).json()["code"] == "job_not_retryable"
    assert (await http.post(f"/jobs/{done['id']}/retry?force=true")).status_code == 202


async def test_a_signal_waits_for_the_job_as_well_as_the_other_way(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "ask", question="?")
    signal = f"/jobs/{job['id']}/signals/answer"
    for value in ("first", "second"):
        reply = await http.post(signal, json=value, headers={"Idempotency-Key": "one"})
        assert reply.status_code == 202 or value == "second"
    assert (await ended(http, job["id"]))["result"] == "first"
    late = await http.post(signal, json=1)
    assert (late.status_code, late.json()["code"], late.json()["jobId"]) == (409, "job_ended", job["id"])


async def test_only_an_ended_job_is_deleted(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "ask", question="?")
    live = await http.delete(f"/jobs/{job['id']}")
    assert (live.status_code, live.json()["code"]) == (409, "job_live")
    done = await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    assert (await http.delete(f"/jobs/{done['id']}")).status_code == 204
    for path in ("", "/events", "/output", "/result"):
        assert (await http.get(f"/jobs/{done['id']}{path}")).status_code == 404


# -- every route, every host ----------------------------------------------------------------------------------------


async def test_head_and_options_are_answered_on_every_route(live: httpx2.AsyncClient) -> None:
    job = await ended(live, (await submit(live, "greet", name="Ada"))["id"])
    own = f"/jobs/{job['id']}"
    for path in (
        "/jobs",
        own,
        f"{own}/result",
        f"{own}/output",
        f"{own}/events",
        "/healthz",
        "/readyz",
        "/openapi.json",
    ):
        got, head = await live.get(path), await live.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers.get("content-length") == got.headers.get("content-length")
    stream = await live.head(f"{own}/events", headers={"Accept": "text/event-stream"})
    assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    for path in ("/jobs", own, f"{own}/cancel", f"{own}/retry", f"{own}/signals/x", "/healthz"):
        reply = await live.options(path)
        assert (reply.status_code, reply.content) == (204, b"")
        assert "OPTIONS" in reply.headers["allow"]


@pytest.mark.parametrize("prefix", ["/jobs", "/api/v1/work"])
async def test_a_host_answers_the_mount_point_itself_and_every_address_follows_it(prefix: str) -> None:
    app = make_app()
    host = Starlette(routes=[Route("/", lambda request: PlainTextResponse("mine"))], lifespan=app.lifespan)
    app.mount(host, prefix)
    outer = Starlette(routes=[Mount("/outer", app=host)])
    async with app.lifespan(worker=False):
        for base, asgi in [(prefix, host), (f"/outer{prefix}", outer)]:
            async with client(asgi) as http:
                job = await submit(http, "greet", base, name="Ada")
                assert job["urls"]["self"] == f"{base}/{job['id']}"
                for path in (base, f"{base}/", job["urls"]["self"], job["urls"]["events"]):
                    assert (await http.get(path)).status_code == 200, path
                assert (await http.get(f"{base}x")).status_code == 404
                assert (await http.get(f"{base}//")).json()["code"] == "not_found"


async def test_only_hosts_with_routes_are_mounted_on(app: Outlast) -> None:
    with pytest.raises(ConfigurationError, match=r"app\.asgi"):
        app.mount(object())
    with pytest.raises(ConfigurationError, match="slash"):
        app.mount(Starlette(), "jobs/")


async def test_a_store_that_does_not_answer_is_a_503(app: Outlast, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("password=canary")

    for name in ("submit_json", "get", "find", "cancel", "workers"):
        monkeypatch.setattr(app, name, away)
    async with client(service(app)) as http:
        body = {"type": "greet", "payload": {"name": "Ada"}}
        for reply in [
            await http.post("/jobs", json=body),
            await http.get("/jobs/x"),
            await http.get("/jobs"),
            await http.post("/jobs/x/cancel"),
        ]:
            assert (reply.status_code, reply.json()["code"]) == (503, "store_unavailable")
            assert reply.headers["retry-after"] == "2"
            assert "canary" not in reply.text
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"][0]["code"]) == (503, "store_unavailable")
        assert (await http.get("/healthz")).status_code == 200


async def test_a_store_that_refuses_is_a_503_and_its_reason_is_in_the_log_alone(
    app: Outlast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused(*_: Any, **__: Any) -> Any:
        raise StoreRefused("canary is read only")

    monkeypatch.setattr(app, "submit_json", refused)
    async with client(service(app)) as http:
        body = {"type": "greet", "payload": {"name": "Ada"}}
        for reply in [await http.post("/jobs", json=body), await http.post("/jobs/batch", json={"jobs": [body]})]:
            assert (reply.status_code, reply.json()["code"]) == (503, "store_unavailable")
            assert reply.headers["retry-after"] == "2"
            assert "log says why" in reply.json()["detail"]
            assert "nothing was stored" not in reply.text, "of a damaged file nobody knows"
            assert "canary" not in reply.text
    assert "canary is read only" in caplog.text and "Traceback" not in caplog.text


async def test_readiness_tells_of_jobs_that_nobody_takes(
    idle: httpx2.AsyncClient, app: Outlast, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(idle, "greet", name="Ada")
    assert (await idle.get("/readyz")).status_code == 200
    monkeypatch.setattr("outlast.web.health.PATIENCE", 0.0)
    reply = await idle.get("/readyz")
    assert (reply.status_code, [reason["code"] for reason in reply.json()["reasons"]]) == (503, ["no_worker"])
    await app.stop()
    assert "stopping" in json.dumps((await idle.get("/readyz")).json())
