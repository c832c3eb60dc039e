"""Starts the measured programs: each in its own environment, with a fresh place for its jobs."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.measured import Numbers, milliseconds
from bench.places import Place
from bench.plan import Run

ROOT = Path(__file__).parent.parent
PATIENCE = 3600
"""Seconds for one program."""


class BenchFailed(Exception):
    """A measured program did not do what it was to do; the message has its last words."""


def python_of(environment: str) -> str:
    """The interpreter of an environment; Outlast is measured in the bench's own."""
    return sys.executable if environment == "outlast" else str(ROOT / ".bench" / environment / "bin" / "python")


class Programs:
    """Runs programs that keep their jobs in a place.

    Parameters
    ----------
    environments: of systems whose environment is not called as they are.
    preload: a library that takes the place of some of C's functions, in the programs alone.
    profile: let Outlast say where the time goes.
    """

    def __init__(
        self,
        place: Place,
        environments: Mapping[str, str],
        *,
        preload: Path | None = None,
        profile: bool = False,
    ) -> None:
        self._place, self._environments = place, environments
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(("OUTLAST_", "DBOS_"))}
        self._env |= {"PYTHONPATH": str(ROOT)}
        if preload is not None:
            self._env["LD_PRELOAD"] = str(preload)
        if profile:
            self._env["BENCH_PROFILE"] = "1"

    def measure(self, run: Run) -> Numbers:
        """Do a run in a place that is empty, and of which nothing is kept."""
        with self._place.fresh(run.store) as url:
            order = {"url": url, **run.order}
            if run.submit is None:
                return self._whole(run, order)
            return self._pair(run, order, {"url": url, **run.submit})

    def facts(self, system: str) -> Numbers:
        """A system's versions, and what its open connection says of durability."""
        return self.measure(Run(system, "facts", {}))

    def _whole(self, run: Run, order: Mapping[str, Any]) -> Numbers:
        return _answer(self._start(run, run.command, order), run)

    def _pair(self, run: Run, worker_order: Mapping[str, Any], submit_order: Mapping[str, Any]) -> Numbers:
        worker = self._start(run, run.command, worker_order)
        try:
            if worker.stdout is None or worker.stdout.readline().strip() != "ready":
                raise BenchFailed(f"the worker of {run.system} did not begin")
            submitted = _answer(self._start(run, "submit", submit_order), run)["submitted"]
            started = _answer(worker, run)["started"]
        finally:
            worker.kill()
            worker.wait()
        return {"ms": milliseconds(submitted, dict(enumerate(started)))}

    def _start(self, run: Run, command: str, order: Mapping[str, Any]) -> "subprocess.Popen[str]":
        module = f"bench.{run.program or f'{run.system}_worker'}"
        words = [
            python_of(self._environments.get(run.system, run.system)),
            "-m",
            module,
            command,
            json.dumps(dict(order)),
        ]
        return subprocess.Popen(words, env=self._env, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _answer(program: "subprocess.Popen[str]", run: Run) -> Numbers:
    try:
        said, _ = program.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise BenchFailed(f"{run.system} {run.command} did not end within {PATIENCE} s") from None
    finally:
        program.kill()
    if program.returncode != 0:
        raise BenchFailed(f"{run.system} {run.command} {run.setting} ended with {program.returncode}; see above")
    numbers: Numbers = json.loads(said.splitlines()[-1])
    return numbers
