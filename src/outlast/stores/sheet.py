"""What the changes of one call write, gathered row by row; pure. The engines of SQL write each table in one go."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

from outlast.job import Change, Event, Job, NewJob, Step
from outlast.stores import rows
from outlast.stores.rows import Stored, Values


class Table(Enum):
    """Where a row goes, and what it is there: a new row, or one in place of another."""

    NEW_JOB = auto()
    ASKED = auto()
    MOVED_JOB = auto()
    LIVE = auto()
    EVENT = auto()
    STEP = auto()
    RESULT = auto()
    ERROR = auto()
    SIGNAL = auto()
    TAKEN = auto()
    REPORT = auto()


class Sheet:
    """The rows of one call, until they are torn off and written."""

    def __init__(self) -> None:
        self._rows: dict[Table, list[Values]] = {}
        self._moved: set[int] = set()

    def torn_off(self) -> dict[Table, list[Values]]:
        """All rows so far, by table; the sheet is empty again."""
        torn, self._rows = self._rows, {}
        self._moved.clear()
        return torn

    def has_moved(self, n: int) -> bool:
        """True if the row of this job is on the sheet. A statement writes a row once, so the sheet is then full."""
        return n in self._moved

    # -- what goes on it --------------------------------------------------------------------------------------------

    def born(self, n: int, job: Job[Any], new: NewJob) -> None:
        """A new job under its number, as it is after its first events."""
        self._put(Table.NEW_JOB, rows.job_row(n, job, rows.log_text(new.events, 0)))
        self._put(Table.ASKED, (n, rows.asked_text(job), job.payload_json))
        if job.offsets:
            self._put(Table.LIVE, rows.live_row(n, job))
        self._written(n, new.events, 0)
        self._steps(n, new.steps)

    def changed(self, stored: Stored, change: Change, tag: int | None) -> None:
        """A change that holds; `tag` is what its `place` gave. `stored` is then as the job will be."""
        n, seq = stored.n, stored.seq
        shown = stored.lay(change)
        if change.place is not None:
            stored.tag = tag
        if change.place is None and only_appends(change):
            self._put(Table.LIVE, stored.shown())
        else:
            self._move(stored, change, seq, shown)
        self._written(n, change.events, seq)
        self._steps(n, change.steps)
        for number in change.consumed:
            self._put(Table.TAKEN, (n, number))
        if change.signal is not None:
            self._put(Table.SIGNAL, (n, change.signal.name, change.signal.key, change.signal.value))
        if change.report is not None:
            self._put(Table.REPORT, (n, rows.report_text(change.report)))

    def claimed(self, n: int, job: Job[Any], change: Change, *, appended: bool) -> Job[Any]:
        """A claim of this job, and the job after it; `appended` if it has a row in `live`."""
        taken = change.applied(job)
        self._moved.add(n)
        self._put(Table.MOVED_JOB, rows.claimed_row(n, taken, rows.log_text(change.events, job.seq)))
        if appended:
            self._put(Table.LIVE, rows.live_row(n, taken))
        return taken

    def result(self, n: int, result_json: str) -> None:
        """The result of a job; with it there is no error any more."""
        self._put(Table.RESULT, (n, result_json))

    def logged(self, n: int, events: Sequence[Event]) -> None:
        """Numbered events that are to lie in the table of events."""
        for event in events:
            self._put(Table.EVENT, rows.event_row(n, event.seq, event))

    def _move(self, stored: Stored, change: Change, seq: int, shown: bool) -> None:
        self._moved.add(stored.n)
        self._put(Table.MOVED_JOB, stored.moved(rows.log_text(change.events, seq)))
        if shown:
            self._put(Table.LIVE, stored.shown())
        if "result_json" in change.set:
            self.result(stored.n, change.set["result_json"])
        elif "last_error" in change.set:
            self._put(Table.ERROR, (stored.n, rows.error_text(change.set["last_error"])))

    def _written(self, n: int, events: Sequence[Event], seq: int) -> None:
        """What an attempt wrote; it may be long, and claims need none of it."""
        for number, event in enumerate(events, seq + 1):
            if not event.is_move:
                self._put(Table.EVENT, rows.event_row(n, number, event))

    def _steps(self, n: int, steps: Sequence[Step]) -> None:
        for step in steps:
            self._put(Table.STEP, rows.step_row(n, step))

    def _put(self, table: Table, row: Values) -> None:
        self._rows.setdefault(table, []).append(row)


def only_appends(change: Change) -> bool:
    """Nothing but what a running attempt writes; a move, a wish and the inbox are more."""
    return change.set.keys() <= rows.APPENDED and not any(event.is_move for event in change.events)
