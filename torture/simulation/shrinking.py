"""From a schedule that broke a promise to a small one that still does: without actors, then faults, then jobs."""

from collections.abc import Callable

from torture.simulation.schedule import Verdict

Again = Callable[[int, int, frozenset[str]], Verdict]
"""Plays a seed, a twist, and what is left out."""

TWISTS = 12
"""Other courses that are tried where a plan without some part no longer breaks on its own."""


def shrunk(broken: Verdict, again: Again) -> Verdict:
    """The verdict on the smallest plan found that breaks the same promise."""
    smaller: Verdict | None = broken
    while smaller is not None:
        broken = smaller
        tried = (_without(broken, part, again) for part in broken.plan.parts())
        smaller = next((verdict for verdict in tried if verdict is not None), None)
    return broken


def _without(broken: Verdict, part: str, again: Again) -> Verdict | None:
    plan = broken.plan
    for twist in (plan.twist, *range(1, TWISTS)):
        verdict = again(plan.seed, twist, plan.without | {part})
        if verdict.broken == broken.broken:
            return verdict
    return None
