"""What is measured on Redis, with which settings, and what is to be reached: see plan.py."""

from dataclasses import replace

from bench.figures import Goal
from bench.plan import DEFAULT_POLLING, Measurement, Run
from bench.plan_servers import claims, crews, drain, few_of, pickup, sleepers, submits

TITLES = {
    "outlast": "Outlast",
    "huey": "RedisHuey",
    "taskiq": "taskiq",
    "saq": "SAQ",
    "dramatiq": "Dramatiq",
    "rq": "RQ",
}
JOBS = {"outlast": 10_000, "huey": 10_000, "taskiq": 5_000, "saq": 5_000, "dramatiq": 5_000, "rq": 500}
SLOW = {"dramatiq", "rq"}
AT_LEAST_ONCE = ("taskiq", "saq", "dramatiq", "rq")


def plan(small: bool) -> list[Measurement]:
    """All measurements, or those and so much of each that two minutes are enough."""
    jobs = few_of(JOBS) if small else JOBS
    measured = [
        drain(
            _drains(jobs),
            jobs,
            TITLES,
            ("Huey", Goal(2.5, ("huey", "rate"))),
            ("the best at-least-once peer", Goal(4, (*AT_LEAST_ONCE, "rate"))),
        ),
        submits(1, {name: count // 10 for name, count in jobs.items()}, TITLES),
        submits(200, jobs, TITLES),
        pickup(10 if small else 40, TITLES, Goal(1.2, ("taskiq", "ms")), huey=({"polling": DEFAULT_POLLING}, "")),
    ]
    if small:
        return [replace(one, runs=tuple(run for run in one.runs if run.system not in SLOW)) for one in measured]
    return [*measured, sleepers(_sleepers(1_000), Goal(1.10)), crews(), claims()]


def _drains(jobs: dict[str, int]) -> list[Run]:
    return [
        Run("outlast", "drain", {"jobs": jobs["outlast"], "slots": 500}, "500 slots"),
        *(_threads("huey", jobs, n) for n in (1, 2, 4, 8)),
        *(Run("taskiq", "drain", {"jobs": jobs["taskiq"], "slots": n}, f"{n} slots") for n in (10, 100)),
        *(Run("saq", "drain", {"jobs": jobs["saq"], "slots": n}, f"{n} slots") for n in (10, 100)),
        *(_threads("dramatiq", jobs, n) for n in (1, 4, 8)),
        Run("rq", "drain", {"jobs": jobs["rq"]}, "SimpleWorker"),
    ]


def _threads(system: str, jobs: dict[str, int], n: int) -> Run:
    return Run(system, "drain", {"jobs": jobs[system], "threads": n}, "1 thread" if n == 1 else f"{n} threads")


def _sleepers(jobs: int) -> list[Run]:
    """RQ's worker runs one job at a time."""
    return [
        Run("outlast", "sleepers", {"jobs": jobs}, f"{jobs:,} slots"),
        Run("huey", "sleepers", {"jobs": jobs}, f"{jobs:,} threads"),
        Run("taskiq", "sleepers", {"jobs": jobs}, f"{jobs:,} slots"),
        Run("saq", "sleepers", {"jobs": jobs}, f"{jobs:,} slots"),
        Run("dramatiq", "sleepers", {"jobs": jobs}, f"{jobs:,} threads"),
    ]
