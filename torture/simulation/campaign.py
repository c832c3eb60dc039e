"""Many schedules on all cores, what they went through, and a replay of one of them."""

import argparse
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from random import Random

from torture.report import Report
from torture.simulation.chance import ruled_by
from torture.simulation.plan import CALL_FAULTS, NODE_FAULTS, WORLD_FAULTS
from torture.simulation.schedule import Verdict, play
from torture.simulation.shrinking import shrunk

SCHEDULES = 1_000_000
CHUNK = 1_000
PROGRESS = 100_000
"""Schedules between two lines on how far it is."""

MOST_SHOWN = 3
"""Failures that are shrunk and shown; the rest would mostly be the same."""

MUST_BE_MET = (
    "claims",
    "writes",
    "stale refusals",
    "expired leases",
    "leases of the dead",
    "takeovers",
    "replayed steps",
    "output taken back",
    "texts compared",
    "steps sent again",
    "lost replies sent again",
    "keys of another request",
    "decisions made again",
    "cancel and finish: cancelled",
    "cancel and finish: completed",
    "bare wishes",
    "ends with all tries spent",
    "ends by deadline",
    "parks",
    "wakes",
    "signals taken",
    "hand-backs",
    "retries by hand",
    "removed by hand",
    "removed by retention",
    "followed to the end",
    "strangers turned away",
    *(f"fault: {name}" for name in (*CALL_FAULTS, *NODE_FAULTS, *WORLD_FAULTS, "poison")),
)
"""A run in which one of these stayed at zero proved nothing about it, and fails."""


def run(fraction: float) -> Report:
    """This fraction of a million schedules, seeds from 0 on, on all cores."""
    trials, processes = max(round(SCHEDULES * fraction), 1), os.cpu_count() or 1
    chunks = [range(first, min(first + CHUNK, trials)) for first in range(0, trials, CHUNK)]
    counters: Counter[str] = Counter()
    broken: list[Verdict] = []
    busy, began = 0.0, time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        for seeds, (met, failed, took) in zip(chunks, pool.map(_timed, chunks), strict=True):
            counters.update(met)
            broken += failed
            busy += took
            if seeds.stop % PROGRESS == 0:
                print(f"simulation: {seeds.stop:,} schedules, {len(broken)} broken", flush=True)
    return Report(
        name="simulation",
        unit="schedules",
        trials=trials,
        seeds=f"0..{trials - 1}",
        seconds=time.monotonic() - began,
        processes=processes,
        figures={"in the time of one processor": f"{trials / busy * 60:,.0f} schedules a minute"},
        counters={name: counters[name] for name in MUST_BE_MET},
        failures=[told(verdict) for verdict in broken[:MOST_SHOWN]] + _more(broken[MOST_SHOWN:]),
    )


def _timed(seeds: Sequence[int]) -> tuple[Counter[str], list[Verdict], float]:
    """A chunk, and the processor time it took: on a busy machine the clock on the wall tells something else."""
    began = time.process_time()
    counters, broken = chunk(seeds)
    return counters, broken, time.process_time() - began


def chunk(seeds: Sequence[int]) -> tuple[Counter[str], list[Verdict]]:
    """What these seeds went through, and those that broke a promise."""
    counters: Counter[str] = Counter()
    with ruled_by(Random()) as chance:
        verdicts = [play(chance, seed, counters) for seed in seeds]
    return counters, [verdict for verdict in verdicts if verdict.broken is not None]


def told(verdict: Verdict) -> str:
    """A failure in words, shrunk, with the command that runs it again."""
    with ruled_by(Random()) as chance:
        small = shrunk(verdict, lambda seed, *course: play(chance, seed, Counter(), *course))
    lines = [f"seed {verdict.plan.seed}: {verdict.found}", f"shrunk: {small.found}", *small.plan.lines()]
    return "\n  ".join([*lines, f"again, with a trace: ./dev torture simulation {small.plan.again()}"])


def _more(broken: Sequence[Verdict]) -> list[str]:
    seeds = ", ".join(str(verdict.plan.seed) for verdict in broken[:50])
    return [f"{len(broken)} more, with seeds {seeds}"] if broken else []


def replay(arguments: Sequence[str]) -> Report:
    """One schedule again, with a trace of all that happens."""
    parser = argparse.ArgumentParser(prog="./dev torture simulation", allow_abbrev=False)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--twist", type=int, default=0, help="another course of the same plan")
    parser.add_argument("--without", default="", help="parts of the plan to leave out, such as reader,late,job-2")
    asked = parser.parse_args(arguments)
    without = frozenset(asked.without.split(",")) - {""}
    counters: Counter[str] = Counter()
    began = time.monotonic()
    with ruled_by(Random()) as chance:
        verdict = play(chance, asked.seed, counters, asked.twist, without, trace=print)
    print("", *verdict.plan.lines(), "", sep="\n")
    return Report(
        name="simulation",
        unit="schedules",
        trials=1,
        seeds=str(asked.seed),
        seconds=time.monotonic() - began,
        counters={name: count for name in MUST_BE_MET if (count := counters[name])},
        failures=[verdict.found] if verdict.broken else [],
    )
