"""Failpoints: a worker dies before and after each call it makes to its store, and nothing is lost, doubled or stuck."""

import asyncio
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from random import Random

from torture.failing.sites import required
from torture.failing.trial import Outcome, Point, die_at
from torture.report import Report

ROUNDS = 4
"""In the first a worker dies at the first call from each site, in the others at one by chance."""

AT_ONCE = 3
"""Trials at once for each core, for they mostly wait."""


def run(fraction: float) -> Report:
    """Every site of a worker, before and after, in so many rounds; of less than a round each site, before or after."""
    logging.disable()
    rounds = max(round(ROUNDS * fraction), 1)
    points = list(_first())
    if ROUNDS * fraction < 1:
        points = [Random(site).choice(list(both)) for site, both in groupby(points, key=lambda point: point.site)]
    if rounds > 1:
        (calm,) = asyncio.run(_tried([None]))
        points += [point for seed in range(1, rounds) for point in _later(Random(seed), calm.calls)]
    return _report(points, f"0..{rounds - 1}", required())


def replay(arguments: Sequence[str]) -> Report:
    """`--at "before apply: append a step" [--nth 2]`: one trial."""
    logging.disable()
    told = dict(zip(arguments[::2], arguments[1::2], strict=True))
    when, _, site = told["--at"].partition(" ")
    return _report([Point(when, site, int(told.get("--nth", "1")))], "0", frozenset())


def _first() -> Iterator[Point]:
    for site in sorted(required()):
        yield Point("before", site)
        yield Point("after", site)


def _later(chance: Random, calls: Counter[str]) -> Iterator[Point]:
    """At any of the calls that a worker which does not die makes from a site."""
    for point in _first():
        yield point._replace(nth=chance.randint(1, max(calls[point.site], 1)))


def _report(points: Sequence[Point], seeds: str, sites: frozenset[str]) -> Report:
    began = time.monotonic()
    outcomes = asyncio.run(_tried(points))
    calls = sum((outcome.calls for outcome in outcomes), Counter[str]())
    deaths = [point for point, outcome in zip(points, outcomes, strict=True) if outcome.died]
    return Report(
        name="failpoints",
        unit="deaths",
        trials=len(deaths),
        seeds=seeds,
        seconds=time.monotonic() - began,
        processes=os.cpu_count() or 1,
        counters={
            "sites of the worker": len({point.site for point in deaths}),
            "died before the call": sum(point.when == "before" for point in deaths),
            "died after the call": sum(point.when == "after" for point in deaths),
            "calls to the store": calls.total(),
        },
        figures={"later calls that a trial did not come to": f"{len(points) - len(deaths):,}"},
        failures=[*_failed(points, outcomes), *_unnamed(calls, sites)],
    )


async def _tried(points: Sequence[Point | None]) -> list[Outcome]:
    free = asyncio.Semaphore(AT_ONCE * (os.cpu_count() or 1))

    async def tried(point: Point | None) -> Outcome:
        async with free:
            with tempfile.TemporaryDirectory(prefix="outlast-failpoints-") as folder:
                return await die_at(point, Path(folder))

    return await asyncio.gather(*map(tried, points))


def _failed(points: Sequence[Point], outcomes: Sequence[Outcome]) -> Iterator[str]:
    for point, outcome in zip(points, outcomes, strict=True):
        again = f'  ./dev torture failpoints --at "{point.when} {point.site}" --nth {point.nth}'
        if outcome.flaws:
            yield "\n  ".join([f"AMISS after a death {point}:", *outcome.flaws]) + f"\n{again}"
        elif not outcome.died and point.nth == 1:
            yield f"NEVER REACHED: {point}. The scene of torture/failing must lead a worker there\n{again}"


def _unnamed(calls: Counter[str], sites: frozenset[str]) -> Iterator[str]:
    for site in sorted(calls.keys() - sites) if sites else ():
        yield f"UNNAMED: {site!r} is called and not among the sites of torture/failing/sites.py"
