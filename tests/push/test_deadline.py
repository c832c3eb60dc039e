"""A call takes no longer than the platform leaves it: AWS Lambda tells by the scope, Vercel by its package."""

import logging
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from outlast import Context, Outlast
from outlast.push import Cron
from outlast.push.deadline import granted, left
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.service import service
from tests.push.ground import SECRET, make_app
from tests.web.ground import client, frames

BEARER = {"Authorization": f"Bearer {SECRET}"}


@dataclass
class LambdaContext:
    """What AWS gives a function, as far as it tells the time."""

    milliseconds: Any

    def get_remaining_time_in_millis(self) -> Any:
        return self.milliseconds


def on_lambda(asgi: ASGIApp, seconds: float) -> ASGIApp:
    """The app behind an adapter such as Mangum, so many seconds before its function is ended."""

    async def adapted(scope: Scope, receive: Receive, send: Send) -> None:
        await asgi({**scope, "aws.context": LambdaContext(int(seconds * 1000))}, receive, send)

    return adapted


@pytest.fixture
def on_vercel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Have Vercel's package there, with this `get_deadline`."""

    def there(get_deadline: Callable[[], Any]) -> None:
        monkeypatch.setenv("VERCEL", "1")
        package: Any = SimpleNamespace(get_deadline=get_deadline)
        monkeypatch.setitem(sys.modules, "vercel.functions", package)

    return there


@pytest.fixture
async def app() -> AsyncIterator[Outlast]:
    async with make_app(MemoryStore(clock=FakeClock()), push=Cron(secret=SECRET, budget=100)) as app:
        yield app


@pytest.fixture
def given(app: Outlast) -> list[float]:
    """What each slice of the handler `asks` had before it."""
    found: list[float] = []

    @app.handler
    async def asks(ctx: Context) -> None:
        found.append(ctx.remaining() or 0.0)

    return found


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


# -- who tells ------------------------------------------------------------------------------------------------------


def test_lambda_tells_what_is_left_in_milliseconds() -> None:
    assert left({"aws.context": LambdaContext(4_200)}) == 4.2
    assert left({"aws.context": LambdaContext(-5)}) == 0.0


def test_vercel_tells_when_the_function_is_ended(on_vercel: Callable[[Callable[[], Any]], None]) -> None:
    on_vercel(lambda: in_seconds(1000))
    told = left()
    assert told is not None and 900 < told <= 1000
    on_vercel(lambda: in_seconds(-5))
    assert left() == 0.0


@pytest.mark.parametrize("context", [None, {}, object(), LambdaContext(None), LambdaContext("soon")])
def test_a_context_that_does_not_tell_is_none(context: Any) -> None:
    assert left({"aws.context": context}) is None


NO_ZONE = datetime(2026, 8, 18)  # noqa: DTZ001  # which is what is wrong with it


@pytest.mark.parametrize("deadline", [None, "2026-08-18T00:00:00Z", NO_ZONE])
def test_a_vercel_that_does_not_tell_is_none(on_vercel: Callable[[Callable[[], Any]], None], deadline: Any) -> None:
    on_vercel(lambda: deadline)
    assert left() is None


def test_a_vercel_that_fails_is_none(on_vercel: Callable[[Callable[[], Any]], None]) -> None:
    def failing() -> datetime:
        raise ValueError("invalid deadline")

    on_vercel(failing)
    assert left() is None


def test_without_the_package_vercel_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERCEL", "1")
    nothing: Any = None  # as Python marks what is not there
    monkeypatch.setitem(sys.modules, "vercel.functions", nothing)
    assert left() is None


