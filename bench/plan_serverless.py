"""What is measured of functions that live for one call, and what is to be reached: see plan.py."""

from bench.figures import Goal, Row
from bench.plan import Measurement, Run

TITLES = {"outlast": "Outlast", "libraries": "its libraries alone"}
STORES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
DRIVERS = {"sqlite": "apsw", "postgres": "psycopg"}
WARM = {"sqlite": 5, "postgres": 8}
"""Milliseconds."""

BESIDE = {"ms": "a call that runs a job", "together": "the same, libraries in one process"}
"""The libraries' own imports, each alone and added up; and all in one process, where they share what they import."""

STEPS = 20
"""On record of each job that a warm function is called for."""


def plan(small: bool) -> list[Measurement]:
    """All measurements, or those and so much of each that two minutes are enough."""
    starts, jobs = (3, 20) if small else (10, 100)
    return [
        *(_cold(store, starts) for store in STORES),
        *(_warm(store, jobs) for store in STORES),
        _slices(10, 5) if small else _slices(90, 10),
    ]


def _cold(store: str, starts: int) -> Measurement:
    title = f"cold start on {STORES[store]}"
    return Measurement(
        f"cold-{store}",
        (
            Run("outlast", "cold", {"starts": starts}, program="outlast_serverless", store=store),
            Run("libraries", "cold", {"driver": DRIVERS[store], "starts": starts}, store=store),
        ),
        (
            *(
                Row(
                    title=f"{title}, {beside}",
                    number=number,
                    unit="ms",
                    more=False,
                    goal=Goal(1.25, ("libraries", number)),
                )
                for number, beside in BESIDE.items()
            ),
            Row(title=f"{title}, own modules of it", number="own", unit="ms", more=False, goal=Goal(60)),
            Row(title=f"{title}, GET /healthz", number="health", unit="ms", more=False),
        ),
        said=f"{starts} fresh processes a round, from the first line to the answer's first byte, or the last import",
    )


def _warm(store: str, jobs: int) -> Measurement:
    title = f"a call to a warm function, {STEPS} steps on record, {STORES[store]}"
    return Measurement(
        f"warm-{store}",
        (Run("outlast", "warm", {"jobs": jobs, "steps": STEPS}, program="outlast_serverless", store=store),),
        (
            Row(title=f"{title}, p50", number="ms", unit="ms", more=False, goal=Goal(WARM[store])),
            Row(title=f"{title}, p99", number="ms", unit="ms", more=False, quantile=0.99),
        ),
        said=f"{jobs} calls a round: verify, claim, load the steps, run the handler, end the job, answer",
    )


def _slices(steps: int, budget: float) -> Measurement:
    order = {"steps": steps, "seconds": 1.0, "budget": budget}
    title = f"a job of {steps} steps of 1 s in slices of {budget} s"
    return Measurement(
        "slices",
        (Run("outlast", "slices", order, program="outlast_serverless", store="sqlite"),),
        (
            Row(title=f"{title}, by its own work", number="share", unit="", more=False, goal=Goal(1.25)),
            Row(title=f"{title}, calls", number="calls", unit="", more=False),
        ),
        once=True,
        said="from the request that submits it until it is recorded as completed; a fresh process for each call",
    )
