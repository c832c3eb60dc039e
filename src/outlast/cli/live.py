"""A job on a terminal: bar, steps and text, drawn anew as its events come. Needs rich."""

import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from outlast.cli.plain import error_words, percent, result_words, took
from outlast.cli.text import safe
from outlast.cli.view import View
from outlast.job import ENDED

BAR = 40
FRAMES_PER_SECOND = 8

MARKS: Mapping[str, tuple[str, str, str]] = {
    "completed": ("✓", "+", "green"),
    "failed": ("✗", "x", "red"),
    "pending": ("·", ".", "dim"),
}
"""For a step's status: its mark, the mark where there is only ASCII, and its style."""


class Screen:
    """Shows the events it is given, while it is entered; what it showed last stays on the terminal."""

    def __init__(self, job_id: str, type: str) -> None:
        self._title = f"{type}  {job_id}"
        self._view = View()
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        self._spinner = Spinner("line" if self._console.options.ascii_only else "dots")
        self._over = False
        self._end: Text | None = None
        self._trouble: str | None = None
        self._live = Live(get_renderable=self._drawn, console=self._console, refresh_per_second=FRAMES_PER_SECOND)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # The last frame need not fit the terminal, so it has the whole text.
        self._over = True
        self._live.stop()
        if self._end is not None:
            self._console.print(self._end)

    def show(self, event: Mapping[str, Any]) -> None:
        """One more event."""
        self._view.take(event)
        match event["type"]:
            case "job.log":
                self._console.print(_line(f"{event['level']}: {event['message']}"))
            case "job.retrying":
                said = f"attempt {event['attempt']} failed: {error_words(event['error'])}"
                self._console.print(_line(said, "yellow"))
            case "job.failed":
                self._end = _line(error_words(event["error"]), "red")
            case "job.completed":
                self._end = _line(result_words(event.get("job", {})))

    def trouble(self, said: str | None) -> None:
        """The server is gone, or back."""
        self._trouble = said

    # -- one frame --------------------------------------------------------------------------------------------------

    def _drawn(self) -> RenderableType:
        above = [self._head(), *self._steps()]
        room = self._console.height - len(above) - 2
        return Group(*above, *self._text(max(room, 3)))

    def _head(self) -> RenderableType:
        view = self._view
        attempt = f"attempt {view.attempt}" if view.attempt > 1 else ""
        waiting = f"for {view.waiting}" if view.status == "waiting" else ""
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=100, completed=view.progress or 0, width=BAR)
        said = [percent(view.progress), view.status, waiting, attempt, view.message]
        line.add_row(bar, _row("  ".join(one for one in said if one)))
        trouble = [_row(self._trouble, "yellow")] if self._trouble else []
        return Group(_row(self._title, "bold"), line, *trouble)

    def _steps(self) -> Iterator[RenderableType]:
        for _, step in sorted(self._view.steps.items()):
            row = Table.grid(padding=(0, 1))
            row.add_row(self._mark(step["status"]), _row(step["name"] + took(step)))
            yield row

    def _mark(self, status: str) -> RenderableType:
        if status not in MARKS:
            return Text("-") if self._over or self._view.status in ENDED else self._spinner
        mark, plain, style = MARKS[status]
        return Text(plain if self._console.options.ascii_only else mark, style=style)

    def _text(self, rows: int) -> list[RenderableType]:
        if self._over:
            return [Text(safe(str(text).rstrip(), lines=True)) for text in self._view.texts.values()]
        if self._view.last_channel is None:
            return []
        width = self._console.width
        tail = self._view.texts[self._view.last_channel].tail(rows * width)
        return list(Text(safe(tail, lines=True)).wrap(self._console, width)[-rows:])


def _line(text: str, style: str = "") -> Text:
    """A line that may need several rows."""
    return Text(safe(text), style=style)


def _row(text: str, style: str = "") -> Text:
    """A line that is cut where the terminal ends."""
    return Text(safe(text), style=style, no_wrap=True, overflow="ellipsis")
