"""RQ as it is measured: its SimpleWorker, which runs each job in the worker's process, one after the other.

Its usual worker makes a process for each job, which takes far longer. No result is kept (`result_ttl=0`), which costs
it the least.
"""

import logging
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from redis import Redis
from rq import Queue, SimpleWorker  # type: ignore[import-not-found]  # in an environment of its own

from bench.measured import WARM_UP, Numbers, pauses, ready, resident, run, threaded

CONNECTIONS = 1000
"""More than redis-py's own limit of 100, past which a caller would get an error."""

started: dict[int, float] = {}


def noop() -> None:
    pass


def numbered(number: int) -> None:
    started[number] = time.monotonic()


# -- the measurements ---------------------------------------------------------------------------------------------


def drain(url: str, jobs: int) -> Numbers:
    """Jobs that wait already: from before the worker starts until it has found no more of them."""
    queue = queue_of(url)
    for _ in range(jobs):
        enqueue(queue)
    began = time.perf_counter()
    work_on(queue, burst=True)
    return {"rate": jobs / (time.perf_counter() - began), "mib": resident()}


def submits(url: str, jobs: int, callers: int) -> Numbers:
    """Each caller a thread; no worker runs."""
    queue = queue_of(url)
    for _ in range(WARM_UP):
        enqueue(queue)
    return {"rate": jobs / threaded(callers, jobs, lambda: enqueue(queue))}


def work(url: str, jobs: int) -> Numbers:
    """The worker of a pair of processes; the other one is `submit`."""
    ready()
    work_on(queue_of(url), max_jobs=jobs)
    return {"started": [started[number] for number in range(jobs)]}


def submit(url: str, jobs: int, between: Sequence[float]) -> Numbers:
    queue = queue_of(url)
    # Time for the worker to wait on the server before the first job comes.
    time.sleep(1)
    submitted = []
    for number, pause in enumerate(pauses(jobs, between)):
        time.sleep(pause)
        submitted.append(time.monotonic())
        enqueue(queue, numbered, number)
    return {"submitted": submitted}


def facts(url: str) -> Numbers:
    return {
        "versions": {"rq": version("rq"), "redis-py": version("redis"), "Python": platform.python_version()},
        "durability": "as the server; no result is kept",
    }


# -- how they are made ----------------------------------------------------------------------------------------------


def queue_of(url: str) -> Any:
    return Queue(connection=Redis.from_url(url, max_connections=CONNECTIONS))


def enqueue(queue: Any, function: Any = noop, *arguments: object) -> None:
    queue.enqueue(function, *arguments, result_ttl=0)


def work_on(queue: Any, **how: Any) -> None:
    SimpleWorker([queue], connection=queue.connection).work(logging_level="ERROR", **how)


def main() -> None:
    logging.getLogger("rq").setLevel(logging.ERROR)
    commands = (drain, submits, work, submit, facts)
    run({command.__name__: command for command in commands})


if __name__ == "__main__":
    # A job names its function by its module, which is not to be this one's second life as `__main__`.
    from bench.rq_worker import main as as_imported

    as_imported()
