"""What the events of a job add up to: its status, progress, steps and texts. Knows no terminal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Wire = Mapping[str, Any]


class Text:
    """The text of a channel, in the pieces it came in."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    def put(self, offset: int, text: str) -> None:
        """Text from an offset on; what stood there is gone."""
        self.cut(offset)
        self._pieces.append(text)
        self._length = offset + len(text)

    def cut(self, offset: int) -> None:
        """Drop what stands behind an offset."""
        while self._length > offset and self._pieces:
            piece = self._pieces.pop()
            self._length -= len(piece)
            if self._length < offset:
                self._pieces.append(piece[: offset - self._length])
                self._length = offset

    def tail(self, length: int) -> str:
        """The last characters: so many, and the rest of the piece they begin in."""
        found, pieces = 0, []
        for piece in reversed(self._pieces):
            if found >= length:
                break
            pieces.append(piece)
            found += len(piece)
        return "".join(reversed(pieces))

    def __str__(self) -> str:
        return "".join(self._pieces)


@dataclass(slots=True)
class View:
    """A job as far as its events have told."""

    status: str = "queued"
    attempt: int = 0
    progress: float | None = None
    message: str | None = None
    waiting: str | None = None
    steps: dict[int, Wire] = field(default_factory=dict)
    texts: dict[str, Text] = field(default_factory=dict)
    last_channel: str | None = None

    def take(self, event: Wire) -> None:
        """One more event."""
        self.attempt = max(self.attempt, event["attempt"])
        self.status = event.get("status", self.status) if event["type"] != "job.step" else self.status
        match event["type"]:
            case "job.snapshot":
                self._begin_anew(event["job"])
            case "job.started" if not event.get("resumes"):
                self.progress = self.message = None
            case "job.progress":
                self.progress, self.message = event["progress"], event.get("message")
            case "job.step":
                self.steps[event["index"]] = event
            case "job.output.delta":
                self.last_channel = event["channel"]
                self._text(event).put(event["offset"], event["text"])
            case "job.output.reset":
                self._text(event).cut(event["offset"])
            case "job.waiting":
                self.waiting = event["reason"]
            case "job.completed":
                self.progress = 100

    def _begin_anew(self, job: Wire) -> None:
        self.status, self.progress, self.message = job["status"], job["progress"], job["message"]
        self.steps = {step["index"]: step for step in job.get("steps", [])}

    def _text(self, event: Wire) -> Text:
        return self.texts.setdefault(event["channel"], Text())
