"""The simulation finds each fault that is planted into the store or into lifecycle, within 20,000 schedules."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from outlast import lifecycle, output
from outlast.job import Change, Job, NewJob
from outlast.lifecycle import claim
from outlast.stores.memory import MemoryStore
from tests import planted_faults as planted
from torture.simulation.chance import ruled_by
from torture.simulation.invariants import INVARIANTS
from torture.simulation.schedule import Verdict, play
from torture.simulation.world import SimulatedStore

SCHEDULES = 20_000

PROMISES = {*INVARIANTS, "IllegalMove"}
"""What a fault must break to count as found; any other error would only tell that the simulation itself is broken."""


class AcknowledgedBeforeCommit(SimulatedStore):
    """Answers before it writes: what it did last, a restart undoes."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._keep()

    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        self._keep()
        return await super().insert(new)

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        self._keep()
        return await super().apply(changes)

    def _keep(self) -> None:
        self._written = (
            dict(self._jobs),
            {id: list(events) for id, events in self._events.items()},
            {id: dict(steps) for id, steps in self._steps.items()},
            {id: list(signals) for id, signals in self._signals.items()},
            dict(self._keys),
            {id: list(reports) for id, reports in self._reports.items()},
        )

    def restart(self) -> None:
        self._jobs, self._events, self._steps, self._signals, self._keys, self._reports = self._written


IN_STORES: Sequence[type[MemoryStore]] = [
    planted.NoFence,
    planted.FenceByComparison,
    planted.FenceByTime,
    planted.NoTurn,
    planted.CheckThenWrite,
    planted.ChooseThenClaim,
    planted.SweepIgnoresRenewals,
    planted.RunOutLeaseIsLost,
    planted.StepOverwritten,
    planted.NumbersFromOneSequence,
    planted.EndWithoutItsEvent,
    planted.RefusalLeavesItsEvents,
    planted.SignalNotTaken,
    planted.NoUniqueKey,
    planted.CancelNotRecheckedAtClaim,
    planted.ReleaseCountsAsAttempt,
    planted.PurgeWithoutStatusCheck,
    planted.PurgeLeavesTheLog,
    planted.PurgeLeavesTheReports,
    planted.OwnerNotAsked,
    planted.RenewalsNotAsked,
    AcknowledgedBeforeCommit,
]

FOR_THE_CONTRACT_ALONE = {
    planted.FieldForgotten,
    planted.PayloadTidied,
    planted.OneLineForAll,
    planted.DeadWorkersNotAsked,
    planted.ClaimsUnheard,
    planted.VersionNotAsked,
    planted.ReportsOfRefusedMoves,
    planted.EveryReportKept,
}
"""Faults in what no invariant of the simulation speaks of: kept to the letter, fair, soon, heard, records, reports."""


def claim_that_counts_failures_alone(job: Job[Any], *facts: Any) -> Change:
    """A worker's death costs no attempt."""
    change = claim(job, *facts)
    counts = job.attempt == 0 or job.status is lifecycle.RETRYING or "attempt" not in change.set
    return change if counts else replace(change, set={**change.set, "attempt": job.attempt})


IN_LIFECYCLE: Sequence[tuple[str, Callable[..., Change]]] = [
    ("lease_out", planted.takeover_without_its_guard),
    ("complete", planted.end_without_its_event),
    ("claim", planted.claim_that_counts_a_release),
    ("claim", planted.claim_that_ignores_a_cancel),
    ("claim", claim_that_counts_failures_alone),
    ("append", planted.append_that_takes_a_signal_twice),
]


@pytest.mark.parametrize("fault", IN_STORES, ids=lambda fault: fault.__name__)
def test_a_fault_planted_into_the_store_is_found(fault: type[MemoryStore]) -> None:
    assert hunt(type(f"Simulated{fault.__name__}", (fault, SimulatedStore), {})).broken in PROMISES


@pytest.mark.parametrize(("name", "fault"), IN_LIFECYCLE, ids=[fault.__name__ for _, fault in IN_LIFECYCLE])
def test_a_fault_planted_into_lifecycle_is_found(
    name: str, fault: Callable[..., Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, name, fault)
    assert hunt(SimulatedStore).broken in PROMISES


def test_text_that_is_not_taken_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_taken_back(*facts: Any) -> tuple[list[Any], dict[str, str]]:
        return [], {"text": output.text(facts[0])}

    monkeypatch.setattr(output, "taken_back", nothing_taken_back)
    assert hunt(SimulatedStore).broken == "text"


def test_every_fault_is_hunted_here_or_is_for_the_contract_alone() -> None:
    known = {thing for thing in vars(planted).values() if isinstance(thing, type) and issubclass(thing, MemoryStore)}
    assert known - {MemoryStore} == {*IN_STORES, *FOR_THE_CONTRACT_ALONE} - {AcknowledgedBeforeCommit}


def hunt(store: type[SimulatedStore]) -> Verdict:
    """The verdict on the first schedule that breaks a promise, or on the last that was tried."""
    with ruled_by(Random()) as chance:
        for seed in range(SCHEDULES):
            verdict = play(chance, seed, Counter(), store=store)
            if verdict.broken in PROMISES:
                break
    print(f"{store.__name__}: {verdict.broken} after {seed + 1} schedules")
    return verdict
