"""Ports of servers: no two tests are given the same."""

import subprocess
import sys

from tests.ports import FIRST, LAST, free_port
from tests.test_docs import ROOT

TAKES_MANY = """
from tests.ports import free_port
print(*(free_port() for _ in range(60)), flush=True)
input()
"""


def test_no_port_is_given_twice_while_those_who_have_it_live() -> None:
    command = [sys.executable, "-c", TAKES_MANY]
    others = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    given = [free_port() for _ in range(60)]
    try:
        for other in others:
            assert other.stdout
            given += map(int, other.stdout.readline().split())
    finally:
        for other in others:
            other.communicate("\n", timeout=30)
    assert len(set(given)) == len(given) == 240
    assert all(FIRST <= port <= LAST for port in given)
