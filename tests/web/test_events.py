"""The log of a job: as pages, and as a stream over a real socket."""

import asyncio
import json
from itertools import pairwise
from time import monotonic
from typing import Any

import httpx2
import pytest

from outlast import Outlast
from outlast.errors import StoreUnavailable
from outlast.output import text as text_of
from outlast.policy import Limits
from outlast.web.frames import Frame
from outlast.web.service import service
from outlast.web.streams import encoded
from tests.web.ground import ended, frames, make_app, numbers, read_all, serving, stream, submit, until

# -- pages ----------------------------------------------------------------------------------------------------------


async def test_a_log_is_read_by_the_page(http: httpx2.AsyncClient) -> None:
    job = await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    whole = (await http.get(f"/jobs/{job['id']}/events")).json()
    assert [event["seq"] for event in whole["data"]] == list(range(1, job["seq"] + 1))
    assert whole["nextAfter"] == job["seq"]
    paged: list[Any] = []
    while (reply := await http.get(f"/jobs/{job['id']}/events?limit=2&after={len(paged)}")).status_code == 200:
        paged += reply.json()["data"]
        assert reply.json()["nextAfter"] == len(paged)
    assert paged == whole["data"]
    assert (reply.status_code, reply.content) == (204, b"")


async def test_the_last_event_brings_the_job(http: httpx2.AsyncClient) -> None:
    job = await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    last = (await http.get(f"/jobs/{job['id']}/events")).json()["data"][-1]
    assert (last["type"], last["status"], last["job"]) == ("job.completed", "completed", job)


async def test_a_large_result_is_left_to_its_own_address(http: httpx2.AsyncClient) -> None:
    for size, there in [(60_000, True), (70_000, False)]:
        job = await ended(http, (await submit(http, "large", size=size))["id"])
        last = (await http.get(f"/jobs/{job['id']}/events")).json()["data"][-1]
        assert ("result" in last["job"]) is there
        assert len((await http.get(last["job"]["urls"]["result"])).json()) == size


async def test_a_page_waits_for_events(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "ask", question="?")
    waiting = await until(http, job["id"], lambda job: job["status"] == "waiting")
    path = f"/jobs/{job['id']}/events?after={waiting['seq']}&wait="
    empty = (await http.get(f"{path}0.1")).json()
    assert empty == {"data": [], "nextAfter": waiting["seq"]}

    async def answer() -> None:
        await asyncio.sleep(0.2)
        await http.post(f"/jobs/{job['id']}/signals/answer", json=1)

    reply, _ = await asyncio.gather(http.get(f"{path}10"), answer())
    assert reply.json()["data"][0]["seq"] == waiting["seq"] + 1


async def test_54_a_page_beyond_the_log_says_so_and_shows_the_job(http: httpx2.AsyncClient) -> None:
    job = await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    page = (await http.get(f"/jobs/{job['id']}/events?after=999")).json()
    assert [event["type"] for event in page["data"]] == ["job.reset", "job.snapshot"]
    assert page["nextAfter"] == job["seq"]
    assert page["data"][1]["job"] == job


async def test_events_come_in_two_forms_and_no_other(http: httpx2.AsyncClient) -> None:
    job = await ended(http, (await submit(http, "greet", name="Ada"))["id"])
    for accept, form in [
        ("text/event-stream", "text/event-stream"),
        ("text/html, text/event-stream;q=0.9", "text/event-stream"),
        ("application/json", "application/json"),
        ("text/html, */*;q=0.8", "application/json"),
    ]:
        reply = await http.get(f"/jobs/{job['id']}/events", headers={"Accept": accept})
        assert reply.headers["content-type"].startswith(form)
    reply = await http.get(f"/jobs/{job['id']}/events", headers={"Accept": "text/html"})
    assert (reply.status_code, reply.json()["code"]) == (406, "not_acceptable")


# -- streams --------------------------------------------------------------------------------------------------------


async def test_a_stream_without_a_cursor_begins_with_the_job(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "ask", question="?")
    await until(live, job["id"], lambda job: job["status"] == "waiting")
    async with stream(live, f"/jobs/{job['id']}/events") as (reply, found):
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reply.headers["cache-control"] == "no-cache, no-transform"
        assert reply.headers["x-accel-buffering"] == "no"
        assert reply.headers["content-encoding"] == "identity"
        first = await anext(found)
        now = (await live.get(f"/jobs/{job['id']}")).json()
        assert (first.event, first.id) == ("job.snapshot", str(now["seq"]))
        assert first.data["job"] | {"pollAfterMs": 0} == now | {"pollAfterMs": 0}
        await live.post(f"/jobs/{job['id']}/signals/answer", json="yes")
        rest = [first] + [frame async for frame in found]
    assert numbers(rest) == list(range(now["seq"], now["seq"] + len(rest)))
    assert (rest[-1].event, rest[-1].data["job"]["result"]) == ("job.completed", "yes")


