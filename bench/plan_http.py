"""What is measured by HTTP, and what is to be reached: see plan.py."""

from typing import Any

from bench.figures import Goal, Row
from bench.plan import Measurement, Run

TITLES = {"outlast": "Outlast", "starlette": "bare Starlette"}
BY_HTTP, ALONE = "by HTTP", "by the store alone"


def plan(small: bool) -> list[Measurement]:
    """All measurements, or those and so much of each that two minutes are enough."""
    seconds = 2.0 if small else 5.0
    measured = [_submits(seconds), _gets(seconds), _summaries(seconds)]
    return measured if small else [*measured, _streams(), _tokens(), _million()]


def _http(command: str, order: dict[str, Any], setting: str = "") -> Run:
    return Run("outlast", command, order, setting, program="outlast_http")


def _submits(seconds: float) -> Measurement:
    return Measurement(
        "submits",
        (
            _http("submits", {"seconds": seconds}, BY_HTTP),
            Run("starlette", "submits", {"seconds": seconds}, BY_HTTP),
            Run("outlast", "submits", {"jobs": 12_800, "callers": 64}, ALONE),
        ),
        (
            Row(
                title="submits, 64 callers at once",
                number="rate",
                unit="jobs/s",
                more=True,
                goal=Goal(0.4, ("starlette", "rate")),
                settings=(BY_HTTP,),
            ),
            Row(title="the same without HTTP", number="rate", unit="jobs/s", more=True, settings=(ALONE,)),
        ),
        said="wrk with 64 connections; each job is on disk before its 202, and the bare app answers what it was sent",
    )


def _gets(seconds: float) -> Measurement:
    return Measurement(
        "gets",
        (_http("gets", {"seconds": seconds}), Run("starlette", "gets", {"seconds": seconds})),
        (
            Row(
                title="gets with the ETag that is known",
                number="rate",
                unit="requests/s",
                more=True,
                goal=Goal(0.6, ("starlette", "rate")),
            ),
        ),
        said="wrk with 64 connections; the bare app answers a job that it holds as Python's values",
    )


def _summaries(seconds: float) -> Measurement:
    return Measurement(
        "summaries",
        (_http("summaries", {"seconds": seconds}), Run("starlette", "summaries", {"seconds": seconds})),
        (Row(title="summaries", number="rate", unit="requests/s", more=True, goal=Goal(0.5, ("starlette", "rate"))),),
        said="wrk with 64 connections, of 100 queued jobs; the bare app answers a summary that it holds",
    )


def _streams() -> Measurement:
    order = {"clients": 5_000, "idle": 15.0, "beats": 40, "between": 0.5}
    return Measurement(
        "streams",
        (_http("streams", order),),
        (
            Row(
                title="5,000 streams, memory of each", number="kib", unit="KiB", more=False, goal=Goal(40 * 1000 / 1024)
            ),
            Row(title="5,000 streams, CPU while idle", number="percent", unit="%", more=False, goal=Goal(2)),
            Row(
                title="an event is with the last of 5,000, p99",
                number="ms",
                unit="ms",
                more=False,
                quantile=0.99,
                goal=Goal(250),
            ),
            Row(title="an event is with the last of 5,000, p50", number="ms", unit="ms", more=False),
        ),
        said="all read one job of a worker in the same process; 40 events, from the handler's call on",
    )


def _tokens() -> Measurement:
    order = {"count": 5_000}
    return Measurement(
        "tokens",
        (
            _http("tokens", order | {"readers": 0}, "no reader"),
            _http("tokens", order | {"readers": 100}, "100 readers"),
        ),
        (
            Row(title="5,000 tokens that nobody reads", number="with 0", unit="s", more=False),
            Row(
                title="5,000 tokens that 100 read",
                number="with 100",
                unit="s",
                more=False,
                goal=Goal(1.05, ("outlast", "with 0")),
            ),
        ),
        said="a thousand a second, by a worker in the process that serves the readers",
    )


def _million() -> Measurement:
    jobs = {"few": 10_000, "many": 1_000_000}
    rows = [
        row
        for what in ("get", "list", "summary")
        for row in (
            Row(title=f"{what} among 10,000 jobs", number=f"{what}-few", unit="ms", more=False),
            Row(
                title=f"{what} among 1,000,000 jobs",
                number=f"{what}-many",
                unit="ms",
                more=False,
                goal=Goal(1.5, ("outlast", f"{what}-few")),
            ),
        )
    ]
    order = {"jobs": jobs, "own": 100, "rounds": 3, "seconds": 2.0}
    return Measurement(
        "million",
        (_http("million", order),),
        tuple(rows),
        once=True,
        said="one connection, a request after the other, by an owner of 100 jobs; the others are of a thousand owners",
    )
