"""What is printed: one table, absolute medians for orientation and ratios as the result."""

from collections.abc import Iterable, Mapping, Sequence

from bench.figures import Best, Goal, Row, Samples, best, result, verdict
from bench.plan import Measurement


def table(measurements: Sequence[Measurement], samples: Samples, systems: Mapping[str, str]) -> str:
    """The table as Markdown whose columns stand below each other; `systems` are their names and titles."""
    lines = [line(measurement, row, samples, systems) for measurement in measurements for row in measurement.rows]
    head = ("", "unit", *systems.values(), "result", "wanted", "")
    return aligned([head, *(line for line in lines if any(line[2:-3]))])


def line(measurement: Measurement, row: Row, samples: Samples, systems: Iterable[str]) -> tuple[str, ...]:
    figures = [best(samples, measurement.name, system, row) for system in systems]
    value = result(samples, measurement.name, row)
    if value is None or row.goal is None:
        return (row.title, row.unit, *map(cell, figures), "", "", "")
    shown, bound = rated(value, row.goal), rated(row.goal.bound, row.goal)
    return (
        *(row.title, row.unit, *map(cell, figures)),
        *(shown, f"{'>=' if row.more else '<='} {bound}", verdict(value, row.goal, more=row.more)),
    )


def cell(figure: Best | None) -> str:
    if figure is None:
        return ""
    return f"{number(figure.value)} ({figure.setting})" if figure.setting else number(figure.value)


def rated(value: float, goal: Goal) -> str:
    """A ratio as such; one far below 1 as a fraction."""
    if goal.against is None:
        return number(value)
    return f"{value:.2f}x" if value >= 0.3 else f"1/{1 / value:.0f}"


def number(value: float) -> str:
    """Three digits, or whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def aligned(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [" | ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(f"| {row} |" for row in [rows[0], "-|-".join("-" * width for width in widths), *rows[1:]])


def head(
    command: str, machine: Mapping[str, str], place: str, facts: Mapping[str, Mapping[str, object]]
) -> Iterable[str]:
    """What was measured, where, and how durable each system was."""
    yield f"{command}    {machine['date']}"
    yield f"{machine['cpu']}, {machine['system']}, {machine['disk']}; load before the run {machine['load']}"
    if place:
        yield place
    for system, its in facts.items():
        versions = its["versions"]
        words = ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else ""
        yield f"{system}: {words}; {its['durability']}"


def notes(measurements: Sequence[Measurement]) -> Iterable[str]:
    """What was counted and timed, by measurement."""
    return (f"{measurement.name}: {measurement.said}" for measurement in measurements)
