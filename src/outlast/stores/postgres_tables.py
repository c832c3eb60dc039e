"""What a sheet's rows become in PostgreSQL: one statement for each table, an array for each column."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from outlast.report import REPORTS
from outlast.stores import rows
from outlast.stores.postgres_pool import Do
from outlast.stores.rows import Values
from outlast.stores.sheet import Table

_INTEGERS = dict.fromkeys("seq version turn attempt deaths place number".split(), "integer")
_BIG = dict.fromkeys("n tag duration_ms".split(), "bigint")
_TIMES = (
    "created_at lease_until next_at claimed_at ran cancel_requested_at queued_at started_at completed_at updated_at"
)
_FLOATS = dict.fromkeys([*_TIMES.split(), "progress", "time", "due"], "float8")
_TRUTHS = dict.fromkeys("resumes output taken".split(), "boolean")
TYPES: Mapping[str, str] = {"rank": "smallint", **_INTEGERS, **_BIG, **_FLOATS, **_TRUTHS}
"""Of each column that is no text."""

_MOVED = (*rows.MOVED, *rows.COUNTED)
_LIVE = (*rows.COUNTED, *rows.SHOWN)
_STEP = ("name", "place", "status", "due", "attempt", "duration_ms", "value")


def rows_of(*columns: str) -> str:
    """Rows out of an array for each column, as `new`, with their place as `ord`."""
    arrays = ", ".join(f"%s::{TYPES.get(name, 'text')}[]" for name in columns)
    return f"unnest({arrays}) with ordinality as new ({', '.join(columns)}, ord)"


def _insert(table: str, *columns: str) -> str:
    names = ", ".join(columns)
    return f"insert into {{s}}.{table} ({names}) select {names} from {rows_of(*columns)}"


def _update(columns: Sequence[str]) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in columns)


class Many:
    """A statement that writes any number of rows.

    Parameters
    ----------
    statement: with an array for each column.
    columns: of a row, in the order of its values.
    once: makes of many rows those that the statement may meet, each key once.
    """

    def __init__(
        self, statement: str, columns: Sequence[str], once: Callable[[Sequence[Values]], Sequence[Values]] | None = None
    ) -> None:
        self._statement, self._once = statement, once
        self._literals = [_LITERALS[TYPES.get(name, "text")] for name in columns]

    def of(self, many: Sequence[Values]) -> Do:
        kept = many if self._once is None else self._once(many)
        columns = zip(self._literals, zip(*kept, strict=True), strict=True)
        return Do(self._statement, ["{" + ",".join(_each(literal, values)) + "}" for literal, values in columns])


def _each(literal: Callable[[Any], str], values: Sequence[Any]) -> Iterable[str]:
    """The literals of a column. Of jobs that end together most columns hold one value, and counting is quick."""
    first = values[0]
    return repeat(literal(first), len(values)) if values.count(first) == len(values) else map(literal, values)


# The driver writes arrays too, but takes ten times as long, which is most of what a batch would cost.


def _number(value: float | None) -> str:
    return "NULL" if value is None else repr(value)


def _truth(value: bool | None) -> str:
    return "NULL" if value is None else "t" if value else "f"


def _text(value: str | None) -> str:
    if value is None:
        return "NULL"
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


def texts(values: Iterable[str | None]) -> str:
    """An array of texts."""
    return "{" + ",".join(map(_text, values)) + "}"


def integers(values: Iterable[int]) -> str:
    """An array of integers."""
    return "{" + ",".join(map(str, values)) + "}"


_LITERALS: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(("smallint", "integer", "bigint", "float8"), _number),
    "boolean": _truth,
    "text": _text,
}
"""How an element of an array is written, by the type of its column."""


def _last_of_each(many: Sequence[Values]) -> Sequence[Values]:
    return list({row[0]: row for row in many}.values())


def _steps_once(many: Sequence[Values]) -> Sequence[Values]:
    """Of the rows under one key the last, but none behind a completed one."""
    kept: dict[tuple[Any, Any], Values] = {}
    for row in many:
        before = kept.get((row[0], row[1]))
        if before is None or before[4] != rows.COMPLETED:
            kept[row[0], row[1]] = row
    return list(kept.values())


def with_tags(many: Sequence[Values]) -> Sequence[Values]:
    """Rows of `asked`, each with the tags it is found by."""
    return [(*row, tags_text(row[1])) for row in many]


def tags_text(asked: str) -> str | None:
    """The tags as they are found by."""
    tags = rows.loads(asked).get("tags") if '"tags":' in asked else None
    return "\n" + "\n".join(tags) + "\n" if tags else None


def _numbered(table: str, *columns: str) -> str:
    """Rows that follow those the job has."""
    names = ", ".join(columns)
    return f"""
        insert into {{s}}.{table} (n, number, {names})
        select n, coalesce((select max(old.number) from {{s}}.{table} old where old.n = new.n), 0)
                  + row_number() over (partition by n order by ord), {names}
          from {rows_of("n", *columns)}"""


JOB = ("n", *rows.FIXED, *rows.MOVED, *rows.COUNTED, "log")

MANY: Mapping[Table, Many] = {
    Table.NEW_JOB: Many(_insert("job", *JOB), JOB),
    Table.ASKED: Many(
        _insert("asked", "n", "asked", "payload", "tags"), ("n", "asked", "payload", "tags"), once=with_tags
    ),
    Table.MOVED_JOB: Many(
        f"""
        update {{s}}.job set log = job.log || new.log, {", ".join(f"{name} = new.{name}" for name in _MOVED)}
          from {rows_of("n", "log", *_MOVED)} where job.n = new.n""",
        ("n", "log", *_MOVED),
    ),
    Table.LIVE: Many(
        f"{_insert('live', 'n', *_LIVE)} on conflict (n) do update set {_update(_LIVE)}",
        ("n", *_LIVE),
        once=_last_of_each,
    ),
    Table.EVENT: Many(
        _insert("event", "n", "seq", "type", "time", "attempt", "output", "data"),
        ("n", "seq", "type", "time", "attempt", "output", "data"),
    ),
    Table.STEP: Many(
        f"""
        {_insert("step", "n", "key", *_STEP)} on conflict (n, key) do update set {_update(_STEP)}
         where step.status <> 'completed'""",
        ("n", "key", *_STEP),
        once=_steps_once,
    ),
    Table.RESULT: Many(
        f"""
        {_insert("result", "n", "result_json")} on conflict (n) do update
           set result_json = excluded.result_json, last_error = null""",
        ("n", "result_json"),
    ),
    Table.ERROR: Many(
        f"{_insert('result', 'n', 'last_error')} on conflict (n) do update set last_error = excluded.last_error",
        ("n", "last_error"),
    ),
    Table.SIGNAL: Many(_numbered("signal", "name", "key", "value"), ("n", "name", "key", "value")),
    Table.TAKEN: Many(
        f"""
        update {{s}}.signal set taken = true
          from {rows_of("n", "number")} where signal.n = new.n and signal.number = new.number""",
        ("n", "number"),
    ),
    Table.REPORT: Many(_numbered("report", "report"), ("n", "report")),
}

DROP_REPORTS = f"""
    delete from {{s}}.report
     where n = any(%s::bigint[])
       and number <= (select max(newest.number) - {REPORTS} from {{s}}.report newest where newest.n = report.n)"""


def statements(sheet: Mapping[Table, Sequence[Values]]) -> list[Do]:
    """What writes the rows of a sheet."""
    made = []
    for table, its in sheet.items():
        made.append(MANY[table].of(its))
        if table is Table.REPORT:
            made.append(Do(DROP_REPORTS, ([row[0] for row in its],)))
    return made
