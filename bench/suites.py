"""The suites: where jobs are kept, which systems are measured there, and what of each."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench import places, plan, plan_http, plan_postgres, plan_redis, plan_serverless
from bench.places import Place
from bench.plan import Measurement


@dataclass(frozen=True, slots=True)
class Suite:
    """What `./dev bench NAME` measures.

    systems:      by their names, the heads of their columns; Outlast first.
    plan:         all measurements, or with True so much of each that CI can afford it.
    place:        opens what the jobs are kept in, below a folder.
    environments: of systems whose environment is not `.bench/` and their name.
    """

    systems: Mapping[str, str]
    plan: Callable[[bool], list[Measurement]]
    place: Callable[[Path], AbstractContextManager[Place]]
    environments: Mapping[str, str] = field(default_factory=dict)


SUITES = {
    "sqlite": Suite(plan.TITLES, lambda small: plan.plan(small=small), places.files),
    "postgres": Suite(plan_postgres.TITLES, plan_postgres.plan, places.postgres),
    # Huey imports a driver wherever it finds one, so that on files it is measured without.
    "redis": Suite(plan_redis.TITLES, plan_redis.plan, places.valkey, {"huey": "huey-redis"}),
    "http": Suite(plan_http.TITLES, plan_http.plan, places.files_by_http, {"starlette": "outlast"}),
    "serverless": Suite(
        plan_serverless.TITLES, plan_serverless.plan, places.files_and_postgres, {"libraries": "outlast"}
    ),
}
