"""The simulation keeps its own promises: one seed, one course; a failure is found, made small, and runs again."""

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from random import Random
from typing import Any

import pytest

from outlast.stores.base import Claimed
from tests.planted_faults import NoFence
from torture.simulation import replay
from torture.simulation.campaign import chunk
from torture.simulation.chance import ruled_by
from torture.simulation.schedule import Verdict, play
from torture.simulation.shrinking import shrunk
from torture.simulation.world import SimulatedStore

ROOT = Path(__file__).parents[2]


def test_five_hundred_schedules_break_no_promise_and_meet_what_they_are_about() -> None:
    counters, broken = chunk(range(500))
    assert broken == []
    met = (
        "stale refusals, expired leases, takeovers, lost replies sent again, ends with all tries spent, replayed steps"
    )
    met += ", signals taken, parks, wakes, ends by deadline, cancel and finish: cancelled, output taken back"
    assert [name for name in met.split(", ") if not counters[name]] == []


def test_a_seed_takes_the_same_course_in_every_process() -> None:
    code = "from tests.torture.test_simulation import course; print(course(range(40)))"
    others = [
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert [course(range(40))] * 2 == others


def course(seeds: Collection[int]) -> str:
    """A digest of all that happens in these schedules."""
    happened = hashlib.sha256()
    with ruled_by(Random()) as chance:
        for seed in seeds:
            play(chance, seed, Counter(), trace=lambda words: happened.update(words.encode()))
    return happened.hexdigest()


class ClaimsNothing(SimulatedStore):
    async def claim(self, n: int, types: Collection[str], worker: str, **how: Any) -> Claimed:
        return Claimed([], None)


def test_a_job_that_nobody_runs_is_missed_once_the_faults_are_over() -> None:
    with ruled_by(Random()) as chance:
        broken = {play(chance, seed, Counter(), store=ClaimsNothing).broken for seed in range(20)}
    assert "I9" in broken
    assert broken <= {"I9", None}


class Unfenced(NoFence, SimulatedStore):
    """A store with a planted fault."""


def test_a_failure_is_made_small_and_runs_again_from_what_is_printed() -> None:
    with ruled_by(Random()) as chance:

        def again(seed: int, twist: int, without: frozenset[str]) -> Verdict:
            return play(chance, seed, Counter(), twist, without, store=Unfenced)

        verdicts = (again(seed, 0, frozenset()) for seed in range(2_000))
        first = next(verdict for verdict in verdicts if verdict.broken == "I2" and len(list(verdict.plan.parts())) > 6)
        small = shrunk(first, again)
        assert small.broken == "I2"
        assert len(list(small.plan.parts())) < len(list(first.plan.parts())) / 2
        assert again(small.plan.seed, small.plan.twist, small.plan.without).found == small.found
    assert small.plan.again().startswith(f"--seed {first.plan.seed}")


def test_a_replay_prints_every_call_and_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    report = replay(["--seed", "5", "--without", "reader"])
    shown = capsys.readouterr().out
    assert report.passed
    assert "insert [[new job" in shown and "claim [" in shown
    assert "faults until" in shown
