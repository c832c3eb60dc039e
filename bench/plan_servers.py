"""What is measured on every server: the parts of plan_postgres.py and plan_redis.py."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.figures import Goal, Row
from bench.plan import BETWEEN, Measurement, Run

THREADED = {"huey", "dbos", "dramatiq", "rq"}
"""Systems whose callers are threads; those of the others are tasks of one event loop."""


def few_of(jobs: Mapping[str, int]) -> dict[str, int]:
    """What CI can afford."""
    return {name: count // 4 for name, count in jobs.items()}


def drain(
    runs: Sequence[Run], jobs: Mapping[str, int], titles: Mapping[str, str], *goals: tuple[str, Goal]
) -> Measurement:
    """One row for each goal, for Outlast is held against several: their names, and what is to be reached."""
    return Measurement(
        "drain",
        tuple(runs),
        (
            *(
                Row(
                    title=f"drain of no-op jobs, beside {name}",
                    number="rate",
                    unit="jobs/s",
                    more=True,
                    goal=goal,
                    kept=f"rate beside {name}",
                )
                for name, goal in goals
            ),
            Row(title="memory after it", number="mib", unit="MiB", more=False),
        ),
        said=f"jobs that wait already, until all are recorded as done: {_counted(jobs, titles)}",
    )


def submits(callers: int, jobs: Mapping[str, int], titles: Mapping[str, str]) -> Measurement:
    """Threads or tasks, and one of them besides: what is best counts."""
    who = "one caller" if callers == 1 else f"{callers} callers at once"
    runs = [
        Run(system, "submits", {"jobs": _shared(jobs[system], number), "callers": number}, _callers(system, number))
        for system in titles
        for number in (sorted({1, callers}) if system in THREADED else [callers])
    ]
    return Measurement(
        f"submit-{callers}",
        tuple(runs),
        (Row(title=f"submits, {who}", number="rate", unit="jobs/s", more=True),),
        said=f"each caller awaits one after the other, no worker runs: {_counted(jobs, titles)}",
    )


def pickup(jobs: int, titles: Mapping[str, str], goal: Goal, **polling: tuple[Mapping[str, Any], str]) -> Measurement:
    """`polling`: of a system that can be told how often it looks, the order and its name."""
    title = "pick-up, idle worker in another process"
    order = {"jobs": jobs, "between": BETWEEN}
    runs = []
    for system in titles:
        more, setting = polling.get(system, ({}, ""))
        runs.append(Run(system, "work", {"jobs": jobs, **more}, setting, submit=order))
    return Measurement(
        "pickup-other",
        tuple(runs),
        (
            Row(title=f"{title}, p50", number="ms", unit="ms", more=False, goal=goal),
            Row(title=f"{title}, p99", number="ms", unit="ms", more=False, quantile=0.99),
        ),
        said=f"{jobs} jobs a round, 50 to 250 ms apart, from the call of submit to the handler's first line",
    )


def sleepers(runs: Iterable[Run], goal: Goal) -> Measurement:
    every = tuple(runs)
    jobs = every[0].order["jobs"]
    return Measurement(
        f"sleep-{jobs}",
        every,
        (Row(title=f"{jobs:,} jobs that sleep 1 s", number="seconds", unit="s", more=False, goal=goal),),
        said="all wait already when the worker starts",
    )


def crews() -> Measurement:
    return Measurement(
        "workers",
        (Run("outlast", "crews", {"jobs": 3_000, "processes": {"one": 1, "two": 2, "four": 4}}),),
        (
            Row(title="drain, jobs of 1 ms CPU, one process", number="one", unit="jobs/s", more=True),
            Row(
                title="drain, jobs of 1 ms CPU, two processes",
                number="two",
                unit="jobs/s",
                more=True,
                goal=Goal(1.2, ("outlast", "one")),
            ),
            Row(title="drain, jobs of 1 ms CPU, four processes", number="four", unit="jobs/s", more=True),
        ),
        said="3,000 jobs, from the word to go until all are recorded; the ratio is to one process",
    )


def claims() -> Measurement:
    queued = {"few": 10_000, "many": 300_000, "most": 1_000_000}
    goal = Goal(0.8, ("outlast", "few"))
    return Measurement(
        "claims",
        (Run("outlast", "claims", {"queued": queued, "ended": {}, "rounds": 5, "jobs": 5_000}),),
        (
            Row(title="claims, 10,000 queued", number="few", unit="jobs/s", more=True),
            Row(title="claims, 300,000 queued", number="many", unit="jobs/s", more=True, goal=goal),
            Row(title="claims, 1,000,000 queued", number="most", unit="jobs/s", more=True, goal=goal),
        ),
        once=True,
        said="5,000 jobs a round, 100 at once; the ratio is to 10,000 queued",
    )


def _shared(jobs: int, callers: int) -> int:
    """So many that each caller has as many as the others."""
    return max(1, jobs // callers) * callers


def _callers(system: str, number: int) -> str:
    if system not in THREADED:
        return ""
    return "1 thread" if number == 1 else f"{number} threads"


def _counted(jobs: Mapping[str, int], titles: Mapping[str, str]) -> str:
    return ", ".join(f"{jobs[name]:,} of {title}" for name, title in titles.items())
