"""The harness in which a worker dies at a chosen call to its store."""

from pathlib import Path

import pytest

from outlast import lifecycle
from torture.failing.sites import CHANGES, required
from torture.failing.trial import Point, die_at


def test_the_calls_of_a_workers_source_are_found() -> None:
    assert {
        "claim by worker.Worker._claim",
        "renew by renewer.Renewer._renew",
        "due by sweep.Sweep.round",
        "purge by sweep.Sweep._purge",
        "steps by attempt.Attempt._recorded",
        "signals by recorder.Recorder._oldest",
        "drop by presence.leave",
        "put by totals.write",
    } <= required()


def test_every_move_of_a_worker_is_among_the_changes_it_dies_at() -> None:
    # The claim is a call of its own, and the wish to cancel a parked job is another's.
    targets = {move.target for name, move in lifecycle.MOVES.items() if name != "claim"}
    assert targets == {change.rpartition(" as ")[2] for change in CHANGES if " as " in change}


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [Point("before", "apply: append a step"), Point("after", "apply: end a slice as completed")],
    ids=str,
)
async def test_a_worker_that_dies_at_a_call_leaves_nothing_lost_doubled_or_stuck(point: Point, tmp_path: Path) -> None:
    outcome = await die_at(point, tmp_path)
    assert outcome.died
    assert outcome.flaws == []


@pytest.mark.slow
async def test_a_worker_that_does_not_die_comes_past_every_call(tmp_path: Path) -> None:
    outcome = await die_at(None, tmp_path)
    assert not outcome.died
    assert outcome.flaws == []
    assert outcome.calls.keys() == required()
