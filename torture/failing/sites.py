"""The places from which a worker calls its store: what they are called, and all that its source has."""

import ast
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from outlast.job import Change
from outlast.stores.base import Store

SOURCE = Path(inspect.getfile(Store)).parent.parent

WORKER = ("worker", "attempt", "recorder", "renewer", "sweep", "presence", "totals", "follow")
"""The files of the worker's side; the calls of `verbs.py` are made for callers."""

METHODS = frozenset(
    "open close insert get find count claim renew apply due events steps signals changed"
    " purge put fetch scan drop".split()
)
"""What goes to the file."""

NOT_THE_WORKERS = frozenset({"follow.follow", "follow.Hub._read_tail", "totals.read"})
"""In those files, and yet a caller's."""

BESIDE = frozenset({"unused"})
"""The file that a worker's process runs once an hour beside it, and that tests of its own break off at each call."""

BATCHED = frozenset({"insert by stores.batching", "get by stores.batching"})
"""One at a time in the source, many at once at the store."""

CHANGES = frozenset(
    {
        "append output",
        "append a step",
        "append a wait",
        "append a signal taken",
        "append text taken back",
        "end a slice as completed",
        "end a slice as failed",
        "end a slice as retrying",
        "end a slice as waiting",
        "end a slice as queued",
        "end a slice as cancelled",
        "take over as queued",
        "take over as retrying",
        "take over as failed",
        "take over as cancelled",
        "make ready",
        "wake as queued",
        "wake as failed",
    }
)
"""What a worker applies. Nobody but a worker applies any of it; wishes are applied by others."""


def required() -> frozenset[str]:
    """Every site that a worker has."""
    calls = (f"{method} by {place}" for place, method in _calls() if method != "apply")
    return frozenset({*calls, *BATCHED, *(f"apply: {change}" for change in CHANGES), "open by opened", "close by app"})


def _calls() -> Iterator[tuple[str, str]]:
    for file in WORKER:
        tree = ast.parse(SOURCE.joinpath(f"{file}.py").read_text("utf-8"))
        for function, call in _within(tree, file):
            if function not in NOT_THE_WORKERS and isinstance(call.func, ast.Attribute):
                holder = ast.unparse(call.func.value).rpartition(".")[2].lstrip("_")
                if call.func.attr in METHODS and holder in ("store", "records"):
                    yield function, call.func.attr


def _within(node: ast.AST, name: str) -> Iterator[tuple[str, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield name, child
        inner = child.name if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else None
        yield from _within(child, name if inner is None else f"{name}.{inner}")


def names(method: str, arguments: Sequence[Any], module: str, function: str) -> set[str]:
    """The sites that a call is made from; one that applies many changes is many, one about nothing is none."""
    if method == "apply":
        return {f"apply: {described(change)}" for change in arguments[0]}
    place = module.removeprefix("outlast.")
    if place in BESIDE or (arguments and arguments[0] == []):
        return set()
    return {
        f"{method} by {place}" if place in ("app", "opened", "stores.batching") else f"{method} by {place}.{function}"
    }


def described(change: Change) -> str:
    """What a change is, in the words of CHANGES."""
    status = change.set.get("status")
    if status is not None and change.lease_until is not None:
        return f"take over as {status}"
    if status is not None:
        return f"end a slice as {status}" if change.lease is not None else f"wake as {status}"
    if change.lease is not None:
        return _appended(change)
    return "make ready" if change.place is not None else "leave a wish"


def _appended(change: Change) -> str:
    if change.consumed:
        return "append a signal taken"
    if any(event.type == "job.output.reset" for event in change.events):
        return "append text taken back"
    if any(step.status == "waiting" for step in change.steps):
        return "append a wait"
    return "append a step" if change.steps else "append output"
