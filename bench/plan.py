"""What is measured, with which settings, and what is to be reached.

Of the peers each setting is measured that may suit them, and the best of them counts. `SMALL` is what CI can afford.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.figures import Goal, Row

TITLES = {"outlast": "Outlast", "huey": "SqliteHuey", "dbos": "DBOS"}
SYSTEMS = tuple(TITLES)

DEFAULT_POLLING = {"initial_delay": 0.1, "backoff": 1.15, "max_delay": 10.0}
FAST_POLLING = {"initial_delay": 0.01, "backoff": 1.0, "max_delay": 0.01}
DEFAULT, FAST = "default polling", "polls each 10 ms"
BETWEEN = (0.05, 0.25)
"""Seconds from one job to the next on an idle worker. Short, for Huey's pauses grow with the time it is idle."""


@dataclass(frozen=True, slots=True)
class Run:
    """One start of a measured program; with `submit`, of a worker and a second process that submits to it.

    `program` is its module, if that is not the system's own, and `store` the one of the place's where it has several.
    """

    system: str
    command: str
    order: Mapping[str, Any]
    setting: str = ""
    submit: Mapping[str, Any] | None = None
    program: str = ""
    store: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Runs that take turns, and what the table says of them.

    once: its rounds are made within the run.
    said: what is counted and timed, for below the table.
    """

    name: str
    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    slow_disk: bool = False
    once: bool = False
    said: str = ""


def plan(*, small: bool) -> list[Measurement]:
    """All measurements, or those and so much of each that two minutes are enough."""
    scale = 4 if small else 1
    measured = [
        drain(10_000, 500, Goal(4, ("huey", "rate")), huey=10_000 // scale),
        submits(200, 10_000, 500, Goal(3, ("huey", "rate")), huey=2_500),
        submits(1, 2_000 // scale, 200, Goal(0.6, ("huey", "rate"))),
        pickup("same", 40 // scale, Goal(1 / 20, ("huey", "ms"))),
        pickup("other", 40 // scale, Goal(1 / 4, ("huey", "ms"))),
    ]
    if small:
        return [replace(one, runs=tuple(run for run in one.runs if run.system != "dbos")) for one in measured]
    return [
        *measured,
        slow(drain(10_000, 200, Goal(25, ("huey", "rate")), huey=2_000)),
        slow(submits(200, 10_000, 200, None, huey=2_000)),
        slow(submits(1, 500, 100, None)),
        sleepers(1_000, Goal(1.10)),
        sleepers(5_000, Goal(1.60)),
        steps(),
        idle(),
        importing(),
        claims(),
    ]


def drain(jobs: int, dbos: int, goal: Goal | None, huey: int = 0) -> Measurement:
    huey = huey or jobs
    return Measurement(
        "drain",
        (
            Run("outlast", "drain", {"jobs": jobs, "slots": 500}, "500 slots"),
            *(Run("huey", "drain", {"jobs": huey, "threads": n}, _threads_of(n)) for n in (1, 2, 4, 8)),
            *(Run("dbos", "drain", {"jobs": dbos, "handler": its}, its) for its in ("def", "async def")),
        ),
        (
            Row(title="drain of no-op jobs", number="rate", unit="jobs/s", more=True, goal=goal),
            Row(title="memory after it", number="mib", unit="MiB", more=False),
        ),
        said=f"{jobs:,} jobs ({huey:,} of Huey, {dbos:,} of DBOS) that wait already, until all are recorded as done",
    )


def submits(callers: int, jobs: int, dbos: int, goal: Goal | None, huey: int = 0) -> Measurement:
    """A peer's own best counts, whether that is from many threads or from one."""
    threads = sorted({1, callers})
    who = "one caller" if callers == 1 else f"{callers} callers at once"
    return Measurement(
        f"submit-{callers}",
        (
            Run("outlast", "submits", {"jobs": jobs, "callers": callers}),
            *(_threads("huey", huey or jobs, n) for n in threads),
            *(_threads("dbos", dbos, n) for n in threads),
        ),
        (Row(title=f"submits, {who}", number="rate", unit="jobs/s", more=True, goal=goal),),
        said=f"{jobs:,} jobs ({huey or jobs:,} of Huey, {dbos:,} of DBOS); each caller awaits one after the other",
    )


def _threads(system: str, jobs: int, callers: int) -> Run:
    return Run(system, "submits", {"jobs": jobs, "callers": callers}, _threads_of(callers))


def _threads_of(n: int) -> str:
    return "1 thread" if n == 1 else f"{n:,} threads"


