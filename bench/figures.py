"""Medians, ratios, verdicts: the arithmetic of the bench, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Literal

Verdict = Literal["reached", "half reached", "missed"]

Samples = Mapping[tuple[str, str, str, str], Sequence[float]]
"""What was measured, by measurement, system, setting and the name of the number; of all rounds together."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What Outlast's figure shall be.

    bound:   of the figure itself, or of its ratio to `against`.
    against: the systems, by the best of which it is divided, and last the name of their number; None: it is taken as
             it is.
    """

    bound: float
    against: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    number:   the name of the number that the measured programs answer.
    more:     True if more of it is better.
    quantile: which of all samples stands for them; 0.5 is the median.
    settings: of the peers, the only ones that count; empty: all.
    kept:     the name under which the result is kept; empty: the number's.
    """

    title: str
    number: str
    unit: str
    more: bool
    quantile: float = 0.5
    goal: Goal | None = None
    settings: tuple[str, ...] = ()
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Best:
    """A system's figure, with the setting that gave it."""

    value: float
    setting: str


def best(samples: Samples, measurement: str, system: str, row: Row, number: str | None = None) -> Best | None:
    """The system's figure under the setting that suits it best; None if it was not measured."""
    figures = [
        Best(quantile(values, row.quantile), setting)
        for (its, whose, setting, name), values in samples.items()
        if (its, whose, name) == (measurement, system, number or row.number)
        and (not row.settings or not setting or setting in row.settings)
    ]
    if not figures:
        return None
    return (max if row.more else min)(figures, key=lambda figure: figure.value)


def result(samples: Samples, measurement: str, row: Row) -> float | None:
    """What the goal is about: Outlast's figure, or its ratio to another; None if one of them is missing."""
    ours = best(samples, measurement, "outlast", row)
    if ours is None or row.goal is None:
        return None
    if row.goal.against is None:
        return ours.value
    *systems, number = row.goal.against
    measured = [best(samples, measurement, system, row, number) for system in systems]
    theirs = [figure.value for figure in measured if figure is not None]
    return ours.value / (max if row.more else min)(theirs) if theirs else None


def verdict(value: float, goal: Goal, *, more: bool) -> Verdict:
    """Half reached: at least half as much as wanted, or at most twice as much where less is better."""
    part = value / goal.bound if more else goal.bound / value
    return "reached" if part >= 1 else "half reached" if part >= 0.5 else "missed"


def fallen(value: float, before: float, *, more: bool, floor: float) -> bool:
    """True if the value is worse than this share of what it was before."""
    return (value / before if more else before / value) < floor


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of all lies, between two of them in proportion; 0.5 is the median."""
    if len(values) == 1:
        return values[0]
    hundredths = quantiles(values, n=100, method="inclusive")
    return hundredths[round(share * 100) - 1]
