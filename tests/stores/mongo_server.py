"""A server that speaks MongoDB's wire protocol, for tests: a real one where there is one, else nx-27017 in memory.

OUTLAST_TEST_MONGODB_URL names a server that runs; a `mongod` on PATH is started as a replica set of one. Each test has
a database of its own.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pymongo import MongoClient

from tests.ports import free_port

Test = TypeVar("Test", bound=Callable[..., Any])

NX = Path(__file__).with_name("nx_server.py")


@dataclass(frozen=True)
class MongoServer:
    """Where it is, and what it is; `port` if a test started it."""

    url: str
    is_real: bool
    port: int | None = None
    databases: list[str] = field(default_factory=list)

    def fresh(self, options: str = "") -> str:
        """The URL of a database that nobody has used."""
        self.databases.append(f"t{secrets.token_hex(6)}")
        base, _, given = self.url.partition("?")
        query = "&".join(part for part in (given, options) if part)
        return f"{base.rstrip('/')}/{self.databases[-1]}?{query}"


@contextmanager
def mongo_server(folder: Path) -> Iterator[MongoServer]:
    if url := os.environ.get("OUTLAST_TEST_MONGODB_URL"):
        server = MongoServer(url, is_real=True)
        yield server
        with MongoClient[dict[str, object]](url) as client:
            for name in server.databases:
                client.drop_database(name)
    elif mongod := shutil.which("mongod"):
        with mongod_at(mongod, folder, free_port()) as server:
            yield server
    else:
        with protocol_server(folder, free_port(), "--db", "memory") as server:
            yield server


@contextmanager
def mongod_at(program: str, folder: Path, port: int) -> Iterator[MongoServer]:
    command = [program, "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", "rs0"]
    with running(command, folder, port):
        initiate(port)
        yield MongoServer(f"mongodb://127.0.0.1:{port}/?replicaSet=rs0", is_real=True, port=port)


def initiate(port: int) -> None:
    with MongoClient[dict[str, object]]("127.0.0.1", port, directConnection=True) as client:
        member = {"_id": 0, "host": f"127.0.0.1:{port}"}
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
        while not client.admin.command("hello")["isWritablePrimary"]:
            time.sleep(0.05)


@contextmanager
def protocol_server(folder: Path, port: int, *where: str) -> Iterator[MongoServer]:
    """Keeps its databases in the folder, or where it is told."""
    pytest.importorskip("nx_27017", reason="no mongod, and no nx-27017 to stand in for it")
    command = [sys.executable, str(NX), *(where or ("--data-dir", str(folder))), "--port", str(port)]
    command += ["--pid-file", str(folder / "pid"), "--log-file", str(folder / "log"), "--host", "127.0.0.1"]
    with running(command, folder, port):
        yield MongoServer(f"mongodb://127.0.0.1:{port}", is_real=False, port=port)


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        deadline = time.monotonic() + 30
        while not answers(port):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()[-2000:]
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


def leaves_sockets(test: Test) -> Test:
    """A client that gives up while it connects: PyMongo lets go of that socket without closing it.

    The fixture sees to it that none is left for a later test to be blamed for.
    """
    ignored = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
    return pytest.mark.usefixtures("no_sockets_left")(ignored(test))


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