async def test_a_stream_with_a_cursor_goes_on_behind_it(live: httpx2.AsyncClient) -> None:
    job = await ended(live, (await submit(live, "greet", name="Ada"))["id"])
    path = f"/jobs/{job['id']}/events"
    whole = await read_all(live, path, cursor=0)
    assert numbers(whole) == list(range(1, job["seq"] + 1))
    assert [frame.data for frame in whole] == (await live.get(path)).json()["data"]
    assert [frame.event for frame in whole] == [frame.data["type"] for frame in whole]
    assert await read_all(live, path, cursor=3) == whole[3:]
    assert await read_all(live, f"{path}?after=3") == whole[3:]
    assert await read_all(live, f"{path}?after=0", cursor=3) == whole[3:]


async def test_after_the_end_there_is_no_stream_any_more(live: httpx2.AsyncClient) -> None:
    job = await ended(live, (await submit(live, "greet", name="Ada"))["id"])
    path = f"/jobs/{job['id']}/events"
    (snapshot,) = await read_all(live, path)
    assert (snapshot.event, snapshot.data["job"]) == ("job.snapshot", job)
    async with stream(live, path, cursor=snapshot.id) as (reply, _):
        assert (reply.status_code, await reply.aread()) == (204, b"")


@pytest.mark.parametrize("cursor", ["999", "abc", "-1", "1.5", "", "9" * 40])
async def test_54_a_cursor_the_log_does_not_reach_is_told_so(live: httpx2.AsyncClient, cursor: str) -> None:
    job = await ended(live, (await submit(live, "greet", name="Ada"))["id"])
    reset, snapshot = await read_all(live, f"/jobs/{job['id']}/events", cursor=cursor)
    assert (reset.id, reset.event) == (None, "job.reset")
    assert (snapshot.id, snapshot.event) == (str(job["seq"]), "job.snapshot")


async def test_each_event_is_sent_as_it_happens(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "count", to=20, pause=0.05)
    async with stream(live, f"/jobs/{job['id']}/events", cursor=0) as (_, found):
        arrived = [(monotonic(), one) async for one in found]
    finished = [at for at, one in arrived if one.event == "job.step" and one.data["status"] == "completed"]
    assert len(finished) == 20
    assert max(later - earlier for earlier, later in pairwise(finished)) < 0.5
    assert finished[-1] - finished[0] > 0.5
    assert numbers([one for _, one in arrived]) == list(range(1, len(arrived) + 1))


async def test_two_readers_see_the_same(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "count", to=30)
    path = f"/jobs/{job['id']}/events"
    first, second = await asyncio.gather(read_all(live, path, cursor=0), read_all(live, path, cursor=0))
    assert first == second
    output = (await live.get(f"/jobs/{job['id']}/output")).text
    assert output == "".join(one.data["text"] for one in first if one.event == "job.output.delta")


async def test_a_long_backlog_comes_by_the_page(live: httpx2.AsyncClient, app: Outlast) -> None:
    job = await ended(live, (await submit(live, "flood", pieces=1500))["id"])
    began = monotonic()
    found = await read_all(live, f"/jobs/{job['id']}/events", cursor=0)
    assert numbers(found) == list(range(1, job["seq"] + 1))
    assert sum(len(one.data["text"]) for one in found if one.event == "job.output.delta") == 1500 * 4096
    assert monotonic() - began < 5
    assert len(text_of(await app.events(job["id"], limit=10_000))) == 1500 * 4096


