"""DBOS as it is measured: workflows of a queue, on SQLite or PostgreSQL, its pool and pragmas as by default."""

import asyncio
import platform
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import version
from typing import Any

import psycopg  # type: ignore[import-not-found,unused-ignore]
from dbos import DBOS, DBOSClient  # type: ignore[import-not-found]  # in an environment of its own

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

QUEUE = "bench"
FAST_POLL = 0.01


class Seen:
    """What the workflows leave for the measurement."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.first = threading.Event()
        self.tally = Tally(0, self.done.set)
        self.began = 0.0
        self.started: dict[int, float] = {}
        self.step_ms: list[float] = []

    def called(self) -> None:
        if not self.first.is_set():
            self.began = time.perf_counter()
            self.first.set()
        self.tally.add()


seen = Seen()


@DBOS.workflow()  # type: ignore[untyped-decorator]
def noop() -> None:
    seen.called()


@DBOS.workflow()  # type: ignore[untyped-decorator]
async def anoop() -> None:
    seen.called()


@DBOS.workflow()  # type: ignore[untyped-decorator]
async def sleeper(seconds: float) -> None:
    seen.called()
    await asyncio.sleep(seconds)


@DBOS.workflow()  # type: ignore[untyped-decorator]
def numbered(number: int) -> None:
    seen.started[number] = time.monotonic()
    seen.called()


@DBOS.workflow()  # type: ignore[untyped-decorator]
def stepped(steps: int) -> None:
    began = time.perf_counter()
    for number in range(steps):
        same(number)
    seen.step_ms.append((time.perf_counter() - began) * 1000 / steps)
    seen.called()


@DBOS.step()  # type: ignore[untyped-decorator]
def same(number: int) -> int:
    return number


# -- the measurements ---------------------------------------------------------------------------------------------


def drain(url: str, jobs: int, handler: str) -> Numbers:
    """Jobs that wait already: from the first handler's first line until all are recorded as done."""
    seconds = until_done(url, jobs, {"def": noop, "async def": anoop}[handler])
    return {"rate": jobs / seconds, "mib": resident()}


def submits(url: str, jobs: int, callers: int) -> Numbers:
    """Each caller a thread; nobody listens to the queue."""
    with launched(url):
        for _ in range(WARM_UP):
            DBOS.enqueue_workflow(QUEUE, noop)
        return {"rate": jobs / threaded(callers, jobs, lambda: DBOS.enqueue_workflow(QUEUE, noop))}


def pickup(url: str, jobs: int, between: Sequence[float], poll: float) -> Numbers:
    """One job after the other on an idle worker of the same process."""
    seen.tally = Tally(jobs, seen.done.set)
    with launched(url):
        listen(poll)
        submitted = submit_spaced(jobs, between, lambda number: DBOS.enqueue_workflow(QUEUE, numbered, number))
        seen.done.wait()
    return {"ms": milliseconds(submitted, seen.started)}


def work(url: str, jobs: int, poll: float) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    seen.tally = Tally(jobs, seen.done.set)
    with launched(url):
        listen(poll)
        ready()
        seen.done.wait()
    return {"started": [seen.started[number] for number in range(jobs)]}


def submit(url: str, jobs: int, between: Sequence[float]) -> Numbers:
    client = DBOSClient(system_database_url=url)
    asked = {"queue_name": QUEUE, "workflow_name": "numbered"}
    return {"submitted": submit_spaced(jobs, between, lambda number: client.enqueue(asked, number))}


def sleepers(url: str, jobs: int) -> Numbers:
    """As `drain`, of jobs that sleep for a second."""
    return {"seconds": until_done(url, jobs, sleeper, 1.0)}


def steps(url: str, jobs: int, steps: int) -> Numbers:
    """Jobs of so many steps that return at once, one job after the other."""
    until_done(url, jobs, stepped, steps, worker_concurrency=1)
    return {"ms": seen.step_ms}


def idle(url: str, seconds: float, poll: float) -> Numbers:
    """A worker that has nothing to do."""
    with launched(url):
        listen(poll)
        time.sleep(2)
        began = time.process_time()
        time.sleep(seconds)
        return {"percent": (time.process_time() - began) / seconds * 100, "mib": resident()}


def facts(url: str) -> Numbers:
    with launched(url) as dbos, dbos._sys_db.engine.connect() as connection:
        show, names = ("pragma", ("journal_mode", "synchronous")) if is_file(url) else ("show", ("synchronous_commit",))
        durability = {name: connection.exec_driver_sql(f"{show} {name}").scalar() for name in names}
    driver = {"SQLite": sqlite3.sqlite_version} if is_file(url) else {"psycopg": version("psycopg")}
    return {
        "versions": {"dbos": version("dbos"), "Python": platform.python_version(), **driver},
        "durability": ", ".join(f"{name}={value}" for name, value in durability.items()),
    }


# -- how they are made ----------------------------------------------------------------------------------------------


def is_file(url: str) -> bool:
    return url.startswith("sqlite:")


@contextmanager
def launched(url: str) -> Iterator[DBOS]:
    dbos = DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "application_version": "1",
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    try:
        yield dbos
    finally:
        DBOS.destroy()


def listen(poll: float, worker_concurrency: int | None = None) -> None:
    """From now on the queue is worked on; looked at each `poll` seconds."""
    DBOS.register_queue(QUEUE, polling_interval_sec=poll, worker_concurrency=worker_concurrency)


def until_done(
    url: str, jobs: int, workflow: Callable[..., object], *args: object, worker_concurrency: int | None = None
) -> float:
    """Seconds until all jobs are recorded as done; the time until the queue is noticed is left out."""
    seen.tally = Tally(jobs, seen.done.set)
    with launched(url):
        for _ in range(jobs):
            DBOS.enqueue_workflow(QUEUE, workflow, *args)
        listen(FAST_POLL, worker_concurrency)
        seen.done.wait()
        until_recorded(url, jobs)
        return time.perf_counter() - seen.began


def until_recorded(url: str, jobs: int) -> None:
    table = "workflow_status" if is_file(url) else "dbos.workflow_status"
    connected: Any = sqlite3.connect(url.removeprefix("sqlite:///")) if is_file(url) else psycopg.connect(url)
    with closing(connected) as connection:
        while connection.execute(f"select count(*) from {table} where status = 'SUCCESS'").fetchone() != (jobs,):
            connection.rollback()
            time.sleep(0.005)


def submit_spaced(jobs: int, between: Sequence[float], submit: Callable[[int], object]) -> list[float]:
    submitted = []
    for number, pause in enumerate(pauses(jobs, between)):
        time.sleep(pause)
        submitted.append(time.monotonic())
        submit(number)
    return submitted


if __name__ == "__main__":
    commands = (drain, submits, pickup, work, submit, sleepers, steps, idle, facts)
    run({command.__name__: command for command in commands})
