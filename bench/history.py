"""The last runs, kept in the repository, and what has fallen since.

Only what a goal is about is kept: ratios, most of them to another system in the same run, so that a run on one machine
says something about a run on another.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.figures import fallen

KEPT = 20
"""Runs of each size in the file."""

LAST = 5
"""Runs whose median a new one is held against."""

FLOOR = 0.70
"""The share of that median below which a figure has fallen."""

Results = Mapping[str, float]
"""What the goals are about, by measurement and number."""


def read(path: Path) -> list[dict[str, Any]]:
    """The kept runs, the newest last."""
    return json.loads(path.read_text("utf-8")) if path.exists() else []


def append(path: Path, run: Mapping[str, Any]) -> None:
    """Keep a run, and let go of the oldest of its size."""
    runs = [*read(path), run]
    of_size = [one for one in runs if one["small"] == run["small"]]
    kept = [one for one in runs if one not in of_size[:-KEPT]]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def usual(runs: Sequence[Mapping[str, Any]], *, small: bool) -> dict[str, float]:
    """The median of each result over the last runs of this size."""
    of_size = [run["results"] for run in runs if run["small"] == small][-LAST:]
    names = {name for results in of_size for name in results}
    return {name: median(results[name] for results in of_size if name in results) for name in names}


def regressions(results: Results, before: Results, more: Mapping[str, bool]) -> list[str]:
    """The names of the results that have fallen."""
    return [
        name
        for name, value in results.items()
        if name in before and fallen(value, before[name], more=more[name], floor=FLOOR)
    ]
