"""The WebSocket, from the outside: many jobs on one connection, who is let in, and how each kind of misuse ends it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from outlast import Outlast
from outlast.errors import StoreUnavailable
from outlast.policy import Limits
from outlast.principal import Principal
from outlast.web.service import service
from tests.web.ground import ended, make_app, serving, submit, until
from tests.web.test_owners import KEYS, as_
from tests.web.test_tokens import SECRET

Data = dict[str, Any]


PROTOCOL = Subprotocol("outlast.v1")


@asynccontextmanager
async def opened(http: httpx2.AsyncClient, path: str = "/jobs/ws", **how: Any) -> AsyncIterator[ClientConnection]:
    """A connection of the subprotocol, by the client of the library `websockets`."""
    url = f"ws://{http.base_url.host}:{http.base_url.port}{path}"
    settings: Any = {"subprotocols": [PROTOCOL], "compression": None, "ping_interval": None, "proxy": None} | how
    async with asyncio.timeout(20), connect(url, **settings) as socket:
        yield socket


async def say(socket: ClientConnection, op: str, **fields: Any) -> None:
    await socket.send(json.dumps({"op": op} | fields))


async def hear(socket: ClientConnection, *types: str) -> Data:
    """The next frame, or the next of these types."""
    while True:
        data: Data = json.loads(await socket.recv())
        if not types or data["type"] in types:
            return data


async def read_on(socket: ClientConnection) -> None:
    while True:
        await socket.recv()


async def closed(socket: ClientConnection) -> tuple[int, str]:
    """The code and the reason it ends with, whatever comes before."""
    with pytest.raises(ConnectionClosed) as raised:
        await read_on(socket)
    assert raised.value.rcvd is not None
    return raised.value.rcvd.code, raised.value.rcvd.reason


# -- many jobs on one connection -----------------------------------------------------------------------------------


async def test_many_jobs_are_followed_at_once_each_whole_and_in_order(live: httpx2.AsyncClient) -> None:
    jobs = [await submit(live, "count", to=5) for _ in range(5)]
    logs: dict[str, list[Data]] = {job["id"]: [] for job in jobs}
    async with opened(live) as socket:
        assert socket.subprotocol == "outlast.v1"
        await say(socket, "subscribe", jobs=[{"id": id, "after": 0} for id in logs])
        assert await hear(socket) == {"type": "ack", "op": "subscribe", "jobs": list(logs)}
        while not all(log and log[-1]["type"] == "job.completed" for log in logs.values()):
            data = await hear(socket)
            logs[data["jobId"]].append(data)
    for id, log in logs.items():
        assert log == (await live.get(f"/jobs/{id}/events")).json()["data"]


async def test_a_job_without_a_cursor_begins_with_a_snapshot_and_goes_on_from_there(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "ask", question="?")
    await until(live, job["id"], lambda job: job["status"] == "waiting")
    async with opened(live) as socket:
        await say(socket, "subscribe", jobs=[{"id": job["id"]}])
        await hear(socket, "ack")
        snapshot = await hear(socket)
        assert (snapshot["type"], snapshot["job"]["id"]) == ("job.snapshot", job["id"])
        await live.post(f"/jobs/{job['id']}/signals/answer", json=1)
        assert (await hear(socket))["seq"] == snapshot["seq"] + 1


async def test_who_lost_the_connection_goes_on_from_each_number(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "count", to=30)
    seen: list[Data] = []
    while not seen or seen[-1]["type"] != "job.completed":
        async with opened(live) as socket:
            await say(socket, "subscribe", jobs=[{"id": job["id"], "after": seen[-1]["seq"] if seen else 0}])
            await hear(socket, "ack")
            for _ in range(20):
                seen.append(await hear(socket))
                if seen[-1]["type"] == "job.completed":
                    break
    assert [one["seq"] for one in seen] == list(range(1, len(seen) + 1))


async def test_a_cursor_the_log_does_not_reach_is_told_so_and_one_at_the_end_too(live: httpx2.AsyncClient) -> None:
    job = await ended(live, (await submit(live, "greet", name="Ada"))["id"])
    async with opened(live) as socket:
        await say(socket, "subscribe", jobs=[{"id": job["id"], "after": 999}])
        assert [(await hear(socket))["type"] for _ in range(3)] == ["ack", "job.reset", "job.snapshot"]
        await say(socket, "subscribe", jobs=[{"id": job["id"], "after": job["seq"]}])
        assert (await hear(socket))["type"] == "ack"
        assert await hear(socket) == {"type": "stream.end", "jobId": job["id"], "reason": "complete"}


async def test_the_feed_comes_beside_the_jobs(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "ask", question="?")
    await until(live, job["id"], lambda job: job["status"] == "waiting")
    async with opened(live) as socket:
        await say(socket, "subscribe", scope="mine")
        assert await hear(socket) == {"type": "ack", "op": "subscribe", "jobs": []}
        state = await hear(socket)
        [listed] = (await live.get("/jobs")).json()["data"]
        assert (state["type"], state["job"]) == ("job.state", listed)
        begun = await hear(socket)
        assert begun == {"type": "ack", "op": "subscribe", "scope": "mine", "cursor": state["cursor"]}
        other = await submit(live, "endless")
        assert (await hear(socket, "job.state"))["jobId"] == other["id"]
        await say(socket, "unsubscribe", scope="mine")
        await hear(socket, "ack")
        await live.post(f"/jobs/{job['id']}/cancel")
        await say(socket, "subscribe", scope="mine", after=begun["cursor"])
        states = {one["jobId"]: one["job"]["status"] for one in [await hear(socket, "job.state") for _ in range(2)]}
        assert states[job["id"]] == "cancelled"


async def test_a_job_that_is_no_longer_followed_is_no_longer_told_of(live: httpx2.AsyncClient) -> None:
    jobs = [await submit(live, "ask", question="?") for _ in range(2)]
    for job in jobs:
        await until(live, job["id"], lambda job: job["status"] == "waiting")
    async with opened(live) as socket:
        await say(socket, "subscribe", jobs=[{"id": job["id"]} for job in jobs])
        await say(socket, "unsubscribe", jobs=[jobs[0]["id"]])
        while (await hear(socket, "ack"))["op"] != "unsubscribe":
            pass
        for job in jobs:
            await live.post(f"/jobs/{job['id']}/cancel")
        assert (await hear(socket, "job.cancelled"))["jobId"] == jobs[1]["id"]


async def test_a_job_is_cancelled_over_it(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "ask", question="?")
    await until(live, job["id"], lambda job: job["status"] == "waiting")
    async with opened(live) as socket:
        await say(socket, "cancel", id=job["id"], reason="no need")
        assert await hear(socket) == {"type": "ack", "op": "cancel", "jobId": job["id"], "status": "cancelled"}
        await say(socket, "ping")
        assert await hear(socket) == {"type": "pong"}
    assert (await live.get(f"/jobs/{job['id']}")).json()["cancelReason"] == "no need"


async def test_what_is_not_there_is_an_error_and_the_rest_is_followed(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "ask", question="?")
    async with opened(live) as socket:
        await say(socket, "subscribe", jobs=[{"id": job["id"], "after": 0}, {"id": "job_none"}])
        assert (await hear(socket))["jobs"] == [job["id"]]
        error = await hear(socket)
        assert (error["type"], error["op"], error["jobId"]) == ("error", "subscribe", "job_none")
        assert error["problem"] == (await live.get("/jobs/job_none")).json()
        assert (await hear(socket))["jobId"] == job["id"]
        await say(socket, "cancel", id="job_none")
        assert (await hear(socket, "error"))["problem"] == error["problem"]


# -- misuse --------------------------------------------------------------------------------------------------------

BAD_FRAMES = [
    "",
    "[]",
    "ping",
    "{}",
    '{"op": 1}',
    '{"op": "pong"}',
    '{"op": "ping", "op": "ping"}',
    '{"op": "ping", "id": 1}',
    '{"op": "ping", "x": NaN}',
    '{"op": "ping", "x": "\\ud800"}',
    '{"op": "auth"}',
    '{"op": "refresh", "token": 1}',
    '{"op": "subscribe"}',
    '{"op": "subscribe", "jobs": []}',
    '{"op": "subscribe", "jobs": "job_1"}',
    '{"op": "subscribe", "jobs": ["job_1"]}',
    '{"op": "subscribe", "jobs": [{"id": "job_1", "after": -1}]}',
    '{"op": "subscribe", "jobs": [{"id": "job_1", "after": true}]}',
    '{"op": "subscribe", "jobs": [{"id": "job_1", "after": "3"}]}',
    '{"op": "subscribe", "jobs": [{"id": "job_1", "owner": "ann"}]}',
    '{"op": "subscribe", "scope": "all"}',
    '{"op": "subscribe", "jobs": [{"id": "job_1"}], "after": 3}',
    '{"op": "unsubscribe", "jobs": [1]}',
    '{"op": "cancel", "id": ["job_1"]}',
    '{"op": "cancel", "id": "job_1", "reason": 5}',
    '{"op": "subscribe", "jobs": ' + json.dumps([{"id": f"job_{n}"} for n in range(101)]) + "}",
    "[" * 70 + "]" * 70,
]


@pytest.mark.parametrize("frame", BAD_FRAMES)
async def test_a_frame_that_asks_for_nothing_known_closes_with_4400(live: httpx2.AsyncClient, frame: str) -> None:
    async with opened(live) as socket:
        await socket.send(frame)
        error = await hear(socket)
        assert (error["type"], error["op"]) == ("error", None)
        assert error["problem"]["code"] and error["problem"]["detail"]
        assert await closed(socket) == (4400, "bad frame")


@pytest.mark.parametrize(("frame", "code"), [(b"{}", 1003), ("x" * (1 << 20), 1009), ("x" * ((64 << 10) + 1), 1009)])
async def test_59_binary_and_large_frames_close(live: httpx2.AsyncClient, frame: Any, code: int) -> None:
    async with opened(live) as socket:
        await socket.send(frame)
        assert (await closed(socket))[0] == code


async def test_who_asks_for_nothing_that_is_there_is_closed_with_4404(live: httpx2.AsyncClient) -> None:
    async with opened(live) as socket:
        await say(socket, "subscribe", jobs=[{"id": "job_none"}])
        assert (await closed(socket))[0] == 4404


async def test_who_follows_nothing_and_says_nothing_is_closed_with_4408(
    live: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.web.sockets.IDLE", 0.1)
    job = await submit(live, "ask", question="?")
    async with opened(live) as follows, opened(live) as socket:
        await say(follows, "subscribe", jobs=[{"id": job["id"]}])
        await hear(follows, "ack")
        assert (await closed(socket))[0] == 4408
        await say(follows, "ping")
        assert (await hear(follows, "pong"))["type"] == "pong"


async def test_who_says_too_much_is_closed_with_4429(live: httpx2.AsyncClient) -> None:
    async with opened(live) as socket:
        for _ in range(101):
            await say(socket, "ping")
        assert (await closed(socket))[0] == 4429


async def test_one_connection_follows_so_many_jobs_and_no_more(
    live: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.web.sockets.MOST_JOBS", 2)
    jobs = [(await submit(live, "endless"))["id"] for _ in range(3)]
    async with opened(live) as socket:
        await say(socket, "subscribe", jobs=[{"id": jobs[0], "after": 0}, {"id": jobs[1], "after": 0}], scope="mine")
        await say(socket, "subscribe", jobs=[{"id": jobs[2], "after": 0}])
        assert (await hear(socket, "error"))["problem"]["code"] == "quota_exceeded"


async def test_a_store_that_goes_away_closes_with_1013(
    live: httpx2.AsyncClient, app: Outlast, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("gone")

    async with opened(live) as socket:
        monkeypatch.setattr(app, "get_many", away)
        await say(socket, "subscribe", jobs=[{"id": "job_1"}])
        assert await closed(socket) == (1013, "store_unavailable")


async def test_a_defect_closes_with_1011_and_is_logged(
    live: httpx2.AsyncClient, app: Outlast, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("canary")

    async with opened(live) as socket:
        monkeypatch.setattr(app, "get_many", broken)
        await say(socket, "subscribe", jobs=[{"id": "job_1"}])
        code, reason = await closed(socket)
    assert code == 1011 and "canary" not in reason
    assert any(record.exc_info and record.levelno == logging.ERROR for record in caplog.records)


# -- who asks ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def keyed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)
    monkeypatch.setenv("OUTLAST_KEYS", ", ".join(KEYS))
    app = make_app()
    async with serving(service(app), app) as url, httpx2.AsyncClient(base_url=url, timeout=20) as http:
        yield http


async def of(http: httpx2.AsyncClient, key: str, type: str = "ask", **payload: Any) -> str:
    body = {"type": type, "payload": payload or {"question": "canary"}}
    reply = await http.post("/jobs", json=body, headers=as_(key))
    return str(reply.raise_for_status().json()["id"])


async def test_a_key_is_said_in_the_handshake_or_in_the_first_frame(keyed: httpx2.AsyncClient) -> None:
    job = await of(keyed, "ann")
    async with opened(keyed, additional_headers=as_("ann")) as known, opened(keyed) as unknown:
        await say(unknown, "auth", token="ann")
        assert await hear(unknown) == {"type": "ack", "op": "auth"}
        for socket in (known, unknown):
            await say(socket, "subscribe", jobs=[{"id": job, "after": 0}])
            assert (await hear(socket))["jobs"] == [job]


async def test_a_token_opens_no_more_on_a_socket_than_elsewhere(keyed: httpx2.AsyncClient) -> None:
    one, other = await of(keyed, "ann"), await of(keyed, "ann")
    minted = await keyed.post(f"/jobs/{one}/tokens", json={"scope": ["read"]}, headers=as_("ann"))
    async with opened(keyed) as socket:
        await say(socket, "auth", token=minted.raise_for_status().json()["token"])
        assert (await hear(socket))["op"] == "auth"
        for op, asked in (
            ("subscribe", {"jobs": [{"id": one}, {"id": other}]}),
            ("subscribe", {"scope": "mine"}),
            ("cancel", {"id": other}),
            ("cancel", {"id": one}),
        ):
            await say(socket, op, **asked)
            refused = await hear(socket)
            assert (refused["type"], refused["problem"]["code"]) == ("error", "forbidden_scope"), (op, asked)
        await say(socket, "subscribe", jobs=[{"id": one, "after": 0}])
        assert (await hear(socket))["jobs"] == [one]
        seen = await hear(socket, "job.created")
        assert "owner" not in seen and seen["jobId"] == one


async def test_a_connection_lives_no_longer_than_its_token_and_a_fresh_one_prolongs_it(
    keyed: httpx2.AsyncClient,
) -> None:
    job = await of(keyed, "ann")

    async def token(ttl_ms: int) -> str:
        reply = await keyed.post(f"/jobs/{job}/tokens", json={"ttlMs": ttl_ms}, headers=as_("ann"))
        return str(reply.raise_for_status().json()["token"])

    async with opened(keyed) as brief, opened(keyed) as refreshed:
        for socket in (refreshed, brief):
            await say(socket, "auth", token=await token(3_000))
            await say(socket, "subscribe", jobs=[{"id": job}])
        await say(refreshed, "refresh", token=await token(60_000))
        assert await closed(brief) == (4401, "token_expired")
        await say(refreshed, "ping")
        assert (await hear(refreshed, "pong"))["type"] == "pong"


async def test_59_whatever_comes_before_the_auth_closes(keyed: httpx2.AsyncClient) -> None:
    for frame in ['{"op": "ping"}', '{"op": "refresh", "token": "ann"}', "text", '{"op": "auth"}']:
        async with opened(keyed) as socket:
            await socket.send(frame)
            assert await closed(socket) == (1008, "the first frame must be an auth")


async def test_a_wrong_key_closes_with_4401_and_so_does_silence(
    keyed: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.web.sockets.AUTH", 0.2)
    async with opened(keyed) as socket, opened(keyed) as silent:
        await say(socket, "auth", token="nobody's")
        assert (await hear(socket))["problem"]["code"] == "unauthenticated"
        assert (await closed(socket))[0] == 4401
        assert (await closed(silent))[0] == 4401


async def test_a_key_that_may_not_read_closes_with_4403(keyed: httpx2.AsyncClient) -> None:
    async with opened(keyed) as socket:
        await say(socket, "auth", token="writer")
        assert (await closed(socket))[0] == 4403


async def test_a_fresh_key_must_be_of_the_same_owner(keyed: httpx2.AsyncClient) -> None:
    job = await of(keyed, "ann")
    async with opened(keyed, additional_headers=as_("ann")) as socket:
        await say(socket, "cancel", id=job)
        assert (await hear(socket))["type"] == "ack"
        await say(socket, "refresh", token="reader")
        assert await hear(socket) == {"type": "ack", "op": "refresh"}
        await say(socket, "cancel", id=job)
        assert (await hear(socket))["problem"]["code"] == "forbidden_scope"
        await say(socket, "refresh", token="ben")
        assert (await closed(socket))[0] == 4403


@pytest.mark.parametrize(
    ("how", "path", "status"),
    [
        ({"additional_headers": as_("nobody's")}, "/jobs/ws", 401),
        ({"additional_headers": as_("writer")}, "/jobs/ws", 403),
        ({"origin": "http://evil.example"}, "/jobs/ws", 403),
        ({"origin": "null"}, "/jobs/ws", 403),
        ({}, "/jobs/ws?token=ann", 422),
        ({}, "/jobs/ws?x", 422),
        ({"subprotocols": ["outlast.v2"]}, "/jobs/ws", 422),
        ({"subprotocols": None}, "/jobs/ws", 422),
        ({}, "/jobs", 404),
        ({}, "/jobs/job_1", 404),
        ({}, "/ws", 404),
    ],
)
async def test_a_handshake_that_is_refused_is_answered_with_a_problem(
    keyed: httpx2.AsyncClient, how: Any, path: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as raised:
        async with opened(keyed, path, **how):
            pass
    assert raised.value.response.status_code == status
    assert json.loads(raised.value.response.body)["status"] == status
    assert "X-Request-Id" in raised.value.response.headers


async def test_an_open_server_answers_to_no_foreign_name_and_to_no_foreign_page(live: httpx2.AsyncClient) -> None:
    place: Any = {"host": live.base_url.host, "port": live.base_url.port}
    with pytest.raises(InvalidStatus) as raised:
        await connect("ws://evil.example/jobs/ws", subprotocols=[PROTOCOL], proxy=None, **place)
    assert raised.value.response.status_code == 421
    with pytest.raises(InvalidStatus) as raised:
        async with opened(live, origin="http://x.test"):
            pass
    assert raised.value.response.status_code == 403
    own = f"http://{live.base_url.host}:{live.base_url.port}"
    async with opened(live, origin=own) as socket:
        await say(socket, "ping")
        assert await hear(socket) == {"type": "pong"}


async def test_two_owners_see_nothing_of_each_other(keyed: httpx2.AsyncClient) -> None:
    foreign = await of(keyed, "ann")
    async with opened(keyed, additional_headers=as_("ben")) as socket:
        await say(socket, "subscribe", jobs=[{"id": foreign}, {"id": "job_none"}], scope="mine", after=0)
        told = [await hear(socket) for _ in range(4)]
        assert told[0] == {"type": "ack", "op": "subscribe", "jobs": []}
        by_job = {one["jobId"]: one["problem"] for one in told if one["type"] == "error"}
        assert by_job[foreign] == by_job["job_none"]
        assert told[3].keys() == {"type", "op", "scope", "cursor"}
        await say(socket, "cancel", id=foreign)
        assert (await hear(socket))["problem"] == by_job["job_none"]
        await keyed.post(f"/jobs/{foreign}/cancel", headers=as_("ann"))
        own = await of(keyed, "ben")
        assert (await hear(socket))["jobId"] == own


async def test_it_is_one_of_the_streams_of_its_owner(
    keyed: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.web.streams.STREAMS_PER_OWNER", 1)
    async with opened(keyed, additional_headers=as_("ann")):
        with pytest.raises(InvalidStatus) as raised:
            async with opened(keyed, additional_headers=as_("ann")):
                pass
        assert raised.value.response.status_code == 429
        async with opened(keyed) as socket:
            await say(socket, "auth", token="ann")
            assert (await closed(socket))[0] == 4429
    async with asyncio.timeout(5):
        while (await keyed.get("/jobs/events", headers=as_("ann") | {"Accept": "application/json"})).status_code == 429:
            await asyncio.sleep(0.01)


async def test_a_plain_request_is_told_to_upgrade(live: httpx2.AsyncClient) -> None:
    reply = await live.get("/jobs/ws")
    assert (reply.status_code, reply.json()["code"], reply.headers["upgrade"]) == (426, "upgrade_required", "websocket")


async def test_a_host_says_who_asks_and_the_origin_of_its_page_counts() -> None:
    app = make_app()
    host = Starlette(lifespan=app.lifespan)

    async def who(request: Request) -> Principal | None:
        user = request.cookies.get("user")
        return Principal(user) if user else None

    app.mount(host, "/api/jobs", authenticate=who)
    async with serving(host, app) as url, httpx2.AsyncClient(base_url=url, headers={"Cookie": "user=ann"}) as http:
        job = await submit(http, "ask", "/api/jobs", question="?")
        cookie = {"Cookie": "user=ann"}
        with pytest.raises(InvalidStatus):
            async with opened(http, "/api/jobs/ws", additional_headers=cookie, origin="http://evil.example"):
                pass
        async with opened(
            http, "/api/jobs/ws", additional_headers=cookie, origin=str(http.base_url).rstrip("/")
        ) as ann:
            await say(ann, "subscribe", jobs=[{"id": job["id"]}])
            await hear(ann, "ack")
            assert (await hear(ann))["job"]["urls"]["self"] == f"/api/jobs/{job['id']}"


# -- how it ends ---------------------------------------------------------------------------------------------------


async def test_a_stop_closes_with_1012_at_once(live: httpx2.AsyncClient, app: Outlast) -> None:
    job = await submit(live, "endless")
    async with opened(live) as follows, opened(live) as idle:
        await say(follows, "subscribe", jobs=[{"id": job["id"]}], scope="mine")
        await hear(follows, "ack")
        async with asyncio.timeout(1):
            await app.stop()
            assert await closed(follows) == await closed(idle) == (1012, "shutdown")


async def test_a_connection_whose_time_is_over_is_closed_with_1012() -> None:
    app = make_app(limits=Limits(stream=0.2))
    async with serving(service(app), app) as url, httpx2.AsyncClient(base_url=url) as http, opened(http) as socket:
        assert await closed(socket) == (1012, "deadline")


async def test_a_reader_that_takes_nothing_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("outlast.web.streams.PATIENCE", 0.3)
    monkeypatch.setattr("outlast.web.server.LINGER", 0.3)
    app = make_app()
    async with serving(service(app), app) as url, httpx2.AsyncClient(base_url=url, timeout=20) as http:
        job = await ended(http, (await submit(http, "flood", pieces=4000))["id"])
        async with opened(http, max_queue=1) as socket:
            await say(socket, "subscribe", jobs=[{"id": job["id"], "after": 0}])
            async with asyncio.timeout(10):
                while "cut off" not in caplog.text:
                    await asyncio.sleep(0.05)
            with pytest.raises(ConnectionClosed) as raised:
                await read_on(socket)
            assert raised.value.rcvd is None, "what is cut off must not look complete"


async def test_connections_that_go_leave_nothing_behind(live: httpx2.AsyncClient) -> None:
    job = await submit(live, "endless")
    await until(live, job["id"], lambda job: job["status"] == "processing")
    before = len(asyncio.all_tasks())
    for number in range(20):
        async with opened(live) as socket:
            await say(socket, "subscribe", jobs=[{"id": job["id"]}], scope="mine")
            await hear(socket, "job.snapshot")
            if number % 2:
                socket.transport.abort()
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > before + 3:
            await asyncio.sleep(0.05)
