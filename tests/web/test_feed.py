"""The owner's feed over a socket: states of all jobs, a cursor that is a time, and nothing of anybody else."""

import asyncio
import json

import httpx2
import pytest

from outlast import Outlast
from outlast.errors import StoreUnavailable
from outlast.web.service import service
from tests.web.ground import Frame, ended, make_app, read_all, serving, stream, submit, until

FEED = "/jobs/events"


async def test_it_begins_with_what_is_live_and_tells_each_change(live: httpx2.AsyncClient) -> None:
    done = await ended(live, (await submit(live, "greet", name="Ada"))["id"])
    job = await submit(live, "ask", question="?")
    waiting = await until(live, job["id"], lambda job: job["status"] == "waiting")
    async with stream(live, FEED) as (reply, found):
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reply.headers["cache-control"] == "no-cache, no-transform"
        assert reply.headers["x-accel-buffering"] == "no"
        assert reply.headers["content-encoding"] == "identity"
        states = {}
        async for one in found:
            assert (one.event, one.data["type"]) == ("job.state", "job.state")
            assert one.id == (None if one.data["cursor"] is None else str(one.data["cursor"]))
            state = one.data["job"]
            assert "result" not in state and "output" not in state
            if state["id"] == job["id"] and job["id"] not in states:
                [listed] = [one for one in (await live.get("/jobs")).json()["data"] if one["id"] == job["id"]]
                assert (state, one.data["seq"]) == (listed, waiting["seq"])
                await live.post(f"/jobs/{job['id']}/signals/answer", json="yes")
            states[state["id"]] = state
            if states.get(job["id"], {}).get("status") == "completed":
                break
    assert set(states) <= {job["id"], done["id"]}


async def test_after_each_break_whoever_comes_back_is_told_what_is_true(live: httpx2.AsyncClient) -> None:
    held: dict[str, Frame] = {}
    cursor = None
    for _ in range(3):
        await submit(live, "count", to=10, pause=0.02)
    async with asyncio.timeout(20):
        while [one.data["job"]["status"] for one in held.values()] != ["completed"] * 3:
            async with stream(live, FEED, cursor) as (_, found):
                for one in [await anext(found) for _ in range(3)]:
                    cursor = one.id or cursor
                    if one.data["seq"] >= held.get(one.data["jobId"], one).data["seq"]:
                        held[one.data["jobId"]] = one


async def test_a_quiet_feed_gives_a_cursor_without_an_event(live: httpx2.AsyncClient) -> None:
    async with live.stream("GET", FEED, headers={"Accept": "text/event-stream"}) as reply:
        lines = reply.aiter_lines()
        assert [await anext(lines) for _ in range(2)] == ["retry: 2000", ""]
        name, _, cursor = (await anext(lines)).partition(": ")
        assert name == "id" and await anext(lines) == ""
    job = await ended(live, (await submit(live, "greet", name="Ada"))["id"])
    async with stream(live, FEED, cursor) as (_, found):
        one = await anext(found)
    assert (one.data["jobId"], one.data["job"]["status"]) == (job["id"], "completed")
    async with stream(live, f"{FEED}?after={cursor}") as (_, found):
        assert (await anext(found)).data["jobId"] == job["id"]


@pytest.mark.parametrize("cursor", ["abc", "-1", "", "9" * 15])
async def test_a_cursor_that_is_none_is_let_pass(live: httpx2.AsyncClient, cursor: str) -> None:
    await ended(live, (await submit(live, "greet", name="Ada"))["id"])
    job = await submit(live, "ask", question="?")
    await until(live, job["id"], lambda job: job["status"] == "waiting")
    async with stream(live, FEED, cursor) as (_, found):
        assert (await anext(found)).data["jobId"] == job["id"]


async def test_a_change_is_told_at_once(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "ask", question="?")
    await until(live, job["id"], lambda job: job["status"] == "waiting")
    async with stream(live, FEED) as (_, found):
        await anext(found)
        async with asyncio.timeout(1):
            await live.post(f"/jobs/{job['id']}/cancel")
            while (await anext(found)).data["job"]["status"] != "cancelled":
                pass


async def test_it_comes_as_a_stream_and_in_no_other_form(live: httpx2.AsyncClient) -> None:
    for accept in ("application/json", "text/html"):
        reply = await live.get(FEED, headers={"Accept": accept})
        assert (reply.status_code, reply.json()["code"]) == (406, "not_acceptable")
    assert (await live.head(FEED)).status_code == 200


async def test_two_owners_see_nothing_of_each_other() -> None:
    app = make_app()
    api = service(app, authenticate=lambda request: request.headers.get("x-user"))
    async with serving(api, app) as url:
        clients = {
            user: httpx2.AsyncClient(base_url=url, timeout=20, headers={"X-User": user}) for user in ("ann", "ben")
        }
        async with clients["ann"] as ann, clients["ben"] as ben:
            own = await submit(ann, "ask", question="canary")
            async with stream(ben, FEED) as (_, found), stream(ben, FEED, 0) as (_, from_start):
                await ended(ann, (await submit(ann, "greet", name="canary"))["id"])
                await ann.post(f"/jobs/{own['id']}/cancel")
                mine = await submit(ben, "ask", question="?")
                assert (await anext(found)).data["jobId"] == mine["id"]
                assert (await anext(from_start)).data["jobId"] == mine["id"]


async def test_it_is_one_of_the_streams_of_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast.web.streams.STREAMS_PER_OWNER", 1)
    app = make_app()
    api = service(app, authenticate=lambda request: request.headers.get("x-user"))
    async with serving(api, app) as url, httpx2.AsyncClient(base_url=url, headers={"X-User": "ann"}) as http:
        await submit(http, "endless")
        async with stream(http, FEED) as (_, found):
            await anext(found)
            async with stream(http, FEED) as (reply, _):
                assert (reply.status_code, json.loads(await reply.aread())["code"]) == (429, "quota_exceeded")


async def test_a_stop_ends_it(live: httpx2.AsyncClient, app: Outlast) -> None:
    async with live.stream("GET", FEED, headers={"Accept": "text/event-stream"}) as reply:
        lines = reply.aiter_lines()
        await anext(lines)
        async with asyncio.timeout(1):
            await app.stop()
            rest = [line async for line in lines]
    assert rest[-2].startswith('data: {"type":"stream.end","reason":"shutdown"}')


async def test_a_store_that_goes_away_ends_it_with_an_error(
    live: httpx2.AsyncClient, app: Outlast, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    await live.get("/jobs")
    assert app._opened is not None
    monkeypatch.setattr(app._opened.store, "find", away)
    [one] = await read_all(live, FEED)
    assert (one.id, one.event, one.data) == (
        None,
        "stream.error",
        {"type": "stream.error", "code": "store_unavailable"},
    )
