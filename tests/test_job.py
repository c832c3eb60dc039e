"""The records of the house, and their form on the wire."""

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.job import (
    ASKED_FIELDS,
    ENDED,
    LIVE,
    LIVE_FIELDS,
    RANK,
    Change,
    Event,
    Job,
    JobError,
    Status,
    Step,
    Waiting,
    counted,
    numbered,
    shown_steps,
)

NOW = 1_795_341_600.0
WRITTEN = "2026-11-22T10:00:00.000Z"
JOB: Job[Any] = Job(id="job_1", type="report.generate")
ERROR = JobError(code="provider_error", message="it broke", retryable=True, attempt=2, at=NOW)

ON_THE_WIRE = {
    *("id", "type", "owner", "status", "version", "seq", "progress", "currentStep", "message", "priority"),
    *(
        "attempt",
        "retryCount",
        "maxRetries",
        "retryOf",
        "batchId",
        "externalId",
        "tags",
        "metadata",
        "waiting",
        "cancelReason",
    ),
    *("queuedAt", "startedAt", "completedAt", "cancelRequestedAt", "createdAt", "updatedAt", "expiresAt", "deadline"),
    *("output", "result", "lastError", "usage"),
}
IN_SHORT = {
    *("id", "type", "status", "version", "progress", "currentStep", "message"),
    *("createdAt", "updatedAt", "completedAt", "lastError"),
}


def test_seven_statuses_are_live_or_ended() -> None:
    assert len(Status) == 7
    assert set(Status) == LIVE | ENDED
    assert not LIVE & ENDED
    assert [status.value for status in Status if status.ended] == ["completed", "failed", "cancelled"]


def test_priorities_are_claimed_from_high_to_low() -> None:
    assert sorted(RANK, key=RANK.__getitem__) == ["high", "normal", "low"]


def test_a_job_is_never_edited() -> None:
    with pytest.raises(FrozenInstanceError):
        JOB.status = Status.FAILED  # type: ignore[misc]


def test_the_fields_that_stores_keep_apart_are_fields_of_a_job() -> None:
    assert {field.name for field in fields(Job)} >= LIVE_FIELDS | ASKED_FIELDS
    assert not LIVE_FIELDS & ASKED_FIELDS


# ---- the wire -----------------------------------------------------------------------------------


def test_a_job_on_the_wire_has_exactly_these_keys() -> None:
    assert set(JOB.wire()) == ON_THE_WIRE
    assert set(JOB.wire(steps=[])) == ON_THE_WIRE | {"steps"}
    assert set(JOB.wire_lite()) == IN_SHORT


def test_a_job_on_the_wire_reads_as_the_interface_says() -> None:
    job = replace(
        JOB,
        owner="user_17",
        status=Status.PROCESSING,
        version=12,
        seq=41,
        progress=40.0,
        current_step="draft",
        attempt=2,
        tags=("demo",),
        created_at=NOW,
        queued_at=NOW,
        started_at=NOW + 1.204,
        updated_at=NOW,
        offsets={"text": 2_310, "thoughts": 9},
        usage={"inputTokens": 1_200, "cost": 0.5},
    )
    shown = job.wire()
    assert (shown["status"], shown["version"], shown["seq"]) == ("processing", 12, 41)
    assert (shown["attempt"], shown["retryCount"], shown["maxRetries"]) == (2, 1, 3)
    assert (shown["progress"], type(shown["progress"])) == (40, int)
    assert (shown["startedAt"], shown["createdAt"], shown["completedAt"]) == ("2026-11-22T10:00:01.204Z", WRITTEN, None)
    assert (shown["output"], shown["usage"]) == ({"offset": 2_310, "complete": False}, dict(job.usage))
    assert (shown["tags"], shown["metadata"]) == (["demo"], {})


def test_an_ended_job_shows_its_result_and_until_when_it_is_kept() -> None:
    job = replace(JOB, status=Status.COMPLETED, completed_at=NOW - 60, keep=60.0, result_json='{"b": 1, "a": [null]}')
    shown = job.wire()
    assert (shown["result"], list(shown["result"])) == ({"b": 1, "a": [None]}, ["b", "a"])
    assert (shown["expiresAt"], shown["output"]["complete"]) == (WRITTEN, True)


def test_an_error_on_the_wire_leaves_out_what_it_does_not_have() -> None:
    shown = {"code": "provider_error", "message": "it broke", "retryable": True, "attempt": 2, "at": WRITTEN}
    assert replace(JOB, last_error=ERROR).wire()["lastError"] == shown
    full = replace(ERROR, advice="wait", details={"status": 529})
    assert full.wire() == shown | {"advice": "wait", "details": {"status": 529}}
    assert replace(JOB, last_error=full).wire_lite()["lastError"] == {"code": "provider_error", "message": "it broke"}


def test_a_waiting_job_shows_what_it_waits_for() -> None:
    waits = replace(JOB, waiting=Waiting(reason="signal", until=NOW, signals=("approval",)))
    assert waits.wire()["waiting"] == {"reason": "signal", "until": WRITTEN, "signals": ["approval"]}
    assert JOB.wire()["waiting"] is None


def test_progress_is_a_whole_number_where_it_is_one() -> None:
    shown = [replace(JOB, progress=progress).wire()["progress"] for progress in (None, 0.0, 33.5, 100.0)]
    assert shown == [None, 0, 33.5, 100]
    assert [type(value) for value in shown[1:]] == [int, float, int]


