"""The contract itself is tested: each fault planted into a true store breaks at least one of its tests."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from outlast import lifecycle
from outlast.job import Change
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock, StoreContract
from outlast.testing.contract import news
from tests.planted_faults import (
    CancelNotRecheckedAtClaim,
    CheckThenWrite,
    ChooseThenClaim,
    ClaimsUnheard,
    DeadWorkersNotAsked,
    EndWithoutItsEvent,
    EveryReportKept,
    FenceByComparison,
    FenceByTime,
    FieldForgotten,
    NoFence,
    NoTurn,
    NoUniqueKey,
    NumbersFromOneSequence,
    OneLineForAll,
    OwnerNotAsked,
    PayloadTidied,
    PurgeLeavesTheLog,
    PurgeLeavesTheReports,
    PurgeWithoutStatusCheck,
    RefusalLeavesItsEvents,
    ReleaseCountsAsAttempt,
    RenewalsNotAsked,
    ReportsOfRefusedMoves,
    RunOutLeaseIsLost,
    SignalNotTaken,
    StepOverwritten,
    SweepIgnoresRenewals,
    VersionNotAsked,
    append_that_takes_a_signal_twice,
    claim_that_counts_a_release,
    claim_that_ignores_a_cancel,
    end_without_its_event,
    takeover_without_its_guard,
)

Test = Callable[..., Awaitable[None]]

IN_STORES: Mapping[type[MemoryStore], Test] = {
    NoFence: StoreContract.test_an_old_lease_writes_nothing_after_the_next_claim,
    FenceByComparison: StoreContract.test_only_equality_with_the_lease_lets_a_write_pass,
    FenceByTime: StoreContract.test_only_equality_with_the_lease_lets_a_write_pass,
    NoTurn: StoreContract.test_a_move_decided_before_a_wish_writes_nothing_after_it,
    CheckThenWrite: StoreContract.test_of_many_decisions_on_one_turn_exactly_one_is_stored,
    ChooseThenClaim: StoreContract.test_many_claimers_at_once_never_get_one_job_twice,
    SweepIgnoresRenewals: StoreContract.test_a_takeover_decided_before_a_renewal_is_refused_after_it,
    RunOutLeaseIsLost: StoreContract.test_a_lease_that_ran_out_and_nobody_took_is_still_good,
    StepOverwritten: StoreContract.test_the_first_completed_value_of_a_step_wins,
    NumbersFromOneSequence: StoreContract.test_the_events_of_a_job_are_numbered_from_one,
    EndWithoutItsEvent: StoreContract.test_the_end_is_stored_together_with_its_event,
    RefusalLeavesItsEvents: StoreContract.test_whatever_was_decided_before_the_end_changes_nothing_after_it,
    SignalNotTaken: StoreContract.test_a_signal_is_taken_once,
    FieldForgotten: StoreContract.test_every_field_of_a_job_is_kept,
    PayloadTidied: StoreContract.test_payloads_and_results_are_kept_to_the_letter,
    NoUniqueKey: StoreContract.test_of_two_submits_in_flight_at_once_one_is_stored,
    CancelNotRecheckedAtClaim: StoreContract.test_a_job_with_a_wish_to_cancel_is_never_handed_out,
    ReleaseCountsAsAttempt: StoreContract.test_a_clean_hand_back_costs_no_attempt,
    OneLineForAll: StoreContract.test_a_thousand_jobs_of_one_owner_do_not_delay_the_one_of_another,
    PurgeWithoutStatusCheck: StoreContract.test_only_ended_jobs_are_removed,
    PurgeLeavesTheLog: StoreContract.test_a_removed_job_leaves_nothing_behind,
    PurgeLeavesTheReports: StoreContract.test_a_removed_job_leaves_nothing_behind,
    ReportsOfRefusedMoves: StoreContract.test_a_report_under_a_lost_lease_is_not_kept,
    EveryReportKept: StoreContract.test_the_newest_reports_of_a_job_are_kept_in_their_order,
    OwnerNotAsked: StoreContract.test_a_job_is_read_by_its_owner_and_by_trusted_code_alone,
    DeadWorkersNotAsked: StoreContract.test_jobs_of_dead_workers_are_due_at_once,
    RenewalsNotAsked: StoreContract.test_a_job_decided_on_when_due_is_left_alone_if_it_moved_meanwhile,
    ClaimsUnheard: StoreContract.test_every_write_is_heard_with_its_ids,
    VersionNotAsked: StoreContract.test_a_note_is_put_only_over_the_version_given,
}
"""Each fault, and the promise it breaks."""

IN_LIFECYCLE: Sequence[tuple[str, Callable[..., Change], Test]] = [
    (
        "lease_out",
        takeover_without_its_guard,
        StoreContract.test_a_takeover_decided_before_a_renewal_is_refused_after_it,
    ),
    ("complete", end_without_its_event, StoreContract.test_the_end_is_stored_together_with_its_event),
    ("claim", claim_that_counts_a_release, StoreContract.test_a_clean_hand_back_costs_no_attempt),
    ("claim", claim_that_ignores_a_cancel, StoreContract.test_a_job_with_a_wish_to_cancel_is_never_handed_out),
    ("append", append_that_takes_a_signal_twice, StoreContract.test_of_two_who_take_one_signal_at_once_one_gets_it),
]


# ---- the trial ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", IN_STORES, ids=lambda fault: fault.__name__)
async def test_a_fault_planted_into_a_store_is_found(fault: type[MemoryStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news, "PATIENCE", 0.05)
    assert not await holds(IN_STORES[fault], fault)


@pytest.mark.parametrize(("name", "fault", "test"), IN_LIFECYCLE, ids=[fault.__name__ for _, fault, _ in IN_LIFECYCLE])
async def test_a_fault_planted_into_lifecycle_is_found(
    name: str, fault: Callable[..., Change], test: Test, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, name, fault)
    assert not await holds(test, MemoryStore)


async def test_without_a_fault_every_one_of_these_tests_holds() -> None:
    for test in [*IN_STORES.values(), *(test for _, _, test in IN_LIFECYCLE)]:
        assert await holds(test, MemoryStore), test.__name__


async def holds(test: Test, store: type[MemoryStore]) -> bool:
    """Run one test of the contract on a store of its own, as pytest would."""
    clock = FakeClock()
    fixtures = {"self": StoreContract(), "clock": clock, "store": store(clock=clock)}
    try:
        await test(**{name: fixtures[name] for name in inspect.signature(test).parameters})
    except AssertionError:
        return False
    return True
