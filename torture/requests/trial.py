"""One seed: a server with a worker on a new file, and the requests that schemathesis makes of its description.

Seed 0 tries every bound of every parameter. Each draws requests, and then lets them follow the description's links, so
that they reach jobs that there are: submitted, waiting, failed, cancelled, removed.
"""

import argparse
import asyncio
import hashlib
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import schemathesis
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from outlast.principal import SCOPES
from torture.crew.workers import Crew, address, until
from torture.report import Report
from torture.requests.checks import CHECKS
from torture.requests.walks import for_walks

APP = "torture.requests.app:app"
SEEDS = 10
DRAWN, WALKED = 25, 1_200
"""Requests that one seed draws for each route, and those that it lets follow the links."""

WALKS, PARTS = 60, 100
"""Walks that are planned at once, and how often at most. Hypothesis breaks a plan off once a walk is answered otherwise
than before, as is right of jobs that move by themselves; so there are more plans until there were enough requests."""

KEY = "of-the-trial-alone"
HEADERS = {"Authorization": f"Bearer {KEY}"}
ENV = {
    "OUTLAST_KEYS": f"trial:trial:{'+'.join(sorted(SCOPES))}:{hashlib.sha256(KEY.encode()).hexdigest()}",
    "OUTLAST_SECRET": "of-the-trial-alone-and-long-enough",
    # With a worker there, sweeps find little to run, and so short a one does not hold the trial up.
    "OUTLAST_PUSH": "cron:?budget=50ms",
    "CRON_SECRET": KEY,
}
PATIENCE = 30.0
PHASES = ("examples", "coverage", "fuzzing", "stateful")


@dataclass(slots=True)
class Answers:
    """What came back: how many answers of each operation and status, by the way of asking, and what was amiss."""

    asked: Counter[str] = field(default_factory=Counter)
    given: Counter[tuple[str, int]] = field(default_factory=Counter)
    flaws: dict[str, str] = field(default_factory=dict)
    """The first text of each kind."""


def run(fraction: float) -> Report:
    """Try so many seeds, one after the other."""
    return _report(range(max(round(SEEDS * fraction), 1)))


def replay(arguments: Sequence[str]) -> Report:
    """`--seed 3`: one seed again."""
    parser = argparse.ArgumentParser(prog="./dev torture requests", allow_abbrev=False)
    parser.add_argument("--seed", type=int, required=True)
    return _report([parser.parse_args(arguments).seed])


def ask(seed: int, *, app: str = APP, drawn: int = DRAWN, walked: int = WALKED) -> Answers:
    """Ask a server of its own all that this seed stands for."""
    answers = Answers()
    with (
        tempfile.TemporaryDirectory(prefix="outlast-requests-") as folder,
        Crew(Path(folder), app=app) as crew,
        _serving(crew) as url,
    ):
        phases = ("coverage", "fuzzing") if seed == 0 else ("fuzzing",)
        again = f"./dev torture requests --seed {seed}"
        document = httpx2.get(f"{url}/openapi.json", headers=HEADERS, timeout=PATIENCE).json()
        _hear(answers, document, _settings(url, seed, drawn, *phases), again)
        to_walk = for_walks(document)
        for part in range(1, PARTS + 1):
            if answers.asked["stateful"] < walked:
                _hear(answers, to_walk, _settings(url, seed * 1000 + part, WALKS, "stateful"), again)
            crew.check()
    return answers


@contextmanager
def _serving(crew: Crew) -> Iterator[str]:
    crew.serve(**ENV)

    async def answers() -> bool:
        return bool(address(crew.log()))

    asyncio.run(until(answers, "the server says where it is", PATIENCE))
    yield f"http://{address(crew.log())}"


def _settings(url: str, seed: int, drawn: int, *phases: str) -> dict[str, Any]:
    return {
        "seed": seed,
        "base-url": url,
        "headers": HEADERS,
        "request-timeout": PATIENCE,
        "continue-on-failure": True,
        "checks": CHECKS,
        "generation": {"max-examples": drawn, "database": "none", "no-shrink": True},
        "phases": {name: {"enabled": name in phases} for name in PHASES},
        "output": {"sanitization": {"enabled": False}},
    }


def _hear(answers: Answers, document: dict[str, Any], settings: dict[str, Any], again: str) -> None:
    described = schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(settings))
    for event in from_schema(described).execute():
        _note(event, answers, again)


def _note(event: events.EngineEvent, answers: Answers, again: str) -> None:
    match event:
        case events.ScenarioFinished():
            answers.asked[event.phase.value] += len(event.recorder.interactions)
            _note_answers(event.recorder, answers, again)
        case events.NonFatalError():
            answers.flaws.setdefault(f"{event.label}: {event.value!r}", f"{event.label}: {event.value!r}\n  {again}")
        case events.FatalError():
            raise event.exception


def _note_answers(recorder: ScenarioRecorder, answers: Answers, again: str) -> None:
    for id, interaction in recorder.interactions.items():
        if interaction.response is not None:
            answers.given[recorder.cases[id].value.operation.label, interaction.response.status_code] += 1
    for checks in recorder.checks.values():
        for check in checks:
            if (found := check.failure_info) is not None:
                kind = f"{check.name} at {found.failure.operation}: {found.failure.title}"
                text = f"{kind}\n{found.failure.message}\n{found.code_sample}\n  {again}"
                answers.flaws.setdefault(kind, text)


# -- the report -----------------------------------------------------------------------------------------------------


def _report(seeds: Sequence[int]) -> Report:
    began = time.monotonic()
    logging.disable()
    found = [ask(seed) for seed in seeds]
    asked, given = sum((one.asked for one in found), Counter[str]()), sum((one.given for one in found), Counter[Any]())
    return Report(
        name="requests",
        unit="requests",
        trials=asked.total(),
        seeds=f"{seeds[0]}..{seeds[-1]}",
        seconds=time.monotonic() - began,
        counters={
            **({"bounds tried": asked["coverage"]} if 0 in seeds else {}),
            "requests drawn": asked["fuzzing"],
            "requests along links": asked["stateful"],
            **{what: given[of] for what, of in REACHED.items()},
        },
        figures={"signals left": f"{given['POST /jobs/{id}/signals/{name}', 202]:,}"},
        failures=[text for one in found for text in one.flaws.values()],
    )


REACHED = {
    "jobs submitted": ("POST /jobs", 202),
    "jobs looked at": ("GET /jobs/{id}", 200),
    "results taken": ("GET /jobs/{id}/result", 200),
    "jobs cancelled": ("POST /jobs/{id}/cancel", 200),
    "jobs tried again": ("POST /jobs/{id}/retry", 202),
    "jobs removed": ("DELETE /jobs/{id}", 204),
    "batches counted": ("GET /jobs/batches/{id}", 200),
    "deliveries begun again": ("POST /jobs/deliveries/{id}/redeliver", 202),
    "sweeps": ("POST /push/sweep", 200),
}
"""What the requests must have come to, or they asked only for what is not there."""
