"""`python -m bench SUITE`, or `./dev bench SUITE`: measure, print the table, write it down as JSON."""

import argparse
import json
import shlex
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import history
from bench.figures import Row, result
from bench.machine import machine
from bench.places import NoPlace, Place
from bench.plan import Measurement
from bench.programs import ROOT, BenchFailed, Programs
from bench.slow_disk import NoSlowDisk, compiled
from bench.suites import SUITES, Suite
from bench.table import head, notes, table

HISTORY = ROOT / "bench" / "history"


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _arguments(arguments)
    # So that no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return Bench(asked, shlex.join(["./dev", "bench", *(sys.argv[1:] if arguments is None else arguments)])).run()
    except (BenchFailed, NoPlace) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("./dev bench", description=__doc__)
    parser.add_argument(
        "suite",
        choices=list(SUITES),
        help="where the jobs are kept, beside peers that keep theirs there; http: beside a bare web app; "
        "serverless: a cold start beside its libraries",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="these measurements, by the beginning of their name")
    parser.add_argument(
        "--only", metavar="SYSTEM", help="some of the suite's, with commas between, such as outlast,dbos"
    )
    parser.add_argument("--small", action="store_true", help="what CI can afford: two minutes, without the slow peers")
    parser.add_argument("--rounds", type=int, default=3, help="how often the systems take turns; default 3")
    parser.add_argument("--check", action="store_true", help="fail where a result is below 70 %% of the last runs")
    parser.add_argument("--record", action="store_true", help=f"keep the results in {HISTORY.relative_to(ROOT)}/")
    parser.add_argument("--profile", action="store_true", help="with --only outlast: where the time goes, by thread")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the jobs are kept, and what was measured as result.json; default .bench/SUITE",
    )
    asked = parser.parse_args(arguments)
    suite = SUITES[asked.suite]
    asked.folder = asked.folder or ROOT / ".bench" / asked.suite
    asked.systems = tuple(suite.systems) if asked.only is None else tuple(asked.only.split(","))
    if not set(asked.systems) <= set(suite.systems):
        parser.error(f"--only takes some of {', '.join(suite.systems)}")
    every = suite.plan(asked.small)
    asked.measurements = chosen(every, asked.names, asked.systems)
    if not asked.measurements:
        parser.error(f"no measurement is called so; there are {', '.join(one.name for one in every)}")
    return asked


def chosen(measurements: Iterable[Measurement], names: Sequence[str], systems: Sequence[str]) -> list[Measurement]:
    """Those of these names (all, if none is given), with the runs of these systems; `pickup` is all that begin so."""
    every = list(measurements)
    exact = {one.name for one in every} & set(names)
    begins = tuple(name for name in names if name not in exact)
    return [
        replace(one, runs=tuple(run for run in one.runs if run.system in systems))
        for one in every
        if not names or one.name in exact or (begins and one.name.startswith(begins))
    ]


class Bench:
    """One run of the bench: its samples grow with each measurement."""

    def __init__(self, asked: argparse.Namespace, command: str) -> None:
        self._asked = asked
        self._command = command
        self._suite: Suite = SUITES[asked.suite]
        self._folder: Path = asked.folder
        self._measurements: list[Measurement] = asked.measurements
        self._samples: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)

    def run(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        about = machine(self._folder)
        if about["disk"] == "tmpfs":
            raise BenchFailed(f"{self._folder} is in memory (tmpfs), where nothing is synced; give another --folder")
        with self._suite.place(self._folder) as place:
            return self._in(place, about)

    def _in(self, place: Place, about: dict[str, str]) -> int:
        programs = self._programs(place)
        facts = {system: programs.facts(system) for system in self._measured()}
        for measurement in self._measurements:
            self._measure(measurement, place)
        titles = {system: title for system, title in self._suite.systems.items() if system in facts}
        shown = table(self._measurements, self._samples, titles)
        lines = ["", *head(self._command, about, place.about, facts), "", shown, "", *notes(self._measurements)]
        print("\n".join(lines))
        self._write_down(about, facts)
        return self._check(place) if self._asked.check else 0

    def _measured(self) -> list[str]:
        """The systems of which there is a run."""
        runs = {run.system for measurement in self._measurements for run in measurement.runs}
        return [system for system in self._asked.systems if system in runs]

    # -- measuring ------------------------------------------------------------------------------------------------

    def _programs(self, place: Place, preload: Path | None = None) -> Programs:
        return Programs(place, self._suite.environments, preload=preload, profile=self._asked.profile)

    def _measure(self, measurement: Measurement, place: Place) -> None:
        try:
            programs = self._programs(place, compiled(self._folder) if measurement.slow_disk else None)
        except NoSlowDisk as reason:
            print(f"{measurement.name}: left out, {reason}", file=sys.stderr)
            return
        rounds = 1 if measurement.once else self._asked.rounds
        for number in range(rounds):
            for run in measurement.runs:
                print(f"{measurement.name} {number + 1}/{rounds}: {run.system} {run.setting}", file=sys.stderr)
                for name, value in programs.measure(run).items():
                    values = value if isinstance(value, list) else [value]
                    self._samples[measurement.name, run.system, run.setting, name].extend(values)

    # -- what comes of it -------------------------------------------------------------------------------------------

    def _results(self) -> dict[str, float]:
        goals = goals_of(self._measurements)
        values = {name: result(self._samples, measurement, row) for name, (measurement, row) in goals.items()}
        return {name: round(value, 4) for name, value in values.items() if value is not None}

    def _write_down(self, about: dict[str, str], facts: dict[str, Any]) -> None:
        small: bool = self._asked.small
        run = {"command": self._command, "small": small, **about, "facts": facts, "results": self._results()}
        samples = {" / ".join(filter(None, key)): values for key, values in self._samples.items()}
        (self._folder / "result.json").write_text(json.dumps({**run, "samples": samples}, indent=1), "utf-8")
        if self._asked.record:
            history.append(self._history, run)

    @property
    def _history(self) -> Path:
        return HISTORY / f"{self._asked.suite}.json"

    def _check(self, place: Place) -> int:
        """Hold the results against the last runs; what has fallen is measured once more, for a machine may be busy."""
        before = history.usual(history.read(self._history), small=self._asked.small)
        if not before:
            print("no run of this size was kept to hold this one against: add --record to one", file=sys.stderr)
            return 1
        more = {name: row.more for name, (_, row) in goals_of(self._measurements).items()}
        names = history.regressions(self._results(), before, more)
        for measurement in self._measurements:
            if any(name.startswith(f"{measurement.name}.") for name in names):
                self._forget(measurement)
                self._measure(measurement, place)
        again = self._results()
        names = history.regressions({name: again[name] for name in names}, before, more)
        for name in names:
            print(f"{name} has fallen: {again[name]:g}, and {before[name]:g} in the last runs", file=sys.stderr)
        return 1 if names else 0

    def _forget(self, measurement: Measurement) -> None:
        for key in [key for key in self._samples if key[0] == measurement.name]:
            del self._samples[key]


def goals_of(measurements: Iterable[Measurement]) -> dict[str, tuple[str, Row]]:
    """The rows with a goal, with their measurement, under the names by which they are kept."""
    return {
        f"{measurement.name}.{row.kept or row.number}": (measurement.name, row)
        for measurement in measurements
        for row in measurement.rows
        if row.goal is not None
    }


if __name__ == "__main__":
    sys.exit(main())
