"""What the measured programs share. Each of them runs in an environment of its own, so this is standard library alone.

A program is started as `python -m bench.huey_worker COMMAND ORDER`. The order is a JSON object, the command a function
that takes it by name and answers numbers, or lists of them, which are printed as JSON.
"""

import asyncio
import itertools
import json
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

Numbers = dict[str, Any]

WARM_UP = 20
"""Submits before the clock starts, so that nobody pays for a first connection or a model that is built once."""


class Tally:
    """Counts calls from any thread, and calls `reached` in the one that makes it `wanted`."""

    def __init__(self, wanted: int, reached: Callable[[], object]) -> None:
        self._wanted, self._reached = wanted, reached
        self._numbers = itertools.count(1)

    def add(self) -> None:
        if next(self._numbers) == self._wanted:
            self._reached()


def run(commands: Mapping[str, Callable[..., Numbers]]) -> None:
    """Do what the command line says, and print what came out as the last line."""
    name, order = sys.argv[1:]
    print(json.dumps(commands[name](**json.loads(order))), flush=True)


def ready() -> None:
    """Tell that the worker listens."""
    print("ready", flush=True)


def threaded(callers: int, jobs: int, submit: Callable[[], object]) -> float:
    """Seconds that `jobs` submits take from so many threads at once; from one, in this thread."""
    if callers == 1:
        return timed(lambda: _repeat(jobs, submit))
    threads = [threading.Thread(target=_repeat, args=(jobs // callers, submit)) for _ in range(callers)]

    def together() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return timed(together)


def timed(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def _repeat(times: int, do: Callable[[], object]) -> None:
    for _ in range(times):
        do()


def awaiting(
    command: Callable[..., Coroutine[Any, Any, Numbers]],
    run: Callable[[Coroutine[Any, Any, Numbers]], Numbers] = asyncio.run,
) -> Callable[..., Numbers]:
    """A command that is a coroutine function, as one that is not."""
    return lambda **order: run(command(**order))


async def gathered(callers: int, jobs: int, submit: Callable[[], Awaitable[object]]) -> float:
    """Seconds that `jobs` submits take from so many tasks at once, each of which awaits one after the other."""
    began = time.perf_counter()
    await asyncio.gather(*(repeated(jobs // callers, submit) for _ in range(callers)))
    return time.perf_counter() - began


async def repeated(times: int, do: Callable[[], Awaitable[object]]) -> None:
    for _ in range(times):
        await do()


async def spaced(jobs: int, between: Sequence[float], submit: Callable[[int], Awaitable[object]]) -> list[float]:
    """When each of the jobs 0, 1, ... was submitted."""
    submitted = []
    for number, pause in enumerate(pauses(jobs, between)):
        await asyncio.sleep(pause)
        submitted.append(time.monotonic())
        await submit(number)
    return submitted


class Seen:
    """What handlers of one event loop leave for the measurement: how often they were called, and who began when."""

    def __init__(self) -> None:
        self.started: dict[int, float] = {}
        self._tally = Tally(0, lambda: None)

    def awaited(self, jobs: int) -> asyncio.Event:
        """Set once the handlers were called so many times."""
        done = asyncio.Event()
        self._tally = Tally(jobs, done.set)
        return done

    def called(self, number: int | None = None) -> None:
        if number is not None:
            self.started[number] = time.monotonic()
        self._tally.add()

    def in_order(self) -> list[float]:
        return [self.started[number] for number in range(len(self.started))]


def pauses(jobs: int, between: Sequence[float]) -> list[float]:
    """The same pauses for every system: seconds before each submit, from a fixed seed."""
    chance = random.Random(1)
    return [chance.uniform(*between) for _ in range(jobs)]


def milliseconds(submitted: Sequence[float], started: Mapping[int, float]) -> list[float]:
    """From each submit's call to its handler's first line; a machine's processes share the monotonic clock."""
    return [(started[number] - at) * 1000 for number, at in enumerate(submitted)]


def resident() -> float:
    """MiB of memory that this process holds now."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
