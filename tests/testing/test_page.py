"""docs/testing.md, followed to the letter by somebody who has the built wheel, and nothing of this repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import ROOT, Session, blocks

PAGE = ROOT / "docs" / "testing.md"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform == "win32", reason="only on Windows: there is no bash")
def test_the_page_on_testing_holds_outside_the_repository(tmp_path: Path) -> None:
    wheel = built_wheel(tmp_path / "wheel")
    python = environment(tmp_path)
    install(python, str(wheel))
    for command in (line for block in blocks(PAGE) if block.language == "sh" for line in block.text.splitlines()):
        assert command.startswith("pip install ")
        install(python, *command.split()[2:])
    project = tmp_path / "project"
    project.mkdir()
    with Session(project, python) as session:
        session.follow_page(PAGE)
    where = "import outlast, pytest_outlast; print(outlast.__file__, pytest_outlast.__file__)"
    assert run(project, str(python), "-c", where).count(str(tmp_path / "venv")) == 2


def built_wheel(folder: Path) -> Path:
    """Of a copy, so that nothing of the checkout but what the package is made of can get in."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    run(folder, sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source))
    [wheel] = folder.glob("outlast-*.whl")
    return wheel


def environment(folder: Path) -> Path:
    """The Python of a virtual environment with nothing in it."""
    run(folder, sys.executable, "-m", "venv", "--without-pip", "venv")
    return folder / "venv" / "bin" / "python"


def install(python: Path, *packages: str) -> None:
    """By the pip of the tests, as that of the environment would."""
    # What nobody will import need not be compiled.
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile")
    run(python.parent, *pip, *packages)


def run(folder: Path, *command: str) -> str:
    """What it prints; of this environment it sees the index of packages, and no path of Python."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV"))
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