async def test_a_quiet_stream_is_pinged(live: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast.web.streams.PING", 0.1)
    job = await submit(live, "endless")
    lines = []
    async with live.stream("GET", f"/jobs/{job['id']}/events", headers={"Accept": "text/event-stream"}) as reply:
        async for line in reply.aiter_lines():
            lines.append(line)
            if lines.count(": ping") == 3:
                break
    assert lines[:2] == ["retry: 2000", ""]
    assert all(line == "" for line in lines[lines.index(": ping") + 1 :: 2])


async def test_a_stream_whose_time_is_over_says_so_and_is_resumed_at_once() -> None:
    app = make_app(limits=Limits(stream=0.2))
    async with serving(service(app), app) as url, httpx2.AsyncClient(base_url=url, timeout=20) as http:
        path = (await submit(http, "count", to=40, pause=0.02))["urls"]["events"]
        seen, streams = [], 0
        while not seen or seen[-1].event != "job.completed":
            began = monotonic()
            found = await read_all(http, path, cursor=numbers(seen)[-1] if seen else 0)
            assert monotonic() - began < 2
            seen, streams = seen + found, streams + 1
    assert numbers(seen) == list(range(1, len(numbers(seen)) + 1))
    ends = [(one.id, one.data["reason"]) for one in seen if one.event == "stream.end"]
    assert ends == [(None, "deadline")] * (streams - 1)
    assert streams > 2


async def test_a_stream_ends_in_time_though_nothing_comes() -> None:
    app = make_app(limits=Limits(stream=0.2))
    async with serving(service(app), app) as url, httpx2.AsyncClient(base_url=url, timeout=20) as http:
        path = (await submit(http, "endless"))["urls"]["events"]
        async with http.stream("GET", path, headers={"Accept": "text/event-stream"}) as reply:
            lines = [line async for line in reply.aiter_lines()]
    assert lines[lines.index("retry: 100") + 1] == "event: stream.end"


async def test_a_reader_that_takes_nothing_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("outlast.web.streams.PATIENCE", 0.3)
    app = make_app()
    async with serving(service(app), app) as url, httpx2.AsyncClient(base_url=url, timeout=20) as http:
        job = await ended(http, (await submit(http, "flood", pieces=4000))["id"])
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port, limit=1024)
        lines = [
            f"GET /jobs/{job['id']}/events?after=0 HTTP/1.1",
            "Host: localhost",
            "Accept: text/event-stream",
            "",
            "",
        ]
        writer.write("\r\n".join(lines).encode())
        async with asyncio.timeout(10):
            while "cut off" not in caplog.text:
                await asyncio.sleep(0.05)
        received = await reader.read()
        assert 0 < len(received) < 4000 * 4096
        assert not received.endswith(b"0\r\n\r\n"), "what is cut off must not look complete"
        writer.close()
        await writer.wait_closed()
        assert len(await read_all(http, f"/jobs/{job['id']}/events", cursor=0)) == job["seq"]


async def test_readers_that_leave_leave_nothing_behind(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "endless")
    await until(live, job["id"], lambda job: job["status"] == "processing")
    before = len(asyncio.all_tasks())
    for _ in range(20):
        async with stream(live, f"/jobs/{job['id']}/events") as (_, found):
            await anext(found)
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > before + 3:
            await asyncio.sleep(0.05)


async def test_an_owner_has_so_many_streams_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast.web.streams.STREAMS_PER_OWNER", 2)
    app = make_app()
    api = service(app, authenticate=lambda request: request.headers.get("x-user"))
    async with serving(api, app) as url, httpx2.AsyncClient(base_url=url, headers={"X-User": "ann"}) as http:
        path = (await submit(http, "endless"))["urls"]["events"]
        async with stream(http, path) as (_, one), stream(http, path) as (_, two):
            await anext(one)
            await anext(two)
            async with stream(http, path) as (reply, _):
                assert (reply.status_code, json.loads(await reply.aread())["code"]) == (429, "quota_exceeded")
                assert reply.headers["retry-after"] == "5"
        async with asyncio.timeout(5):
            while True:
                async with stream(http, path) as (reply, _):
                    if reply.status_code == 200:
                        return


async def test_a_store_that_goes_away_ends_the_stream_with_an_error(
    live: httpx2.AsyncClient, app: Outlast, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submit(live, "ask", question="?")
    waiting = await until(live, job["id"], lambda job: job["status"] == "waiting")

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(app, "events", away)
    found = await read_all(live, f"/jobs/{job['id']}/events", cursor=waiting["seq"] - 1)
    assert [(one.id, one.event) for one in found] == [(None, "stream.error")]


async def test_a_job_that_is_removed_ends_its_streams(live: httpx2.AsyncClient, app: Outlast) -> None:
    job = await submit(live, "ask", question="?")
    await until(live, job["id"], lambda job: job["status"] == "waiting")
    async with stream(live, f"/jobs/{job['id']}/events") as (_, found):
        await anext(found)
        await live.post(f"/jobs/{job['id']}/cancel")
        assert [one.event async for one in found] == ["job.cancelled"]
    await live.delete(f"/jobs/{job['id']}")
    async with stream(live, f"/jobs/{job['id']}/events") as (reply, _):
        assert reply.status_code == 404


@pytest.mark.parametrize("text", ["a\nid: 9\n\ndata: x", "\r\n\r\nevent: evil", "\u2028\u2029\x85", "a\rb"])
async def test_nothing_that_is_written_can_begin_a_frame(text: str) -> None:
    async def lines() -> Any:
        written = encoded(Frame({"type": "job.log", "message": text}, id=7)).decode()
        for line in written.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
            yield line

    (one,) = [one async for one in frames(lines())]
    assert (one.id, one.event, one.data["message"]) == ("7", "job.log", text)
