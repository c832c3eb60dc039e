"""Servers on loopback and wrk on them: what the programs of the HTTP suite share."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import httpx2

CONNECTIONS = 64
WARM_UP = 1
"""Seconds before the clock starts."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers."""

    url: str
    pid: int

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds now."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    @property
    def cpu(self) -> float:
        """Seconds of a processor's time that it has taken."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(*which: str, **env: str) -> Iterator[Served]:
    """`bench.http_served` in a process of its own, for as long as the block lasts."""
    command = [sys.executable, "-m", "bench.http_served", *which]
    server = subprocess.Popen(command, env=os.environ | env, stdout=subprocess.PIPE, text=True)
    try:
        said = server.stdout.readline() if server.stdout else ""
        if not said:
            raise RuntimeError(f"the server did not begin: {' '.join(which)}")
        yield Served(json.loads(said)["url"], server.pid)
    finally:
        server.terminate()
        server.wait()


def rate(
    url: str,
    seconds: float,
    *,
    connections: int = CONNECTIONS,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
) -> float:
    """Requests that wrk has answered in a second: GET, or with a body POST. Raises RuntimeError if one is refused."""
    with NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("" if body is None else POST.format(body=json.dumps(body)))
        script.flush()
        options = ["--threads", "1", "--connections", str(connections), "--script", script.name]
        options += [word for name, value in (headers or {}).items() for word in ("--header", f"{name}: {value}")]
        _wrk(url, WARM_UP, options)
        return _wrk(url, seconds, options)


POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[{body}]]
"""


def _wrk(url: str, seconds: float, options: Sequence[str]) -> float:
    command = ["wrk", *options, "--duration", f"{seconds:g}s", url]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Requests/sec:\s+([0-9.]+)", said.stdout)
    if found is None or "Non-2xx" in said.stdout or "Socket errors" in said.stdout:
        raise RuntimeError(f"wrk on {url} ended with {said.returncode}: {said.stdout}{said.stderr}")
    return float(found[1])


def post(url: str, body: Any) -> Any:
    return httpx2.post(url, json=body).raise_for_status().json()


def get(url: str) -> httpx2.Response:
    return httpx2.get(url).raise_for_status()