def test_an_event_on_the_wire_is_one_flat_object() -> None:
    event = Event(type="job.output.delta", time=NOW, attempt=1, data={"channel": "text", "offset": 0}, seq=42)
    head = {"type": "job.output.delta", "jobId": "job_1", "seq": 42, "time": WRITTEN, "attempt": 1}
    assert event.wire("job_1") == head | {"channel": "text", "offset": 0}


# ---- steps --------------------------------------------------------------------------------------


def step(name: str, index: int, status: Any = "completed", **also: Any) -> Step:
    return Step(key=name, name=name, index=index, status=status, **also)


def test_steps_show_what_is_done_what_runs_and_what_is_to_come() -> None:
    job = replace(JOB, planned=("outline", "draft", "review"), open_steps=(step("draft", 1, "running"),))
    shown = job.wire(steps=[step("outline", 0, duration_ms=8_120)])["steps"]
    assert shown == [
        {"name": "outline", "index": 0, "status": "completed", "durationMs": 8_120},
        {"name": "draft", "index": 1, "status": "running"},
        {"name": "review", "index": 2, "status": "pending"},
    ]


def test_a_step_that_was_recorded_is_no_longer_shown_as_open() -> None:
    job = replace(JOB, open_steps=(step("draft", 0, "running"),))
    assert [one.status for one in shown_steps(job, [step("draft", 0)])] == ["completed"]


def test_a_step_that_waits_is_shown_as_running() -> None:
    assert [one["status"] for one in JOB.wire(steps=[step("sleep", 0, "waiting", due=NOW)])["steps"]] == ["running"]


@pytest.mark.parametrize("status", sorted(ENDED))
def test_an_ended_job_shows_nothing_that_runs_or_is_to_come(status: Status) -> None:
    job = replace(JOB, status=status, planned=("outline", "review"), open_steps=(step("draft", 1, "failed"),))
    recorded = [step("outline", 0), step("sleep", 2, "waiting", due=NOW)]
    assert [(one.name, one.status) for one in shown_steps(job, recorded)] == [
        ("outline", "completed"),
        ("draft", "failed"),
    ]


# ---- changes ------------------------------------------------------------------------------------

TYPES = st.sampled_from(["job.log", "job.progress", "job.output.delta", "job.output.reset", "job.completed"])


@given(types=st.lists(TYPES), seq=st.integers(0, 1_000))
def test_events_are_numbered_without_a_gap_and_the_version_is_the_last_that_is_no_output(
    types: list[str], seq: int
) -> None:
    events = [Event(type=type, time=NOW, attempt=1) for type in types]
    last, version = counted(events, seq, 0)
    assert [event.seq for event in numbered(events, seq)] == list(range(seq + 1, seq + 1 + len(types)))
    assert last == seq + len(types)
    assert version == max((event.seq for event in numbered(events, seq) if not event.is_output), default=0)


@pytest.mark.parametrize("type", ["job.completed", "job.failed", "job.cancelled"])
def test_an_end_is_known_by_its_event(type: str) -> None:
    assert Event(type=type, time=NOW, attempt=1).is_end


@pytest.mark.parametrize("type", ["job.created", "job.retrying", "job.cancel_requested", "job.output.done", "job.log"])
def test_no_other_event_is_taken_for_an_end(type: str) -> None:
    assert not Event(type=type, time=NOW, attempt=1).is_end


def test_a_change_holds_while_each_of_its_guards_equals_the_jobs_own() -> None:
    job = replace(JOB, turn=3, lease="b", lease_until=NOW)
    assert Change(id="job_1").holds(job)
    assert Change(id="job_1", turn=3, lease="b", lease_until=NOW).holds(job)
    wrong: list[dict[str, Any]] = [{"turn": 2}, {"turn": 4}, {"lease": "a"}, {"lease": "c"}, {"lease": ""}]
    for guard in [*wrong, {"lease_until": NOW - 1}, {"lease_until": NOW + 1}]:
        assert not Change(id="job_1", **guard).holds(job), guard


def test_a_job_that_nobody_holds_passes_no_lease() -> None:
    assert not Change(id="job_1", lease="a").holds(JOB)


def test_a_change_sets_fields_numbers_events_and_leaves_the_rest() -> None:
    job = replace(JOB, seq=4, version=3, updated_at=NOW, message="kept")
    events = (Event(type="job.log", time=NOW + 1, attempt=1), Event(type="job.output.delta", time=NOW + 2, attempt=1))
    changed = Change(id="job_1", set={"progress": 5.0}, events=events).applied(job)
    assert changed == replace(job, progress=5.0, seq=6, version=5, updated_at=NOW + 2)
    assert Change(id="job_1", set={"progress": 5.0}).applied(job) == replace(job, progress=5.0)


def test_a_job_evolves_into_a_new_one_and_stays_as_it_is() -> None:
    job: Job[None] = Job(id="job_1", type="report")
    later = job.evolve(status=Status.COMPLETED, attempt=2)
    assert later == replace(job, status=Status.COMPLETED, attempt=2)
    assert (job.status, job.attempt) == (Status.QUEUED, 0)


def test_a_job_does_not_evolve_into_what_has_other_fields() -> None:
    with pytest.raises(TypeError, match="no field state"):
        Job(id="job_1", type="report").evolve(state="queued")
