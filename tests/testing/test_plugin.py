"""The pytest plugin, in projects that use it and in those that do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
from outlast import Context, Outlast

app = Outlast("sqlite:///of_its_own.db")
other = 7


@app.handler
async def double(ctx: Context, n: int) -> int:
    return 2 * n
"""

TESTS = """
import asyncio

import twice


def test_once(jobs):
    assert jobs.sync(jobs.call(twice.double, n=1)) == 2


def test_again(jobs):
    assert jobs.sync(twice.app.list()) == []
    jobs.sync(twice.double.submit(n=1))


def test_on_a_loop_of_its_own(jobs):
    assert asyncio.run(jobs.call(twice.double, n=3)) == 6
    assert asyncio.run(jobs.run_now("double", n=4)).result == 8
"""


def pytest_in(folder: Path, *arguments: str, **files: str) -> str:
    """What pytest prints there, in a project of these files; warnings are errors."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-W", "error", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST_"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_the_app_is_named_in_the_settings_and_its_own_store_is_left_alone(tmp_path: Path) -> None:
    printed = pytest_in(tmp_path, "-o", "outlast_app=twice:app", twice=APP, test_twice=TESTS)
    assert "3 passed" in printed
    assert not (tmp_path / "of_its_own.db").exists()


def test_a_fixture_of_the_project_names_it_as_well(tmp_path: Path) -> None:
    conftest = "import pytest, twice\n\n@pytest.fixture\ndef outlast_app():\n    return twice.app\n"
    assert "3 passed" in pytest_in(tmp_path, twice=APP, conftest=conftest, test_twice=TESTS)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("", 'outlast_app = "shop.jobs:app"'),
        ("twice:other", "outlast_app = 'twice:other' is a int, not an Outlast(); write MODULE:APP"),
        ("twice:nope", "outlast_app = 'twice:nope' is nothing, not an Outlast()"),
        ("thrice:app", "outlast_app = 'thrice:app': there is no module 'thrice'; write MODULE:APP"),
    ],
)
def test_an_app_that_is_not_found_is_told_of(tmp_path: Path, named: str, said: str) -> None:
    printed = pytest_in(tmp_path, "-o", f"outlast_app={named}", twice=APP, test_twice=TESTS)
    assert said in printed and "3 errors" in printed and "Traceback" not in printed


def test_an_app_whose_import_fails_shows_where(tmp_path: Path) -> None:
    test = "def test_it(jobs):\n    pass\n"
    printed = pytest_in(
        tmp_path, "-o", "outlast_app=once:app", "--tb=short", once="import nothing_like\n", test_it=test
    )
    assert "once.py:1: in <module>" in printed


def test_a_run_that_does_not_use_it_does_not_import_outlast(tmp_path: Path) -> None:
    test = "import sys\n\ndef test_it():\n    assert not {'outlast', 'anyio', 'asyncio'} & set(sys.modules)\n"
    assert "1 passed" in pytest_in(tmp_path, *WITHOUT_OTHERS, test_it=test)


OTHERS = "anyio hypothesispytest schemathesis timeout xdist xdist.looponfail valkey platformdirs".split()
WITHOUT_OTHERS = [word for name in OTHERS for word in ("-p", f"no:{name}")]


def test_plain_tests_need_no_other_plugin(tmp_path: Path) -> None:
    arguments = [*WITHOUT_OTHERS, "-o", "outlast_app=twice:app"]
    assert "3 passed" in pytest_in(tmp_path, *arguments, twice=APP, test_twice=TESTS)


def test_a_planned_failure_that_does_not_come_is_an_error_of_the_test(tmp_path: Path) -> None:
    test = "from outlast.testing import FailAt\n\ndef test_it(jobs):\n    jobs.inject(FailAt(step=2))\n"
    printed = pytest_in(tmp_path, "-o", "outlast_app=twice:app", twice=APP, test_it=test)
    assert "FailAt(step=2) did not come about; steps that were called: none" in printed
    assert "1 passed, 1 error" in printed and "Traceback" not in printed
