"""What a user's type checker says of calls to handlers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CALLS = Path(__file__).parent / "calls.py"

CHECKERS = {
    "mypy": ["mypy", "--strict", "--no-error-summary", str(CALLS)],
    "pyright": ["pyright", str(CALLS)],
}


@pytest.mark.parametrize("name", CHECKERS)
def test_the_checker_accepts_the_right_calls_and_rejects_the_wrong_ones(name: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", *CHECKERS[name]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = {int(line) for line in re.findall(r"calls\.py:(\d+)(?::\d+)?(?:: error| - error)", answer.stdout)}
    marked = {number for number, line in enumerate(CALLS.read_text().splitlines(), 1) if line.endswith("# wrong")}
    assert found == marked, answer.stdout + answer.stderr