def pickup(process: str, jobs: int, goal: Goal) -> Measurement:
    order = {"jobs": jobs, "between": BETWEEN}
    title = f"pick-up, idle worker in {'the same' if process == 'same' else 'another'} process"
    return Measurement(
        f"pickup-{process}",
        (
            _idle_worker(process, "outlast", order, {}, ""),
            _idle_worker(process, "huey", order, {"polling": DEFAULT_POLLING}, DEFAULT),
            _idle_worker(process, "huey", order, {"polling": FAST_POLLING}, FAST),
            _idle_worker(process, "dbos", order, {"poll": 1.0}, DEFAULT),
            _idle_worker(process, "dbos", order, {"poll": 0.01}, FAST),
        ),
        (
            Row(title=f"{title}, p50", number="ms", unit="ms", more=False, goal=goal, settings=(DEFAULT,)),
            Row(title=f"{title}, p99", number="ms", unit="ms", more=False, quantile=0.99, settings=(DEFAULT,)),
            Row(title=f"{title}, p50, peers tuned", number="ms", unit="ms", more=False, settings=(FAST,)),
        ),
        said=f"{jobs} jobs a round, 50 to 250 ms apart, from the call of submit to the handler's first line",
    )


def _idle_worker(process: str, system: str, order: dict[str, Any], polling: dict[str, Any], setting: str) -> Run:
    if process == "same":
        return Run(system, "pickup", order | polling, setting)
    return Run(system, "work", {"jobs": order["jobs"]} | polling, setting, submit=order)


def slow(measurement: Measurement) -> Measurement:
    """The same with 1 ms more for each sync of the disk."""
    rates = [row for row in measurement.rows if row.number == "rate"]
    rows = tuple(replace(row, title=f"{row.title}, sync 1 ms slower") for row in rates)
    return replace(measurement, name=f"{measurement.name}-slow", rows=rows, slow_disk=True)


def sleepers(jobs: int, goal: Goal) -> Measurement:
    """Of 5,000 Outlast alone: Huey would need as many threads, and DBOS takes minutes."""
    runs = (
        Run("outlast", "sleepers", {"jobs": jobs}, f"{jobs:,} slots"),
        Run("huey", "sleepers", {"jobs": jobs}, _threads_of(jobs)),
        Run("dbos", "sleepers", {"jobs": jobs}),
    )
    return Measurement(
        f"sleep-{jobs}",
        runs if jobs <= 1_000 else runs[:1],
        (
            Row(title=f"{jobs:,} jobs that sleep 1 s", number="seconds", unit="s", more=False, goal=goal),
            Row(title=f"memory of each of {jobs:,} sleeping", number="kib", unit="KiB", more=False),
        ),
        said="all wait already when the worker starts",
    )


def steps() -> Measurement:
    order = {"jobs": 5, "steps": 100}
    row = Row(title="a step that returns at once", number="ms", unit="ms", more=False, goal=Goal(1.0))
    runs = (Run("outlast", "steps", order), Run("dbos", "steps", order))
    return Measurement("steps", runs, (row,), said="5 jobs of 100 steps, each recorded before the next")


def idle() -> Measurement:
    return Measurement(
        "idle",
        (
            Run("outlast", "idle", {"seconds": 5}),
            Run("huey", "idle", {"seconds": 5, "polling": DEFAULT_POLLING}, DEFAULT),
            Run("huey", "idle", {"seconds": 5, "polling": FAST_POLLING}, FAST),
            Run("dbos", "idle", {"seconds": 5, "poll": 1.0}, DEFAULT),
            Run("dbos", "idle", {"seconds": 5, "poll": 0.01}, FAST),
        ),
        (
            Row(title="idle worker, CPU", number="percent", unit="%", more=False, goal=Goal(1), settings=(DEFAULT,)),
            Row(title="idle worker, CPU, peers tuned", number="percent", unit="%", more=False, settings=(FAST,)),
            Row(title="idle worker, memory", number="mib", unit="MiB", more=False),
        ),
        said="5 s of nothing, 2 s after the start",
    )


def importing() -> Measurement:
    runs = tuple(Run(system, "import", {"module": system}, program="importing") for system in SYSTEMS)
    row = Row(title="import, CPU", number="ms", unit="ms", more=False)
    return Measurement("import", runs, (row,), said="the package alone; Outlast's driver comes with the first store")


def claims() -> Measurement:
    queued = {"few": 10_000, "queued": 1_000_000, "ended": 10_000}
    order = {"queued": queued, "ended": {"ended": 300_000}, "rounds": 5, "jobs": 5_000}
    goal = Goal(0.8, ("outlast", "few"))
    return Measurement(
        "claims",
        (Run("outlast", "claims", order),),
        (
            Row(title="claims, 10,000 queued", number="few", unit="jobs/s", more=True),
            Row(title="claims, 1,000,000 queued", number="queued", unit="jobs/s", more=True, goal=goal),
            Row(title="claims, 300,000 ended", number="ended", unit="jobs/s", more=True, goal=goal),
        ),
        once=True,
        said="5,000 jobs a round, 100 at once; the ratio is to 10,000 queued",
    )
