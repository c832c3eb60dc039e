"""What the tests of the SQLite store stand on: jobs to submit, other processes, a look at the file itself."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import apsw

from outlast import lifecycle
from outlast.job import Job, NewJob
from outlast.notation import job_id
from outlast.stores.base import Store
from outlast.stores.sqlite import SqliteStore


def new(store: Store, **fields: Any) -> NewJob:
    now = store.now()
    fields = {"type": "report", "owner": "ann", "payload_json": "{}"} | fields
    return lifecycle.submit(Job(id=job_id(now, os.urandom(12)), **fields), now)


async def claim_one(store: Store) -> Job[Any]:
    (job,) = (await store.claim(1, ["report"], "worker_1")).jobs
    return job


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(f"sqlite:///{path}", **options) as store:
        yield store


async def until(condition: Callable[[], bool], what: str, *, seconds: float = 20.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"not so after {seconds:g} s: {what}"
        await asyncio.sleep(0.001)


@contextmanager
def each_connection(prepare: Callable[[apsw.Connection], None]) -> Iterator[None]:
    """Every connection that is opened from here on is prepared first."""
    apsw.connection_hooks.append(prepare)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(prepare)


def read(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What the file holds, past the store."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


CHILD = """
import asyncio, os, sys, time
from pathlib import Path
from tests.stores.sqlite_ground import claim_one, new, opened

async def main(path):
    async with opened(path) as store:
{body}

asyncio.run(main(Path(sys.argv[1])))
"""


@contextmanager
def process(path: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    """Another Python process with a store on the same file; `body` runs in it, indented by eight."""
    command = [sys.executable, "-c", CHILD.format(body=body), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def line_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def tell(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{line}\n")
    child.stdin.flush()
