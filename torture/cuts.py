"""Power cuts: nothing that was acknowledged is lost, and the file is whole, wherever the power goes.

Two recordings in which that cannot be so show that a loss would be seen: one without syncs at commits, and one on a
disk that answers syncs and does nothing.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context

from torture.power.images import Found, cut
from torture.power.recording import obstacle
from torture.report import Report

IMAGES = 20_000
PER_RECORDING = 250
CONTROL = 100


def run(fraction: float) -> Report:
    """Cut the power over many recordings."""
    began = time.monotonic()
    if why := obstacle():
        return replace(_report(Found(), "none", 0.0, 1), failures=[why])
    seeds = range(max(round(IMAGES * fraction / PER_RECORDING), 1))
    found, processes = Found(), os.cpu_count() or 1
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for one in pool.map(partial(_cut, images=PER_RECORDING), seeds):
            found.add(one)
        found.counters.update(_controls(pool))
    return _report(found, f"0..{seeds[-1]}", time.monotonic() - began, processes)


def _controls(pool: ProcessPoolExecutor) -> Counter[str]:
    process = pool.submit(_cut, 1, CONTROL, durability="process")
    lying = pool.submit(_cut, 1, CONTROL, honest=False)
    return Counter(
        {
            f"of {CONTROL} images with durability=process, bad": _bad(process.result()),
            f"of {CONTROL} images of a disk that lies about syncs, bad": _bad(lying.result()),
        }
    )


def _bad(found: Found) -> int:
    return len(found.lost) + len(found.corrupt)


def replay(arguments: Sequence[str]) -> Report:
    """`--seed 17`: the cuts of one recording. The workload is a real one, so no two recordings are quite the same."""
    began = time.monotonic()
    seed = int(arguments[arguments.index("--seed") + 1])
    return _report(_cut(seed, PER_RECORDING), str(seed), time.monotonic() - began, 1)


def _cut(seed: int, images: int, *, durability: str = "disk", honest: bool = True) -> Found:
    logging.disable()  # what the workload's handlers raise is meant
    found = cut(seed, images, durability=durability, honest=honest)
    again = f"\n  ./dev torture cuts --seed {seed}"
    found.lost = [f"LOST, recording {seed}, {text}{again}" for text in found.lost]
    found.corrupt = [f"CORRUPT, recording {seed}, {text}{again}" for text in found.corrupt]
    return found


def _report(found: Found, seeds: str, seconds: float, processes: int) -> Report:
    return Report(
        name="cuts",
        unit="images",
        trials=found.images,
        seeds=seeds,
        seconds=seconds,
        processes=processes,
        counters=found.counters,
        figures={
            "images with something acknowledged lost": f"{len(found.lost):,}",
            "corrupt images": f"{len(found.corrupt):,}",
            "images/s": f"{found.images / seconds:,.0f}",
        },
        failures=found.lost + found.corrupt,
    )
