"""One statement for many rows.

SQLite's driver lets go of the interpreter's lock once a statement, so that many rows written by one cost other threads,
and this one, one change of hands.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

SIZES = (256, 32, 4, 1)
"""Rows of one statement. They are few, so that each is planned once and then comes from the driver's cache, which takes
statements of up to 16 KiB."""


class Many:
    """A statement that writes any number of rows.

    Parameters
    ----------
    statement: `{rows}` stands where the values of the rows go.
    width: values of a row.
    """

    def __init__(self, statement: str, width: int) -> None:
        row = f"({','.join('?' * width)})"
        self.statements = [(size, statement.format(rows=",".join([row] * size))) for size in SIZES]
        """From that for the most rows to that for one."""

    def run(self, execute: Callable[..., Any], rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Write them; what the statement answers, if it answers."""
        answers, done = list[Any](), 0
        for size, statement in self.statements:
            while len(rows) - done >= size:
                answers += execute(statement, list(chain.from_iterable(rows[done : done + size])))
                done += size
        return answers
