"""Kills: workers die and pause by the hundred over one file, and each job ends once, with each step recorded once."""

import asyncio
import logging
import os
import tempfile
import time
from pathlib import Path

from torture.crew.torment import Damage, Torment, asking
from torture.crew.workers import Crew
from torture.report import Report

KILLS, JOBS = 1_000, 10_000
SEED = 20261125
LEASE = 2.0
"""Seconds; a pause must outlast it."""


def run(fraction: float) -> Report:
    """Kill so many workers over so many jobs."""
    began = time.monotonic()
    logging.disable()
    kills, jobs = max(round(KILLS * fraction), 1), max(round(JOBS * fraction), 1)
    damage, stuck = asyncio.run(_tormented(kills, jobs))
    return _report(damage, stuck, time.monotonic() - began)


async def _tormented(kills: int, jobs: int) -> tuple[Damage, list[str]]:
    with tempfile.TemporaryDirectory(prefix="outlast-kills-") as folder, Crew(Path(folder), lease=LEASE) as crew:
        async with asking(crew) as app:
            torment = Torment(crew, app, SEED, seconds=0.4)
            try:
                return await torment.run(kills=kills, jobs=jobs), []
            except* TimeoutError as errors:
                stuck = [f"STUCK: {error}\n{crew.log()[-2000:]}" for error in errors.exceptions]
            return torment.damage, stuck


def _report(damage: Damage, stuck: list[str], seconds: float) -> Report:
    return Report(
        name="kills",
        unit="jobs",
        trials=damage.jobs,
        seeds=str(SEED),
        seconds=seconds,
        processes=os.cpu_count() or 1,
        counters={
            "kills": damage.kills,
            "pauses past the lease": damage.pauses,
            "takeovers": damage.takeovers,
            "stale writes refused": damage.stale_writes_refused,
            "extra attempts": damage.extra_attempts,
            "extra calls of a step": damage.extra_calls,
        },
        figures={
            "pauses that hit upon a commit": f"{damage.pauses_amid_commits:,}",
            "submits sent again": f"{damage.submits_again:,}",
            "lost": f"{len(damage.lost):,}",
            "recorded twice, or otherwise amiss": f"{len(damage.doubled):,}",
            "from a death to the next attempt": recovery(damage.recoveries),
        },
        failures=[*stuck, *damage.lost, *damage.doubled],
    )


def recovery(seconds: list[float]) -> str:
    """How long from a death to the next attempt, in words."""
    if not seconds:
        return "nobody died with a job"
    p50, p99 = (seconds[min(int(len(seconds) * part), len(seconds) - 1)] for part in (0.50, 0.99))
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, longest {seconds[-1]:.2f} s, of {len(seconds):,} jobs"
