"""Worker processes that a test starts, pauses and kills."""

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

import anyio
import pytest

COMMAND = [sys.executable, "-c", "from outlast.cli import main; main()", "worker"]
CREW = f"{Path(__file__).parent / 'crew.py'}:app"


class Crew:
    """Workers on one store, all logging into one file."""

    def __init__(self, folder: Path, *, lease: float = 30.0, concurrency: int = 10) -> None:
        self.url = f"sqlite:///{folder}/jobs.db"
        self._calls = folder / "calls"
        self._calls.touch()
        self._log_path = folder / "log"
        self._log = self._log_path.open("ab")
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

    def start(self) -> "subprocess.Popen[bytes]":
        command = [*COMMAND, CREW, "--concurrency", self._concurrency]
        worker = subprocess.Popen(command, env=self._env, stdout=self._log, stderr=self._log)
        self.workers.append(worker)
        return worker

    def kill(self, worker: "subprocess.Popen[bytes]") -> None:
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

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

    def said(self, words: str) -> int:
        """How many lines of all workers' logs match."""
        return len(re.findall(words, self._log_path.read_text(errors="replace")))


async def until(condition: Callable[[], Awaitable[bool]], description: str, patience: float = 60.0) -> float:
    """Wait for a condition; answers how long it took, in seconds."""
    began = monotonic()
    with anyio.move_on_after(patience):
        while not await condition():
            await anyio.sleep(0.01)
        return monotonic() - began
    pytest.fail(f"it did not come about within {patience} s that {description}")