def test_elsewhere_vercel_is_not_asked(
    on_vercel: Callable[[Callable[[], Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_vercel(lambda: in_seconds(1000))
    monkeypatch.delenv("VERCEL")
    assert left() is None


def test_the_less_of_budget_and_deadline_counts() -> None:
    push = Cron(secret=SECRET, budget=10)
    told = {"shorter": 4_000, "longer": 60_000}
    assert {name: granted(push, {"aws.context": LambdaContext(ms)}) for name, ms in told.items()} == {
        "shorter": 4.0,
        "longer": 10.0,
    }
    assert granted(push) == 10.0


# -- what it is for -------------------------------------------------------------------------------------------------


async def test_a_call_that_the_platform_ends_sooner_is_that_much_shorter(app: Outlast, given: list[float]) -> None:
    for seconds in (4, 60, 900):
        await app.submit("asks", {})
        async with client(on_lambda(service(app, worker=False), seconds)) as http:
            assert (await http.get("/push/sweep", headers=BEARER)).json() == {"ran": 1}
    # Of each a twentieth is kept, 5 s at most.
    assert [round(seconds, 3) for seconds in given] == [3.8, 57.0, 95.0]


async def test_a_call_that_the_platform_leaves_no_time_runs_nothing(app: Outlast, given: list[float]) -> None:
    job = await app.submit("asks", {})
    async with client(on_lambda(service(app, worker=False), 0)) as http:
        assert (await http.get("/push/sweep", headers=BEARER)).json() == {"ran": 0}
    assert ((await app.get(job)).attempt, given) == (0, [])


async def test_vercel_s_deadline_counts_in_the_same_way(
    app: Outlast, given: list[float], on_vercel: Callable[[Callable[[], Any]], None]
) -> None:
    on_vercel(lambda: in_seconds(60))
    await app.submit("asks", {})
    async with client(service(app, worker=False)) as http:
        assert (await http.get("/push/sweep", headers=BEARER)).json() == {"ran": 1}
    assert 20 < given[0] <= 57


async def test_the_log_says_once_that_less_is_granted_than_the_budget(
    app: Outlast, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(on_lambda(service(app, worker=False), 98)) as http:
        await http.get("/push/sweep", headers=BEARER)
    assert app.observe.counts["push.shortened"] == 0, "what a start may have taken"
    async with client(on_lambda(service(app, worker=False), 60)) as http:
        for _ in range(3):
            await http.get("/push/sweep", headers=BEARER)
    [line] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "the platform leaves a call 60 s, less than the budget of 100 s" in line.getMessage()


async def test_a_request_waits_no_longer_than_it_can_be_answered(app: Outlast, given: list[float]) -> None:
    async with client(on_lambda(service(app, worker=False), 12.5)) as http:
        body = {"type": "asks", "payload": {}}
        reply = await http.post("/jobs", json=body, headers={"Prefer": "wait=20"})
        assert (reply.status_code, reply.headers["Preference-Applied"]) == (200, "wait=10")
        reply = await http.get(reply.json()["urls"]["self"], headers={"Prefer": "wait=20"})
        assert reply.headers["Preference-Applied"] == "wait=10"
    assert given == [9.5], "and the slice that it runs meanwhile ends in that time"


async def test_no_request_waits_where_no_time_is_left(app: Outlast) -> None:
    job = await app.submit("count", {"to": 1}, delay=60)
    async with client(on_lambda(service(app, worker=False), 1)) as http:
        reply = await http.get(f"/jobs/{job.id}?wait=20&since=v{job.version}")
        assert (reply.status_code, reply.headers["Retry-After"]) == (304, "0")


async def test_whoever_waits_in_a_view_runs_a_slice_within_vercel_s_deadline(
    app: Outlast, given: list[float], on_vercel: Callable[[Callable[[], Any]], None]
) -> None:
    on_vercel(lambda: in_seconds(60))
    await app.wait(await app.submit("asks", {}))
    assert 20 < given[0] <= 57


async def test_a_stream_ends_by_itself_before_the_platform_cuts_it_off(app: Outlast) -> None:
    job = await app.submit("count", {"to": 1}, delay=60)
    async with client(on_lambda(service(app, worker=False), 2)) as http:
        reply: httpx2.Response = await http.get(f"/jobs/{job.id}/events", headers={"Accept": "text/event-stream"})

    async def lines() -> AsyncIterator[str]:
        for line in reply.text.split("\n"):
            yield line

    told = [frame async for frame in frames(lines())]
    assert (told[-1].event, told[-1].data["reason"]) == ("stream.end", "deadline")
