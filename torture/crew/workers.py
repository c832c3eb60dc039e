"""Worker processes that are started, paused and killed."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Self

OUTLAST = [sys.executable, "-c", "from outlast.cli import main; main()"]
ROOT = Path(__file__).parent.parent.parent


class Crew:
    """Workers on one store, all logging into one file.

    Parameters
    ----------
    app: what they run, from the top of the repository on.
    url: where the jobs are; None: a file in the folder.
    lease: seconds that their leases last.
    """

    def __init__(
        self,
        folder: Path,
        *,
        app: str = "torture.crew.app:app",
        url: str | None = None,
        lease: float = 30.0,
        concurrency: int = 10,
    ) -> None:
        self.url = url or f"sqlite:///{folder}/jobs.db"
        self._calls = folder / "calls"
        self._calls.touch()
        self._log_path = folder / "log"
        self._log = self._log_path.open("ab")
        self._app = app
        self._concurrency = str(concurrency)
        self._env = os.environ | {"CREW_CALLS": str(self._calls), "CREW_LEASE": str(lease), "OUTLAST_STORE": self.url}
        self.workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait()
        self._log.close()

    def start(self, **env: str) -> "subprocess.Popen[bytes]":
        return self._begin("worker", self._app, "--concurrency", self._concurrency, **env)

    def serve(self, *options: str, **env: str) -> "subprocess.Popen[bytes]":
        """A server; its log says where it is. It works too, unless the options say `--no-worker`."""
        return self._begin("serve", self._app, "--port", "0", *options, **env)

    def _begin(self, *command: str, **env: str) -> "subprocess.Popen[bytes]":
        worker = subprocess.Popen(
            [*OUTLAST, *command], env=self._env | env, stdout=self._log, stderr=self._log, cwd=ROOT
        )
        self.workers.append(worker)
        return worker

    def kill(self, worker: "subprocess.Popen[bytes]") -> None:
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def check(self) -> None:
        """Raises RuntimeError if a worker has ended and nobody here has killed it."""
        for worker in self.workers:
            if worker.poll() is not None:
                raise RuntimeError(f"worker process {worker.pid} ended by itself with {worker.returncode}")

    def go(self) -> None:
        """Let the held steps end."""
        Path(f"{self._calls}.go").touch()

    def calls(self) -> dict[str, list[list[str]]]:
        """By job: the words that each call of a step's body left."""
        calls: dict[str, list[list[str]]] = defaultdict(list)
        for line in self._calls.read_text().splitlines():
            job_id, *words = line.split()
            calls[job_id].append(words)
        return calls

    @property
    def logged(self) -> int:
        """How long the log of all workers is, to read on from there."""
        return self._log_path.stat().st_size

    def log(self, since: int = 0) -> str:
        """What all workers have logged."""
        with self._log_path.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def said(self, words: str, since: int = 0) -> int:
        """How many lines of all workers' logs match."""
        return len(re.findall(words, self.log(since)))


def address(log: str) -> str:
    """Host and port of a server, as its log has them; nothing if it has yet to start."""
    found = re.search(r"serving http://(\S+)", log)
    return "" if found is None else found[1]


async def until(
    condition: Callable[[], Awaitable[bool]], description: str, patience: float = 60.0, every: float = 0.01
) -> float:
    """Wait for a condition, which is asked every so many seconds; answers how long it took.

    Raises TimeoutError once the patience is over.
    """
    began = monotonic()
    while not await condition():
        if monotonic() - began > patience:
            raise TimeoutError(f"it did not come about within {patience} s that {description}")
        await asyncio.sleep(every)
    return monotonic() - began
