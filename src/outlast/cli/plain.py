"""Jobs and events as plain lines, for pipes and for terminals that do no more."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import indent
from typing import Any

from outlast.cli.text import cut, safe

Wire = Mapping[str, Any]

LONGEST_VALUE = 2000


# -- events: a line each --------------------------------------------------------------------------------------------


def event_line(event: Wire) -> str:
    """An event: its number, its time, what it is, and what it says."""
    name, words = event["type"].removeprefix("job."), WORDS.get(event["type"], _own_fields)(event)
    return safe(f"{event['seq']:>4}  {event['time']}  " + (f"{name:<12}  {words}" if words else name))


def _progress(event: Wire) -> str:
    return "  ".join(filter(None, [percent(event.get("progress")), event.get("message")]))


def _step(event: Wire) -> str:
    return f"{event['name']}  {event['status']}{took(event)}"


def _delta(event: Wire) -> str:
    return f"{event['channel']}@{event['offset']}  {event['text']}"


def _reset(event: Wire) -> str:
    return f"{event['channel']}@{event['offset']}  what stood behind is taken back"


def _log(event: Wire) -> str:
    return f"{event['level']}  {event['message']}"


def _retrying(event: Wire) -> str:
    return f"attempt {event['attempt']}  {error_words(event['error'])}  again in {event['delayMs'] / 1000:.1f} s"


def _failed(event: Wire) -> str:
    return error_words(event["error"])


def _completed(event: Wire) -> str:
    return result_words(event.get("job", {}))


def _snapshot(event: Wire) -> str:
    job = event["job"]
    said = [job["status"], percent(job.get("progress")), job.get("currentStep"), job.get("message")]
    return "  ".join(one for one in said if one)


def _own_fields(event: Wire) -> str:
    own = {name: value for name, value in event.items() if name not in OF_EVERY_EVENT and value is not None}
    return "  ".join(f"{name}={compact(value)}" for name, value in own.items())


WORDS: Mapping[str, Callable[[Wire], str]] = {
    "job.progress": _progress,
    "job.step": _step,
    "job.output.delta": _delta,
    "job.output.reset": _reset,
    "job.log": _log,
    "job.retrying": _retrying,
    "job.failed": _failed,
    "job.completed": _completed,
    "job.snapshot": _snapshot,
}

OF_EVERY_EVENT = frozenset({"type", "jobId", "seq", "time", "attempt", "job"})


# -- jobs -----------------------------------------------------------------------------------------------------------


def job_lines(job: Wire) -> Iterator[str]:
    """A job in full: what is known of it, its steps, its end."""
    facts = list(_facts(job))
    width = max(len(name) for name, _ in facts)
    for name, said in facts:
        yield safe(f"{name:<{width}}  {said}")


def _facts(job: Wire) -> Iterator[tuple[str, str]]:
    for name in SHOWN:
        value = job.get(name)
        if value not in (None, [], {}, ""):
            yield name, percent(value) if name == "progress" else cut(compact(value), LONGEST_VALUE)
    for step in job.get("steps", []):
        yield "step", f"{step['name']}  {step['status']}{took(step)}"
    if job.get("lastError"):
        yield "lastError", error_words(job["lastError"])
    if job["status"] == "completed":
        yield "result", compact(job.get("result"))


SHOWN = (
    "id type status owner attempt maxRetries progress currentStep message waiting priority tags metadata externalId "
    "batchId retryOf createdAt startedAt completedAt cancelRequestedAt cancelReason expiresAt deadline "
    "estimatedCompletion usage"
).split()


def attempt_lines(job: Wire) -> Iterator[str]:
    """What became of each attempt, if the job came with them: a line, then its log and its traceback."""
    for attempt in job.get("attempts", []):
        why = f"  {error_words(attempt)}" if attempt["message"] else f"  {attempt['code'] or ''}"
        times = f"{attempt['startedAt']} - {attempt['endedAt'] or ''}"
        said = f"attempt {attempt['attempt']}  {times}  {attempt['worker'] or ''}  {attempt['status']}{why}"
        yield f"\n{safe(said).rstrip()}"
        if attempt["linesDropped"]:
            yield f"    [{attempt['linesDropped']} lines before these are not kept]"
        for line in attempt["lines"]:
            yield _indented(f"{line['time']}  {line['level']}  {line['logger']}  {line['text']}")
        if attempt["traceback"]:
            yield _indented(attempt["traceback"])


def _indented(text: str) -> str:
    return indent(safe(text, lines=True).rstrip("\n"), "    ")


def table(jobs: Sequence[Wire]) -> Iterator[str]:
    """Jobs as a table, one a line."""
    rows = [["ID", "TYPE", "STATUS", "DONE", "CREATED", ""], *map(_row, jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for *cells, last in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        yield "  ".join([*padded, last]).rstrip()


def _row(job: Wire) -> list[str]:
    error = job.get("lastError")
    said = f"{error['code']}: {error['message']}" if error else job.get("message") or job.get("currentStep") or ""
    cells = [job["id"], job["type"], job["status"], percent(job["progress"]), job["createdAt"], cut(said, 60)]
    return [safe(cell) for cell in cells]


# -- values ---------------------------------------------------------------------------------------------------------


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"


def took(step: Wire) -> str:
    """How long a step took, if it is over."""
    return "" if step.get("durationMs") is None else f"  {step['durationMs'] / 1000:.1f} s"


def error_words(error: Wire) -> str:
    """A job's error: its code, its message, and what can be done."""
    advice = f" ({error['advice']})" if error.get("advice") else ""
    return f"{error['code']}: {error['message']}{advice}"


def result_words(job: Wire) -> str:
    """A result on one line; a large one is not in events, and fetched by itself."""
    return cut(compact(job["result"]), LONGEST_VALUE) if "result" in job else "`outlast get` shows the result"


def compact(value: Any) -> str:
    """A value on one line: text as it is, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
