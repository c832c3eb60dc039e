"""Exceptions and log records as text that is kept: short, clean, without the passwords of URLs."""

import logging
import os
import re
import threading
from collections import deque
from pathlib import Path
from traceback import StackSummary, TracebackException

from outlast.errors import Fail, LimitExceeded, NotJson, Retry, SignalTimeout, StepTimeout
from outlast.report import Line

OURS = f"{Path(__file__).parent}{os.sep}"

MESSAGE = 8_192
"""Characters of an error's message; what is longer is cut."""

TRACEBACK = 32_768
"""Characters of a traceback; of a longer one the middle is left out."""

LINE = 4_096
"""Characters of a logged line, its traceback included."""

MOST_LINES = 200
MOST_BYTES = 64 << 10
"""Of the lines of one slice, by number and as UTF-8: the oldest go first."""


def described(error: BaseException) -> str:
    """What was raised, whatever its `__str__` does."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        return name
    if not isinstance(error, Fail | Retry | NotJson | LimitExceeded | SignalTimeout | StepTimeout):
        text = f"{name}: {text}" if text else name
    return _head(text, MESSAGE)


def traceback_of(error: BaseException) -> str:
    """Where it was raised and out of what, as Python prints it, without the calls of Outlast on the way there."""
    told = TracebackException.from_exception(error)
    _leave_out_ours(told)
    text = "".join(told.format())
    if len(text) <= TRACEBACK:
        return _head(text, TRACEBACK)
    return f"{_head(text, TRACEBACK // 2)}\n[...]\n{_masked(text[-TRACEBACK:])[-TRACEBACK // 2 :]}"


class Lines:
    """The newest lines that a slice logged; `dropped` counts those before them."""

    def __init__(self) -> None:
        self.dropped = 0
        self._kept: deque[tuple[Line, int]] = deque()
        self._bytes = 0
        # A handler's steps may log from several threads.
        self._lock = threading.Lock()

    def add(self, line: Line) -> None:
        size = len(line.text.encode())
        with self._lock:
            self._kept.append((line, size))
            self._bytes += size
            while len(self._kept) > MOST_LINES or self._bytes > MOST_BYTES:
                self._bytes -= self._kept.popleft()[1]
                self.dropped += 1

    def kept(self) -> tuple[Line, ...]:
        with self._lock:
            return tuple(line for line, _ in self._kept)


def line_of(record: logging.LogRecord, time: float) -> Line:
    """A log record as it is kept, whatever its arguments do."""
    try:
        text = record.getMessage()
    except Exception:
        said = isinstance(record.msg, str)
        text = f"{record.msg!r}, whose arguments do not fit" if said else type(record.msg).__name__
    if record.exc_info and record.exc_info[1] is not None:
        text = f"{text[:LINE]}\n{traceback_of(record.exc_info[1])}"
    return Line(time=time, level=_head(record.levelname, 32), logger=_head(record.name, 128), text=_head(text, LINE))


def _leave_out_ours(told: TracebackException) -> None:
    todo = [told]
    while todo:
        one = todo.pop()
        theirs = [frame for frame in one.stack if not frame.filename.startswith(OURS)]
        if theirs:
            one.stack = StackSummary.from_list(theirs)
        todo += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ())) if other is not None]


def _head(text: str, most: int) -> str:
    # Twice of it is searched, so that no password is missed for being cut, and no megabyte is searched.
    return _masked(text[: 2 * most])[:most]


def _masked(text: str) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return re.sub(r"(\w{1,16}://[^\s:/@]*):[^\s@/]*@", r"\1:***@", clean)
