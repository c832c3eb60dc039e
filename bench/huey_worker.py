"""Huey as it is measured: its own consumer with threads in this process.

On a file it is SqliteHuey with `fsync=True`, for an equal durability; on Redis it is RedisHuey, which waits on the
server for the next job. It keeps no result of a handler that returns None, so that a finished job costs it the one
commit that takes it off the queue before it runs.
"""

import logging
import platform
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from huey import RedisHuey, SqliteHuey  # type: ignore[import-not-found]  # in an environment of its own

from bench.measured import (
    WARM_UP,
    Numbers,
    Tally,
    milliseconds,
    pauses,
    ready,
    resident,
    run,
    threaded,
)

DEFAULT_POLLING = {"initial_delay": 0.1, "backoff": 1.15, "max_delay": 10.0}
"""What Huey does unless told otherwise."""


class Bench:
    """A Huey on this file or server, with its handlers."""

    def __init__(self, url: str, jobs: int = 0, *, fsync: bool = True) -> None:
        self.huey: Any = huey_of(url, fsync=fsync)
        self.done = threading.Event()
        self.started: dict[int, float] = {}
        tally = self.tally = Tally(jobs, self.done.set)

        @self.huey.task()  # type: ignore[untyped-decorator]
        def noop() -> None:
            tally.add()

        @self.huey.task()  # type: ignore[untyped-decorator]
        def sleeper(seconds: float) -> None:
            time.sleep(seconds)
            tally.add()

        @self.huey.task()  # type: ignore[untyped-decorator]
        def numbered(number: int) -> None:
            self.started[number] = time.monotonic()
            tally.add()

        self.noop, self.sleeper, self.numbered = noop, sleeper, numbered

    @contextmanager
    def working(self, threads: int = 1, polling: dict[str, float] = DEFAULT_POLLING) -> Iterator[None]:
        consumer = self.huey.create_consumer(workers=threads, periodic=False, **polling)
        consumer.start()
        try:
            yield
        finally:
            consumer.stop(graceful=True)


def drain(url: str, jobs: int, threads: int) -> Numbers:
    """Jobs that wait already: from before the consumer starts until the last handler was called."""
    fill(url, lambda bench: [bench.noop() for _ in range(jobs)])
    bench = Bench(url, jobs)
    began = time.perf_counter()
    with bench.working(threads):
        bench.done.wait()
        seconds = time.perf_counter() - began
    return {"rate": jobs / seconds, "mib": resident()}


def submits(url: str, jobs: int, callers: int) -> Numbers:
    """Each caller a thread; no consumer runs."""
    bench = Bench(url)
    for _ in range(WARM_UP):
        bench.noop()
    return {"rate": jobs / threaded(callers, jobs, bench.noop)}


def pickup(url: str, jobs: int, between: Sequence[float], polling: dict[str, float]) -> Numbers:
    """One job after the other on an idle consumer of the same process."""
    bench = Bench(url, jobs)
    with bench.working(1, polling):
        submitted = submit_spaced(bench, jobs, between)
        bench.done.wait()
    return {"ms": milliseconds(submitted, bench.started)}


def work(url: str, jobs: int, polling: dict[str, float]) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    bench = Bench(url, jobs)
    with bench.working(1, polling):
        ready()
        bench.done.wait()
    return {"started": [bench.started[number] for number in range(jobs)]}


def submit(url: str, jobs: int, between: Sequence[float]) -> Numbers:
    return {"submitted": submit_spaced(Bench(url), jobs, between)}


def sleepers(url: str, jobs: int) -> Numbers:
    """As `drain`, of jobs that sleep for a second, with a thread for each."""
    fill(url, lambda bench: [bench.sleeper(1.0) for _ in range(jobs)])
    bench = Bench(url, jobs)
    began = time.perf_counter()
    with bench.working(jobs):
        bench.done.wait()
        return {"seconds": time.perf_counter() - began}


def idle(url: str, seconds: float, polling: dict[str, float]) -> Numbers:
    """A consumer that has nothing to do."""
    with Bench(url).working(1, polling):
        time.sleep(2)
        began = time.process_time()
        time.sleep(seconds)
        return {"percent": (time.process_time() - began) / seconds * 100, "mib": resident()}


def facts(url: str) -> Numbers:
    connection = Bench(url).huey.storage.conn
    if not is_file(url):
        versions = {"huey": version("huey"), "redis-py": version("redis"), "Python": platform.python_version()}
        return {"versions": versions, "durability": "a job is taken off the queue before it runs"}
    (journal,), (synchronous,) = (connection.execute(f"pragma {name}").fetchone() for name in PRAGMAS)
    return {
        "versions": {
            "huey": version("huey"),
            "Python": platform.python_version(),
            "SQLite": sqlite3.sqlite_version,
        },
        "durability": f"journal_mode={journal}, synchronous={synchronous}",
    }


PRAGMAS = ("journal_mode", "synchronous")
CONNECTIONS = 1000
"""More than redis-py's own limit of 100, past which a caller would get an error."""


def is_file(url: str) -> bool:
    return url.startswith("sqlite:")


def huey_of(url: str, *, fsync: bool) -> Any:
    if is_file(url):
        return SqliteHuey(filename=url.removeprefix("sqlite:///"), fsync=fsync)
    return RedisHuey(url=f"{url}?max_connections={CONNECTIONS}")


def fill(url: str, submit: Callable[[Bench], object]) -> None:
    """What comes before the clock starts, without a sync for each job; closing the file syncs it."""
    bench = Bench(url, fsync=False)
    submit(bench)
    bench.huey.storage.close()


def submit_spaced(bench: Bench, jobs: int, between: Sequence[float]) -> list[float]:
    submitted = []
    for number, pause in enumerate(pauses(jobs, between)):
        time.sleep(pause)
        submitted.append(time.monotonic())
        bench.numbered(number)
    return submitted


if __name__ == "__main__":
    logging.getLogger("huey").setLevel(logging.WARNING)
    commands = (drain, submits, pickup, work, submit, sleepers, idle, facts)
    run({command.__name__: command for command in commands})
