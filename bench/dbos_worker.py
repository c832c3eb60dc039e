"""DBOS on SQLite as it is measured: workflows of a queue, its pool and pragmas as they are by default."""

import asyncio
import platform
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import version

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
DONE = "select count(*) from workflow_status where status = 'SUCCESS'"


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


def drain(folder: str, jobs: int, handler: str) -> Numbers:
    """Jobs that wait already: from the first handler's first line until all are recorded as done."""
    seconds = until_done(folder, jobs, {"def": noop, "async def": anoop}[handler])
    return {"rate": jobs / seconds, "mib": resident()}


def submits(folder: str, jobs: int, callers: int) -> Numbers:
    """Each caller a thread; nobody listens to the queue."""
    with launched(folder):
        for _ in range(WARM_UP):
            DBOS.enqueue_workflow(QUEUE, noop)
        return {"rate": jobs / threaded(callers, jobs, lambda: DBOS.enqueue_workflow(QUEUE, noop))}


def pickup(folder: str, jobs: int, between: Sequence[float], poll: float) -> Numbers:
    """One job after the other on an idle worker of the same process."""
    seen.tally = Tally(jobs, seen.done.set)
    with launched(folder):
        listen(poll)
        submitted = submit_spaced(jobs, between, lambda number: DBOS.enqueue_workflow(QUEUE, numbered, number))
        seen.done.wait()
    return {"ms": milliseconds(submitted, seen.started)}


def work(folder: str, jobs: int, poll: float) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    seen.tally = Tally(jobs, seen.done.set)
    with launched(folder):
        listen(poll)
        ready()
        seen.done.wait()
    return {"started": [seen.started[number] for number in range(jobs)]}


def submit(folder: str, jobs: int, between: Sequence[float]) -> Numbers:
    client = DBOSClient(system_database_url=url(folder))
    asked = {"queue_name": QUEUE, "workflow_name": "numbered"}
    return {"submitted": submit_spaced(jobs, between, lambda number: client.enqueue(asked, number))}


def sleepers(folder: str, jobs: int) -> Numbers:
    """As `drain`, of jobs that sleep for a second."""
    return {"seconds": until_done(folder, jobs, sleeper, 1.0)}


def steps(folder: str, jobs: int, steps: int) -> Numbers:
    """Jobs of so many steps that return at once, one job after the other."""
    until_done(folder, jobs, stepped, steps, worker_concurrency=1)
    return {"ms": seen.step_ms}


def idle(folder: str, seconds: float, poll: float) -> Numbers:
    """A worker that has nothing to do."""
    with launched(folder):
        listen(poll)
        time.sleep(2)
        began = time.process_time()
        time.sleep(seconds)
        return {"percent": (time.process_time() - began) / seconds * 100, "mib": resident()}


def facts(folder: str) -> Numbers:
    with launched(folder) as dbos, dbos._sys_db.engine.connect() as connection:
        journal, synchronous = (
            connection.exec_driver_sql(f"pragma {name}").scalar() for name in ("journal_mode", "synchronous")
        )
    return {
        "versions": {
            "dbos": version("dbos"),
            "Python": platform.python_version(),
            "SQLite": sqlite3.sqlite_version,
        },
        "durability": f"journal_mode={journal}, synchronous={synchronous}",
    }


# -- how they are made ----------------------------------------------------------------------------------------------


def url(folder: str) -> str:
    return f"sqlite:///{folder}/dbos.db"


@contextmanager
def launched(folder: str) -> Iterator[DBOS]:
    dbos = DBOS(
        config={
            "name": "bench",
            "system_database_url": url(folder),
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
    folder: str, jobs: int, workflow: Callable[..., object], *args: object, worker_concurrency: int | None = None
) -> float:
    """Seconds until all jobs are recorded as done; the time until the queue is noticed is left out."""
    seen.tally = Tally(jobs, seen.done.set)
    with launched(folder):
        for _ in range(jobs):
            DBOS.enqueue_workflow(QUEUE, workflow, *args)
        listen(FAST_POLL, worker_concurrency)
        seen.done.wait()
        with closing(sqlite3.connect(f"{folder}/dbos.db")) as connection:
            while connection.execute(DONE).fetchone() != (jobs,):
                time.sleep(0.005)
        return time.perf_counter() - seen.began


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
