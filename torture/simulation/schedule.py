"""One schedule from its seed to its verdict."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from torture.simulation.callers import begin
from torture.simulation.invariants import Violation
from torture.simulation.plan import Plan, draw
from torture.simulation.workers import hire
from torture.simulation.world import SimulatedStore, World


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a schedule. `broken` is the invariant that did not hold, or the error that no actor expected."""

    plan: Plan
    broken: str | None = None
    found: str = ""


def play(
    chance: Random,
    seed: int,
    counters: Counter[str],
    twist: int = 0,
    without: frozenset[str] = frozenset(),
    *,
    store: type[SimulatedStore] = SimulatedStore,
    trace: Callable[[str], None] | None = None,
) -> Verdict:
    """Run one schedule; `chance` rules all of it (`chance.ruled_by`) and is seeded here; `counters` go on counting."""
    plan = draw(chance, seed, twist, without)
    world = World(plan, store, chance, hire, counters, trace)
    begin(world)
    for name, _ in plan.workers:
        hire(world, "worker", name)
    for name in plan.sweepers:
        hire(world, "sweeper", name)
    world.storm()
    broken, found = None, ""
    try:
        world.run()
    except Violation as violation:
        broken, found = violation.invariant, str(violation)
    except Exception as error:
        broken, found = type(error).__name__, f"{type(error).__name__}: {error}"
    if broken:
        world.close()
    return Verdict(plan, broken, found)
