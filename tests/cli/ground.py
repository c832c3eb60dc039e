"""Real commands as processes of their own, and what tests wait for."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx2
from click.testing import CliRunner, Result

from outlast.cli.commands import commands

APP = f"{Path(__file__).parent / 'app.py'}:app"

COMMAND = [sys.executable, "-c", "from outlast.cli import main; main()"]

PATIENCE = 30.0


class Place:
    """A folder with a store of its own, in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("OUTLAST_")}
        self.env["OUTLAST_STORE"] = f"sqlite:///{folder}/jobs.db"

    def run(
        self, *words: str, env: Mapping[str, str] | None = None, stdin: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """A command to its end."""
        return subprocess.run(
            [*COMMAND, *words],
            check=False,
            cwd=self.folder,
            env=self.env | dict(env or {}),
            input=stdin if stdin is not None else "",
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
        )

    def ok(self, *words: str, **how: Any) -> str:
        """What a command that succeeds prints."""
        done = self.run(*words, **how)
        assert done.returncode == 0, done.stderr
        return str(done.stdout).removesuffix("\n")

    def inside(self, *words: str, env: Mapping[str, str] | None = None) -> Result:
        """A command in this process, for the many that end before they begin."""
        others = dict.fromkeys(name for name in os.environ if name.startswith("OUTLAST_"))
        with chdir(self.folder):
            return CliRunner().invoke(commands, words, env={**others, **self.env, **(env or {})})

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> "Running":
        """A command that goes on."""
        return Running(self.folder, words, self.env | dict(env or {}))

    @contextmanager
    def serving(self, *words: str, env: Mapping[str, str] | None = None) -> Iterator["Running"]:
        """A server; the client commands of this place ask it."""
        with self.start("serve", APP, "--port", "0", *words, env=env) as server:
            self.env["OUTLAST_URL"] = server.line(r"serving (http://\S+)")[1]
            yield server

    def submit(self, type: str, **payload: Any) -> str:
        """A job's id. Asked without a command, for a process is slow to start."""
        return str(self._ask("POST", "/jobs", json={"type": type, "payload": payload})["id"])

    def job(self, id: str, wait: float = 0) -> dict[str, Any]:
        """A job as it is, or as it has ended."""
        return self._ask("GET", f"/jobs/{id}", params={"wait": wait})

    def _ask(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        # Without certificates, which nobody needs here: to load them takes longer than to ask.
        answer = httpx2.request(method, f"{self.env['OUTLAST_URL']}{path}", timeout=PATIENCE, verify=False, **how)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


class Running:
    """A command in its own process. What it writes goes to files, so that it never waits for a reader."""

    def __init__(self, folder: Path, words: tuple[str, ...], env: Mapping[str, str]) -> None:
        number = len(list(folder.glob("*.err")))
        self._out, self._err = folder / f"{number}.out", folder / f"{number}.err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *words], cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def line(self, pattern: str) -> re.Match[str]:
        """The first line of stdout or stderr with this in it, once it is there."""
        until(lambda: re.search(pattern, self.err + self.out) or self.process.poll() is not None)
        found = re.search(pattern, self.err + self.out)
        assert found, f"{pattern} did not come:\n{self.err}{self.out}"
        return found

    def tell(self, signum: int = signal.SIGTERM) -> None:
        self.process.send_signal(signum)

    def end(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(PATIENCE)

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.tell(signum)
        return self.end()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def until(holds: Callable[[], object]) -> None:
    """Wait for a condition."""
    give_up = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < give_up, "it did not happen"
        sleep(0.01)
