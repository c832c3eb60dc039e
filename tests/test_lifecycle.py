"""Which move is legal from where, and what it changes; the picture in the docs shows the same."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from outlast import lifecycle
from outlast.ends import Webhook
from outlast.errors import IllegalMove, JobConflict
from outlast.job import ASKED_FIELDS, ENDED, LIVE, Change, Event, Job, JobError, Signal, Status, Step, Waiting
from outlast.lifecycle import MOVES

QUEUED, PROCESSING, WAITING, RETRYING = Status.QUEUED, Status.PROCESSING, Status.WAITING, Status.RETRYING
COMPLETED, FAILED, CANCELLED = Status.COMPLETED, Status.FAILED, Status.CANCELLED

NOW = 1_800_000_000.0
UNTIL_APPROVED = Waiting(reason="signal", until=NOW + 600, signals=("approval",))


# ---- jobs, and what happens to them -------------------------------------------------------------


def born(**asked: Any) -> Job[Any]:
    new = lifecycle.submit(Job(id="job_1", type="report", **asked), NOW)
    return after(new.job, Change(id="job_1", events=new.events, place=new.place))


def after(job: Job[Any], change: Change | None) -> Job[Any]:
    """The job once a store has applied the change."""
    assert change is not None
    assert change.holds(job)
    applied = change.applied(job)
    return replace(applied, tag=applied.tag if change.place is None else 0)


def claimed(job: Job[Any], now: float = NOW) -> Job[Any]:
    return after(job, lifecycle.claim(job, "lease", "worker", now + 30, now))


def wished(job: Job[Any]) -> Job[Any]:
    """A processing job that somebody wants cancelled."""
    return after(job, lifecycle.cancel(job, NOW, reason="enough"))


def broke(job: Job[Any], *, retryable: bool = True) -> JobError:
    return JobError(code="handler_error", message="it broke", retryable=retryable, attempt=job.attempt, at=NOW)


def signal(name: str = "approval", number: int = 0, key: str | None = None) -> Signal:
    return Signal(name=name, value="true", number=number, key=key)


def job_that_is(status: Status, **asked: Any) -> Job[Any]:
    running = claimed(born(**asked))
    jobs: dict[Status, Callable[[], Job[Any]]] = {
        QUEUED: lambda: born(**asked),
        PROCESSING: lambda: running,
        WAITING: lambda: after(running, lifecycle.park(running, UNTIL_APPROVED, NOW)),
        RETRYING: lambda: after(running, lifecycle.raised(running, broke(running), NOW, chance=0.5, after=60)),
        COMPLETED: lambda: after(running, lifecycle.complete(running, "1", NOW)),
        FAILED: lambda: after(running, lifecycle.fail(running, broke(running, retryable=False), NOW)),
        CANCELLED: lambda: after(running, lifecycle.cancelled(running, NOW)),
    }
    return jobs[status]()


Decide = Callable[[Job[Any]], Change | None]

DECISIONS: dict[str, Decide] = {
    "claim": lambda job: lifecycle.claim(job, "lease", "worker", NOW + 30, NOW),
    "complete": lambda job: lifecycle.complete(job, '"done"', NOW),
    "retry": lambda job: lifecycle.raised(job, broke(job), NOW, chance=0.5),
    "fail": lambda job: lifecycle.fail(job, broke(job), NOW),
    "park": lambda job: lifecycle.park(job, UNTIL_APPROVED, NOW),
    "hand_back": lambda job: lifecycle.hand_back(job, "deploy", NOW),
    "recover": lambda job: lifecycle.lease_out(job, NOW),
    "wake": lambda job: lifecycle.wake(job, NOW),
    "cancel": lambda job: lifecycle.cancelled(job, NOW),
}
each_move = pytest.mark.parametrize("name", MOVES)
each_status = pytest.mark.parametrize("status", Status)


# ---- moves --------------------------------------------------------------------------------------


def test_the_moves_are_those_of_the_design() -> None:
    assert {name: (set(move.sources), move.target) for name, move in MOVES.items()} == {
        "claim": ({QUEUED, RETRYING}, PROCESSING),
        "complete": ({PROCESSING}, COMPLETED),
        "retry": ({PROCESSING}, RETRYING),
        "fail": (LIVE, FAILED),
        "park": ({PROCESSING}, WAITING),
        "hand_back": ({PROCESSING}, QUEUED),
        "recover": ({PROCESSING}, QUEUED),
        "wake": ({WAITING}, QUEUED),
        "cancel": (LIVE, CANCELLED),
    }


@each_status
@each_move
def test_a_move_is_made_from_its_sources_and_from_nowhere_else(name: str, status: Status) -> None:
    job = job_that_is(status)
    if status not in MOVES[name].sources:
        with pytest.raises(IllegalMove):
            DECISIONS[name](job)
        return
    change = DECISIONS[name](job)
    moved = after(job, change)
    assert change is not None
    assert (change.turn, change.lease) == (job.turn, job.lease), "a move holds on the turn and lease it was decided on"
    assert (moved.status, moved.turn) == (MOVES[name].target, job.turn + 1)
    assert change.events[-1].data["status"] == moved.status


@each_status
@each_move
def test_no_move_writes_what_the_submit_fixed(name: str, status: Status) -> None:
    if status in MOVES[name].sources:
        change = DECISIONS[name](job_that_is(status))
        assert change is not None
        assert set(change.set) <= {field.name for field in fields(Job)} - ASKED_FIELDS


@each_move
def test_whoever_leaves_processing_gives_up_lease_and_worker(name: str) -> None:
    if PROCESSING in MOVES[name].sources:
        job = replace(
            job_that_is(PROCESSING), current_step="Draft", open_steps=(open_step("failed"), open_step("running"))
        )
        moved = after(job, DECISIONS[name](job))
        assert (moved.lease, moved.lease_until, moved.worker, moved.current_step) == (None, None, None, None)
        assert moved.open_steps == (open_step("failed"),), "a step that failed is still shown, one that ran is not"


def open_step(status: Any) -> Step:
    return Step(key=status, name=status, index=0, status=status)


@pytest.mark.parametrize("status", sorted(LIVE))
@pytest.mark.parametrize("name", ["complete", "fail", "cancel"])
def test_an_end_sets_when_the_job_is_purged_and_takes_it_out_of_the_line(name: str, status: Status) -> None:
    if status in MOVES[name].sources:
        job = job_that_is(status, keep=100.0)
        ended = after(job, DECISIONS[name](job))
        assert (ended.completed_at, ended.next_at, ended.expires_at) == (NOW, NOW + 100, NOW + 100)
        assert (ended.tag, ended.waiting) == (None, None)


def test_a_completed_job_shows_no_error_of_earlier_attempts() -> None:
    again = claimed(ready(job_that_is(RETRYING)))
    done = after(again, lifecycle.complete(again, '{"a": 1}', NOW))
    assert (done.last_error, done.progress, done.result_json) == (None, 100.0, '{"a": 1}')


def ready(job: Job[Any]) -> Job[Any]:
    return after(job, lifecycle.ready(job, NOW))


@pytest.mark.parametrize(("status", "place"), [(QUEUED, "back"), (RETRYING, "front")])
def test_a_delay_that_is_over_puts_the_job_into_the_line(status: Status, place: str) -> None:
    job = job_that_is(status, deadline=NOW + 100)
    change = lifecycle.ready(job, NOW)
    assert (change.place, change.set["next_at"], change.set["turn"]) == (place, NOW + 100, job.turn + 1)


@pytest.mark.parametrize("status", sorted(set(Status) - {QUEUED, RETRYING}))
def test_only_what_waits_to_be_claimed_can_become_ready(status: Status) -> None:
    with pytest.raises(IllegalMove):
        lifecycle.ready(job_that_is(status), NOW)


# ---- submit and retry ---------------------------------------------------------------------------


def test_a_job_is_claimable_at_once_or_from_its_time_on() -> None:
    plain: Job[Any] = Job(id="job_1", type="report", deadline=NOW + 50)
    now, past = lifecycle.submit(plain, NOW), lifecycle.submit(plain, NOW, run_at=NOW - 1)
    later, too_late = lifecycle.submit(plain, NOW, run_at=NOW + 10), lifecycle.submit(plain, NOW, run_at=NOW + 90)
    assert [new.place for new in (now, past, later, too_late)] == ["back", "back", None, None]
    assert [new.job.next_at for new in (now, past, later, too_late)] == [NOW + 50, NOW + 50, NOW + 10, NOW + 50]
    assert [event.type for event in now.events] == ["job.created"]


@pytest.mark.parametrize("status", [FAILED, CANCELLED])
def test_a_retry_by_hand_asks_for_the_same_again(status: Status) -> None:
    asked = {"owner": "ada", "priority": "high", "max_retries": 1, "tags": ("a",), "metadata": {"k": 1}, "timeout": 5.0}
    also = {"payload_json": '{"a":1}', "idempotency_key": "k", "fingerprint": "f", "deadline": NOW + 60, "keep": 9.0}
    ended = job_that_is(status, **asked, **also)
    again = lifecycle.copy_for_retry(ended, "job_2", NOW + 1_000)
    assert {name: getattr(again, name) for name in asked} == asked
    assert (again.payload_json, again.keep, again.deadline) == ('{"a":1}', 9.0, NOW + 1_060)
    assert (again.id, again.retry_of, again.origin) == ("job_2", "job_1", "job_1")
    assert (again.idempotency_key, again.fingerprint) == (None, None), "the key stays the first job's"
    assert (again.status, again.attempt, again.turn, again.result_json, again.last_error) == (QUEUED, 0, 0, None, None)


def test_a_retry_of_a_retry_names_the_first_job_as_its_origin() -> None:
    third = lifecycle.copy_for_retry(job_that_is(FAILED, retry_of="job_0", origin="job_0"), "job_3", NOW)
    assert (third.retry_of, third.origin) == ("job_1", "job_0")


@pytest.mark.parametrize("status", sorted(LIVE))
def test_a_live_job_is_not_retried(status: Status) -> None:
    with pytest.raises(JobConflict) as refusal:
        lifecycle.copy_for_retry(job_that_is(status), "job_2", NOW, force=True)
    assert refusal.value.code == "job_live"


def test_a_completed_job_is_retried_only_by_force() -> None:
    done = job_that_is(COMPLETED)
    with pytest.raises(JobConflict) as refusal:
        lifecycle.copy_for_retry(done, "job_2", NOW)
    assert refusal.value.code == "job_not_retryable"
    assert lifecycle.copy_for_retry(done, "job_2", NOW, force=True).retry_of == done.id


# ---- wishes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, move in MOVES.items() if PROCESSING in move.sources])
def test_a_wish_to_cancel_turns_every_move_but_complete_into_cancelled(name: str) -> None:
    job = wished(job_that_is(PROCESSING))
    moved = after(job, DECISIONS[name](job))
    assert moved.status == (COMPLETED if name == "complete" else CANCELLED)
    assert moved.cancel_reason == "enough"


def test_a_job_that_cannot_be_retried_any_more_is_cancelled_too_if_that_is_wished() -> None:
    job = wished(job_that_is(PROCESSING, max_retries=0, deadline=NOW + 1))
    for change in (lifecycle.raised(job, broke(job), NOW, chance=0.5), lifecycle.lease_out(job, NOW + 2)):
        assert change.set["status"] is CANCELLED


def test_a_wish_to_cancel_is_heard_at_claim() -> None:
    job = replace(born(), cancel_requested_at=NOW)
    assert after(job, DECISIONS["claim"](job)).status is CANCELLED


def test_a_cancel_ends_what_no_attempt_runs_and_leaves_a_wish_on_what_one_does() -> None:
    for status in (QUEUED, WAITING, RETRYING):
        job = job_that_is(status)
        ended = after(job, lifecycle.cancel(job, NOW, by="ada", reason="enough"))
        assert (ended.status, ended.cancel_requested_at, ended.cancel_reason) == (CANCELLED, NOW, "enough")
    job = job_that_is(PROCESSING)
    change = lifecycle.cancel(job, NOW, by="ada", reason="enough")
    assert change is not None
    assert [(event.type, dict(event.data)) for event in change.events] == [
        ("job.cancel_requested", {"by": "ada", "reason": "enough"})
    ]
    hears = after(job, change)
    assert (hears.status, hears.turn, hears.lease) == (PROCESSING, job.turn + 1, job.lease)


def test_a_cancel_has_nothing_to_do_twice_or_after_the_end() -> None:
    for job in (wished(job_that_is(PROCESSING)), *(job_that_is(status) for status in ENDED)):
        assert lifecycle.cancel(job, NOW) is None


def test_a_signal_wakes_the_job_that_waits_for_it_and_no_other() -> None:
    waits = job_that_is(WAITING)
    woken = lifecycle.signal(waits, signal(), NOW)
    assert woken is not None
    assert (woken.place, after(waits, woken).status, after(waits, woken).inbox) == ("front", QUEUED, ("approval",))
    for job, name in ((waits, "other"), (job_that_is(PROCESSING), "approval"), (born(), "approval")):
        left = lifecycle.signal(job, signal(name), NOW)
        assert left is not None
        assert (left.place, after(job, left).status, after(job, left).inbox) == (None, job.status, (name,))
        assert after(job, left).turn == job.turn + 1, "so that a park decided before is decided again"


def test_a_signal_sent_again_under_its_key_changes_nothing() -> None:
    for status in Status:
        assert lifecycle.signal(job_that_is(status), signal(key="k"), NOW, known={"k"}) is None


def test_an_inbox_holds_a_hundred_signals_and_an_ended_job_none() -> None:
    full = replace(job_that_is(PROCESSING), inbox=("go",) * lifecycle.INBOX_LIMIT)
    refusals = [("inbox_full", full)] + [("job_ended", job_that_is(status)) for status in ENDED]
    for code, job in refusals:
        with pytest.raises(JobConflict) as refusal:
            lifecycle.signal(job, signal(), NOW)
        assert refusal.value.code == code


# ---- appends ------------------------------------------------------------------------------------


def test_an_append_holds_on_the_lease_alone() -> None:
    job = job_that_is(PROCESSING)
    change = lifecycle.append(job, set={"progress": 5.0}, events=[Event(type="job.log", time=NOW, attempt=1)])
    assert (change.lease, change.turn, change.place) == (job.lease, None, None)
    assert change.holds(wished(job))


@pytest.mark.parametrize("status", sorted(set(Status) - {PROCESSING}))
def test_nothing_is_appended_to_a_job_that_nobody_holds(status: Status) -> None:
    with pytest.raises(IllegalMove):
        lifecycle.append(job_that_is(status), set={"progress": 5.0})


def test_what_takes_a_signal_holds_once_and_on_the_inbox_it_saw() -> None:
    job = replace(job_that_is(PROCESSING), inbox=("a", "b", "a"))
    take = lifecycle.append(job, consumed=[signal("a", 1), signal("b", 2)])
    taken = after(job, take)
    assert (taken.inbox, take.consumed) == (("a",), (1, 2))
    assert not take.holds(taken)
    assert not take.holds(after(job, lifecycle.signal(job, signal("c"), NOW)))


# ---- parking ------------------------------------------------------------------------------------


def test_a_parked_job_holds_no_worker_and_wakes_at_its_time_or_its_deadline() -> None:
    job = job_that_is(PROCESSING)
    parked = after(job, lifecycle.park(job, UNTIL_APPROVED, NOW))
    assert (parked.status, parked.waiting, parked.resumes, parked.next_at) == (WAITING, UNTIL_APPROVED, True, NOW + 600)
    hurried = job_that_is(PROCESSING, deadline=NOW + 60)
    assert after(hurried, lifecycle.park(hurried, UNTIL_APPROVED, NOW)).next_at == NOW + 60
    for_ever = lifecycle.park(job, Waiting(reason="signal", signals=("approval",)), NOW)
    assert for_ever.set["next_at"] is None


@pytest.mark.parametrize(
    ("inbox", "now"), [(("approval",), NOW), (("other", "approval"), NOW), ((), NOW + 600)], ids=str
)
def test_a_wait_that_is_over_before_the_job_parked_goes_straight_back_into_the_line(
    inbox: tuple[str, ...], now: float
) -> None:
    job = replace(job_that_is(PROCESSING), inbox=inbox)
    change = lifecycle.park(job, UNTIL_APPROVED, now)
    back = after(job, change)
    assert (back.status, change.place, back.resumes, back.waiting) == (QUEUED, "front", True, None)


def test_a_sleeper_takes_no_heed_of_signals() -> None:
    job = replace(job_that_is(PROCESSING), inbox=("approval",))
    assert lifecycle.park(job, Waiting(reason="sleep", until=NOW + 60), NOW).set["status"] is WAITING


# ---- the clock ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "at", "becomes"),
    [(QUEUED, 60, QUEUED), (RETRYING, 60, RETRYING), (WAITING, 600, QUEUED), (PROCESSING, 30, QUEUED)],
)
def test_a_job_is_due_at_its_time_and_not_before(status: Status, at: float, becomes: Status) -> None:
    job = job_that_is(status)
    job = replace(job, tag=None, next_at=NOW + 60) if status is QUEUED else job
    assert lifecycle.due(job, NOW + at - 0.001) is None
    change = lifecycle.due(job, NOW + at)
    assert change is not None
    assert change.place == ("back" if status is QUEUED else "front")
    assert after(job, change).status is becomes


@pytest.mark.parametrize("status", sorted(ENDED))
def test_the_clock_moves_no_ended_job(status: Status) -> None:
    assert lifecycle.due(job_that_is(status), NOW + 1e9) is None


@pytest.mark.parametrize("status", sorted(LIVE))
def test_the_deadline_ends_every_live_job(status: Status) -> None:
    job = job_that_is(status, deadline=NOW + 20)
    at = NOW + 30 if status is PROCESSING else NOW + 20
    ended = after(job, lifecycle.due(job, at))
    assert ended.status is FAILED
    assert ended.last_error is not None
    assert (ended.last_error.code, ended.last_error.retryable) == ("deadline_exceeded", False)


def test_a_dead_worker_loses_its_jobs_before_their_leases_run_out() -> None:
    job = job_that_is(PROCESSING)
    assert lifecycle.due(job, NOW, dead=frozenset({"other"})) is None
    change = lifecycle.due(job, NOW, dead=frozenset({"worker"}))
    assert change is not None
    assert (change.set["status"], change.lease_until) == (QUEUED, job.lease_until)


def test_a_takeover_holds_only_while_the_lease_was_not_renewed() -> None:
    job = job_that_is(PROCESSING)
    assert not lifecycle.lease_out(job, NOW + 60).holds(replace(job, lease_until=NOW + 90))


# ---- the picture --------------------------------------------------------------------------------


def test_the_docs_draw_every_move_and_no_other() -> None:
    page = (Path(__file__).parent.parent / "docs" / "life-of-a-job.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \| ([a-z]+) \| (.+) \|$", page, re.MULTILINE)
    drawn = {name: (sorted(sources.split(", ")), target, why) for name, sources, target, why in rows}
    assert drawn == {name: (sorted(move.sources), move.target, move.why) for name, move in MOVES.items()}


# ---- what an ended job owes -----------------------------------------------------------------------


TOLD = (Webhook("https://hooks.example/"),)


@pytest.mark.parametrize("keep", [0.001, lifecycle.HEAD_START, 604_800.0])
@pytest.mark.parametrize("status", sorted(ENDED))
def test_that_a_webhook_is_to_be_told_comes_with_the_end_itself(status: Status, keep: float) -> None:
    job = job_that_is(status, webhooks=TOLD, keep=keep)
    assert lifecycle.owes(job) and job.next_at == pytest.approx(NOW + lifecycle.HEAD_START, abs=0.01)
    told = after(job, lifecycle.owing(job, None))
    assert not lifecycle.owes(told) and told.next_at == job.expires_at
    again = after(told, lifecycle.owing(told, job.expires_at))
    assert lifecycle.owes(again), "a look that falls on its expiry is one all the same"


@pytest.mark.parametrize("status", sorted(ENDED))
def test_a_job_owes_only_ends_that_its_webhooks_want(status: Status) -> None:
    others = tuple(f"job.{other}" for other in ENDED if other is not status)
    for webhooks in ((), (Webhook("https://hooks.example/", others),)):
        job = job_that_is(status, webhooks=webhooks)
        assert not lifecycle.owes(job) and job.next_at == job.expires_at


@pytest.mark.parametrize("status", sorted(LIVE))
def test_a_live_job_owes_nothing_yet(status: Status) -> None:
    job = job_that_is(status, webhooks=TOLD)
    assert not lifecycle.owes(job)
    with pytest.raises(IllegalMove, match=f"owing: job_1 is {status}"):
        lifecycle.owing(job, NOW)
