"""What may not fit into a call is told at the start, and what did not fit once it is known; each with the ways out."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from outlast import Context, Outlast, Status
from outlast.notices import in_words, warnings
from outlast.push import SQS, Cron, Push, QStash
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock, using
from outlast.web.service import service
from tests.push.ground import SECRET, make_app
from tests.push.test_calls import Recorded
from tests.web.ground import client

BEARER = {"Authorization": f"Bearer {SECRET}"}
WAYS_OUT = ("split the step", "a worker that pulls", "pass in its middle", "in the background")


def cron(budget: float = 55) -> Cron:
    return Cron(secret=SECRET, budget=budget)


def told(push: Push | None, environ: dict[str, str] | None = None, **settings: Any) -> Sequence[str]:
    """What is told of an app with one handler."""
    app = Outlast("memory://", push=push)

    @app.handler(**settings)
    async def long(ctx: Context) -> None: ...

    return list(warnings(push, app.handlers.values(), environ or {}))


# -- at the start ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"timeout": None}, {"timeout": "56s"}, {"timeout": None, "deadline": "1h"}])
def test_a_job_that_may_run_longer_than_a_call_and_names_no_steps_is_told_of(settings: dict[str, Any]) -> None:
    [warning] = told(cron(), **settings)
    assert warning.startswith("jobs of long may run longer than a call of 55 s, and name no steps")
    assert all(way in warning for way in WAYS_OUT)


@pytest.mark.parametrize("settings", [{"timeout": "55s"}, {"deadline": "30s"}, {"steps": ["read", "write"]}])
def test_one_that_cannot_or_that_names_its_steps_is_not(settings: dict[str, Any]) -> None:
    assert told(cron(), **settings) == []


def test_all_of_them_are_told_of_in_one_line() -> None:
    app = make_app(push=cron())
    [warning] = warnings(cron(), app.handlers.values(), {})
    assert "jobs of broken, count may run" in warning


@pytest.mark.parametrize(
    ("variable", "budget", "said"),
    [
        ("VERCEL", 801, "Vercel ends it after 300 s on Hobby and 800 s on other plans"),
        ("AWS_LAMBDA_FUNCTION_NAME", 901, "AWS Lambda ends it after 15 min"),
        ("K_SERVICE", 3601, "Cloud Run ends it after an hour"),
    ],
)
def test_a_budget_that_the_platform_never_allows_is_told_of(variable: str, budget: float, said: str) -> None:
    [warning] = told(cron(budget), {variable: "1"}, timeout=60)
    assert warning == f"a call may take {budget} s by its budget, and {said}"
    assert told(cron(budget - 1), {variable: "1"}, timeout=60) == []
    assert told(cron(budget), timeout=60) == []


def qstash(budget: float) -> QStash:
    return QStash("https://shop.example/api", token="t", keys=["sig_a"], budget=budget)


def test_a_budget_longer_than_qstash_waits_on_its_free_plan_is_told_of() -> None:
    [warning] = told(qstash(900), timeout=60)
    assert "QStash waits 900 s for an answer, and 905 s are asked for" in warning
    assert told(qstash(890), timeout=60) == []


SQS_URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs"


def test_a_slice_that_sqs_calls_for_may_take_all_that_a_function_may_where_no_budget_is_set() -> None:
    free, bound = SQS(SQS_URL), SQS(SQS_URL, budget=60)
    assert in_words(free).startswith(f"sqs, calls of up to 900 s: messages of {SQS_URL} are to call the function")
    assert in_words(bound).startswith("sqs, calls of up to 60 s: messages of")
    assert told(free, timeout="15m") == []
    assert [told(push, timeout="16m") != [] for push in (free, bound)] == [True, True]
    assert told(bound, timeout="15m") != []


def test_it_is_said_which_push_is_set_and_who_is_to_call_what() -> None:
    assert in_words(cron()).startswith("sweep, calls of up to 55 s: a clock is to call /push/sweep")
    words = in_words(qstash(280))
    assert words.startswith("qstash, calls of up to 280 s: QStash calls https://shop.example/api/push/qstash")
    assert words.endswith("https://shop.example/api/push/sweep")
    assert in_words(Recorded(MemoryStore())) == "recorded, calls of up to 10 s: /push/recorded is to be called"


async def test_where_no_lifespan_is_run_the_first_request_puts_it_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="outlast")
    app = make_app(push=cron())
    async with client(service(app, worker=False)) as http:
        for _ in range(3):
            assert (await http.get("/push/sweep", headers=BEARER)).status_code == 200
    await app.close()
    said = [record.getMessage() for record in caplog.records if getattr(record, "action", "").startswith("push.")]
    assert [line.partition(" may ")[0] for line in said] == [f"push {in_words(cron())}", "push: jobs of broken, count"]


@pytest.mark.parametrize(("variable", "platform"), [("VERCEL", "Vercel"), ("AWS_LAMBDA_FUNCTION_NAME", "AWS Lambda")])
def test_where_no_worker_can_live_a_missing_push_is_told_of(variable: str, platform: str) -> None:
    [warning] = told(None, {variable: "1"})
    assert f"on {platform} no worker lives" in warning and "set OUTLAST_PUSH" in warning
    assert list(warnings(None, [], {variable: "1"})) == [], "an app without handlers only submits"
    assert told(None, {"K_SERVICE": "1"}) == told(None) == []


async def test_without_a_push_nothing_is_said_and_in_tests_neither() -> None:
    async with make_app() as app:
        assert app.observe.counts["push.warning"] == 0
    with using(make_app(push=cron())) as jobs:
        await jobs.app.submit("count", {"to": 1})
        assert jobs.app.observe.counts["push.warning"] == 0


# -- once it is known -----------------------------------------------------------------------------------------------


def slow_app(clock: FakeClock) -> Outlast:
    app = Outlast(MemoryStore(clock=clock), push=cron(10))

    async def long(seconds: float) -> None:
        clock.advance(seconds)
        if seconds > 9:
            await asyncio.Event().wait()

    @app.handler(retries=1)
    async def steps(ctx: Context, seconds: list[float]) -> None:
        for one in seconds:
            await ctx.step(f"of {one:g} s", long, one)

    @app.handler(retries=1)
    async def plain(ctx: Context) -> None:
        await long(10)

    return app


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "did not end within" in record.getMessage()]


async def test_a_step_that_outlasts_a_slice_is_named_once_for_its_type_and_its_job_s_error_says_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with slow_app(FakeClock()) as app:
        jobs = [await app.submit("steps", {"seconds": [1, 10]}) for _ in range(2)]
        assert await app.run_slice(jobs[0], budget=10)
        assert lines(caplog) == [], "a step was recorded, and the other one has yet to be tried from its start"
        for job in jobs:
            while await app.run_slice(job, budget=10):
                pass
        failed = (await app.get(jobs[0])).last_error
    [line] = lines(caplog)
    assert "step 'of 10 s' did not end within a slice of 10 s, which costs an attempt" in line
    assert failed is not None and failed.code == "timeout"
    for said in (line, failed.message):
        assert all(way in said for way in WAYS_OUT)


async def test_a_handler_that_comes_to_no_step_is_told_of_too(caplog: pytest.LogCaptureFixture) -> None:
    async with slow_app(FakeClock()) as app:
        assert await app.run_slice(await app.submit("plain", {}), budget=10)
    [line] = lines(caplog)
    assert "what its handler does outside of steps did not end within a slice of 10 s" in line


async def test_a_request_that_is_too_short_for_a_step_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async with slow_app(FakeClock()) as app, client(service(app, worker=False)) as http:
        body = {"type": "steps", "payload": {"seconds": [10]}}
        reply = await http.post("/jobs", json=body, headers={"Prefer": "wait=5"})
        assert (reply.status_code, (await app.get(reply.json()["id"])).status) == (202, Status.QUEUED)
    assert lines(caplog) == []
