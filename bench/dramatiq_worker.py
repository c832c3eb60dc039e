"""Dramatiq as it is measured: its own worker with threads in this process, on Redis, its middleware as by default.

No result is kept, as by default: a finished job is taken off the server.
"""

import logging
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import dramatiq  # type: ignore[import-not-found]  # in an environment of its own
from dramatiq.brokers.redis import RedisBroker  # type: ignore[import-not-found]

from bench.measured import WARM_UP, Numbers, Tally, pauses, ready, resident, run, threaded

CONNECTIONS = 2000
"""More than redis-py's own limit of 100, past which a worker's thread would get an error."""

THREADS = 8
"""What it takes unless told otherwise."""


class Bench:
    """A broker on this server, with its handlers."""

    def __init__(self, url: str, jobs: int = 0) -> None:
        self.broker: Any = RedisBroker(url=f"{url}?max_connections={CONNECTIONS}")
        self.done = threading.Event()
        self.started: dict[int, float] = {}
        tally = Tally(jobs, self.done.set)

        @dramatiq.actor(broker=self.broker)  # type: ignore[untyped-decorator]
        def noop() -> None:
            tally.add()

        @dramatiq.actor(broker=self.broker)  # type: ignore[untyped-decorator]
        def sleeper(seconds: float) -> None:
            tally.add()
            time.sleep(seconds)

        @dramatiq.actor(broker=self.broker)  # type: ignore[untyped-decorator]
        def numbered(number: int) -> None:
            self.started[number] = time.monotonic()
            tally.add()

        self.noop: Any = noop
        self.sleeper: Any = sleeper
        self.numbered: Any = numbered

    @contextmanager
    def working(self, threads: int) -> Iterator[None]:
        worker = dramatiq.Worker(self.broker, worker_threads=threads)
        worker.start()
        try:
            yield
        finally:
            worker.stop()

    def left(self) -> int:
        """Jobs that are not acknowledged."""
        left: int = self.broker.client.hlen("dramatiq:default.msgs")
        return left


# -- the measurements ---------------------------------------------------------------------------------------------


def drain(url: str, jobs: int, threads: int) -> Numbers:
    """Jobs that wait already: from before the worker starts until all are acknowledged."""
    bench = Bench(url, jobs)
    return {"rate": jobs / until_done(bench, jobs, threads, bench.noop), "mib": resident()}


def submits(url: str, jobs: int, callers: int) -> Numbers:
    """Each caller a thread; no worker runs."""
    bench = Bench(url)
    for _ in range(WARM_UP):
        bench.noop.send()
    return {"rate": jobs / threaded(callers, jobs, bench.noop.send)}


def work(url: str, jobs: int) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    bench = Bench(url, jobs)
    with bench.working(THREADS):
        # It looks for jobs before the first one comes.
        time.sleep(1)
        ready()
        bench.done.wait()
    return {"started": [bench.started[number] for number in range(jobs)]}


def submit(url: str, jobs: int, between: Sequence[float]) -> Numbers:
    bench = Bench(url)
    submitted = []
    for number, pause in enumerate(pauses(jobs, between)):
        time.sleep(pause)
        submitted.append(time.monotonic())
        bench.numbered.send(number)
    return {"submitted": submitted}


def sleepers(url: str, jobs: int) -> Numbers:
    """As `drain`, of jobs that sleep for a second, with a thread for each."""
    bench = Bench(url, jobs)
    return {"seconds": until_done(bench, jobs, jobs, bench.sleeper, 1.0)}


def facts(url: str) -> Numbers:
    return {
        "versions": {
            "dramatiq": version("dramatiq"),
            "redis-py": version("redis"),
            "Python": platform.python_version(),
        },
        "durability": "as the server; no result is kept",
    }


# -- how they are made ----------------------------------------------------------------------------------------------


def until_done(bench: Bench, jobs: int, threads: int, actor: Any, *arguments: object) -> float:
    for _ in range(jobs):
        actor.send(*arguments)
    began = time.perf_counter()
    with bench.working(threads):
        bench.done.wait()
        while bench.left():
            time.sleep(0.002)
        return time.perf_counter() - began


if __name__ == "__main__":
    logging.getLogger("dramatiq").setLevel(logging.ERROR)
    commands = (drain, submits, work, submit, sleepers, facts)
    run({command.__name__: command for command in commands})
