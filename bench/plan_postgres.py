"""What is measured on PostgreSQL, with which settings, and what is to be reached: see plan.py."""

from dataclasses import replace

from bench.figures import Goal
from bench.plan import Measurement, Run
from bench.plan_servers import claims, crews, drain, few_of, pickup, sleepers, submits

TITLES = {
    "outlast": "Outlast",
    "pgqueuer": "PgQueuer",
    "dbos": "DBOS",
    "procrastinate": "Procrastinate",
    "saq": "SAQ",
}
JOBS = {"outlast": 10_000, "pgqueuer": 10_000, "dbos": 500, "procrastinate": 500, "saq": 1_000}
SLOW = {"dbos", "procrastinate", "saq"}


def plan(small: bool) -> list[Measurement]:
    """All measurements, or those and so much of each that two minutes are enough."""
    jobs = few_of(JOBS) if small else JOBS
    measured = [
        drain(
            _drains(jobs),
            jobs,
            TITLES,
            ("PgQueuer", Goal(1, ("pgqueuer", "rate"))),
            ("DBOS", Goal(8, ("dbos", "rate"))),
        ),
        submits(1, {name: count // 10 for name, count in jobs.items()}, TITLES),
        submits(200, jobs, TITLES),
        pickup(10 if small else 40, TITLES, Goal(1.1, ("pgqueuer", "ms")), dbos=({"poll": 0.01}, "polls each 10 ms")),
    ]
    if small:
        return [replace(one, runs=tuple(run for run in one.runs if run.system not in SLOW)) for one in measured]
    return [*measured, sleepers(_sleepers(1_000), Goal(1.10)), crews(), claims()]


def _drains(jobs: dict[str, int]) -> list[Run]:
    return [
        Run("outlast", "drain", {"jobs": jobs["outlast"], "slots": 500}, "500 slots"),
        # 10 is its own, and each ends in a commit; beyond some hundreds it gains nothing.
        *(Run("pgqueuer", "drain", {"jobs": jobs["pgqueuer"], "batch": n}, f"batches of {n}") for n in (10, 100, 500)),
        *(Run("dbos", "drain", {"jobs": jobs["dbos"], "handler": its}, its) for its in ("def", "async def")),
        *(Run("procrastinate", "drain", {"jobs": jobs["procrastinate"], "slots": n}, f"{n} slots") for n in (10, 50)),
        *(Run("saq", "drain", {"jobs": jobs["saq"], "slots": n}, f"{n} slots") for n in (10, 100)),
    ]


def _sleepers(jobs: int) -> list[Run]:
    return [
        Run("outlast", "sleepers", {"jobs": jobs}, f"{jobs:,} slots"),
        Run("pgqueuer", "sleepers", {"jobs": jobs, "batch": 500}, "batches of 500"),
        Run("dbos", "sleepers", {"jobs": jobs}),
        Run("procrastinate", "sleepers", {"jobs": jobs}, f"{jobs:,} slots"),
        Run("saq", "sleepers", {"jobs": jobs}, f"{jobs:,} slots"),
    ]
