"""What a slice leaves for whoever operates, beside the job's log and never in it."""

from dataclasses import dataclass
from typing import Any

from outlast.notation import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that the user's code logged while it ran a job."""

    time: float
    level: str
    logger: str
    text: str

    def wire(self) -> dict[str, Any]:
        return {"time": rfc3339(self.time), "level": self.level, "logger": self.logger, "text": self.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one slice left.

    worker:    who ran it.
    code:      why it was given up, where somebody else had to say so.
    traceback: of what was raised.
    lines:     the newest that it logged; `dropped` counts those before them.
    """

    attempt: int
    worker: str | None = None
    code: str | None = None
    traceback: str | None = None
    lines: tuple[Line, ...] = ()
    dropped: int = 0

    @property
    def size(self) -> int:
        """Characters of text in it."""
        return len(self.traceback or "") + sum(len(line.text) for line in self.lines)


REPORTS = 50
"""How many reports of a job are kept, the newest of them."""
