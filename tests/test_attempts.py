"""How tries are counted: what costs an attempt, what goes on with it, and when none is left."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast import lifecycle
from outlast.job import Change, Job, JobError, Status, Waiting

NOW = 1_800_000_000.0


def after(job: Job[Any], change: Change) -> Job[Any]:
    return change.applied(job)


def claimed(job: Job[Any], now: float = NOW) -> Job[Any]:
    return after(job, lifecycle.claim(job, "lease", "worker", now + 30, now))


def first_attempt(**asked: Any) -> Job[Any]:
    return claimed(lifecycle.submit(Job(id="job_1", type="report", **asked), NOW).job)


def raised(job: Job[Any], *, code: str = "handler_error", retryable: bool = True, **how: Any) -> Change:
    error = JobError(code=code, message="it broke", retryable=retryable, attempt=job.attempt, at=NOW)
    return lifecycle.raised(job, error, NOW, **({"chance": 0.5} | how))


def slept(job: Job[Any]) -> Change:
    return lifecycle.park(job, Waiting(reason="sleep", until=NOW + 60), NOW)


End = Callable[[Job[Any]], Change]

COSTS_AN_ATTEMPT: dict[str, End] = {
    "raise": raised,
    "death": lambda job: lifecycle.lease_out(job, NOW),
    "yield without a step": lambda job: lifecycle.hand_back(job, "yield", NOW, progressed=False),
}
GOES_ON: dict[str, End] = {
    "sleep": slept,
    "deploy": lambda job: lifecycle.hand_back(job, "deploy", NOW),
    "deploy before the first step": lambda job: lifecycle.hand_back(job, "deploy", NOW, progressed=False),
    "yield": lambda job: lifecycle.hand_back(job, "yield", NOW),
}
SLICES = COSTS_AN_ATTEMPT | GOES_ON


def next_slice(job: Job[Any], name: str) -> Job[Any]:
    """The job after this slice: claimed again, or ended."""
    job = after(job, SLICES[name](job))
    if job.status is Status.WAITING:
        job = after(job, lifecycle.wake(job, NOW + 60))
    return job if job.ended else claimed(job)


@given(retries=st.integers(0, 5), slices=st.lists(st.sampled_from(sorted(SLICES)), max_size=30))
def test_only_what_fails_counts_and_the_tries_run_out_in_time(retries: int, slices: Sequence[str]) -> None:
    job, attempts = first_attempt(max_retries=retries), 1
    for name in slices:
        job = next_slice(job, name)
        attempts += name in COSTS_AN_ATTEMPT
        if attempts > retries + 1:
            assert (job.status, job.attempt) == (Status.FAILED, retries + 1)
            return
        assert (job.status, job.attempt) == (Status.PROCESSING, attempts)


@pytest.mark.parametrize("name", COSTS_AN_ATTEMPT)
@pytest.mark.parametrize("retries", [0, 3])
def test_a_job_is_tried_at_most_once_more_than_its_retries(name: str, retries: int) -> None:
    job, tries = first_attempt(max_retries=retries), 1
    while not (job := next_slice(job, name)).ended:
        tries += 1
    assert (tries, job.status) == (retries + 1, Status.FAILED)
    assert job.last_error is not None
    assert not job.last_error.retryable


def test_an_error_that_no_try_mends_ends_the_job_at_once() -> None:
    ended = after(first_attempt(), raised(first_attempt(), code="payload_invalid", retryable=False))
    assert (ended.status, ended.attempt) == (Status.FAILED, 1)
    assert ended.last_error is not None
    assert ended.last_error.code == "payload_invalid"


def test_a_failed_attempt_is_tried_again_after_a_pause() -> None:
    job = first_attempt(backoff_base=8.0, backoff_cap=10.0)
    assert [after(job, raised(job, chance=chance)).next_at for chance in (0.0, 0.5)] == [NOW, NOW + 4]
    assert after(job, raised(job, after=90)).next_at == NOW + 90, "the handler's word comes before the backoff"
    second = claimed(after(job, raised(job)))
    assert after(second, raised(second)).next_at == NOW + 5, "a cap of 10 s, of which chance takes half"


def test_a_pause_never_reaches_past_the_deadline() -> None:
    job = first_attempt(deadline=NOW + 30)
    assert after(job, raised(job, after=90)).next_at == NOW + 30


def test_the_retry_tells_why_and_for_how_long_it_pauses() -> None:
    [event] = raised(first_attempt(), after=1.5).events
    assert (event.type, event.data["delayMs"], event.data["error"]["message"]) == ("job.retrying", 1_500, "it broke")


def test_the_first_death_requeues_at_once_and_the_next_ones_back_off() -> None:
    job = first_attempt(max_retries=3, backoff_base=2.0)
    first = lifecycle.lease_out(job, NOW)
    assert (first.set["status"], first.place) == (Status.QUEUED, "front")
    for deaths, pause in ((1, 1.0), (2, 2.0)):
        job = claimed(after(job, lifecycle.lease_out(job, NOW, chance=0.5)))
        again = after(job, lifecycle.lease_out(job, NOW, chance=0.5))
        assert (job.deaths, again.status, again.next_at) == (deaths, Status.RETRYING, NOW + pause)
    job = claimed(after(job, lifecycle.lease_out(job, NOW, chance=0.5)))
    ended = after(job, lifecycle.lease_out(job, NOW))
    assert (job.attempt, ended.status) == (4, Status.FAILED)
    assert ended.last_error is not None
    assert (ended.last_error.code, ended.last_error.retryable) == ("worker_died", False)


def test_a_handler_that_hung_past_its_timeout_is_not_taken_for_a_death() -> None:
    job = first_attempt(timeout=100.0)
    codes = [lifecycle.lease_out(job, NOW + ran).set["last_error"].code for ran in (99.0, 131.0)]
    assert codes == ["worker_died", "timeout"]


def test_running_time_adds_up_over_the_slices_of_an_attempt_and_parked_time_is_apart() -> None:
    job = first_attempt()
    parked = after(job, lifecycle.park(job, Waiting(reason="sleep", until=NOW + 1_000), NOW + 10))
    second = claimed(after(parked, lifecycle.wake(parked, NOW + 1_000)), NOW + 1_005)
    back = after(second, lifecycle.hand_back(second, "deploy", NOW + 1_025))
    assert (parked.ran, second.ran, back.ran) == (10.0, 10.0, 30.0)


def test_a_new_attempt_begins_with_no_progress_and_no_time_spent() -> None:
    job = replace(first_attempt(), progress=40.0, message="half", ran=10.0, started_at=NOW - 5)
    fresh = claimed(after(job, raised(job)))
    assert (fresh.progress, fresh.message, fresh.ran, fresh.started_at) == (None, None, 0.0, NOW - 5)


def test_the_next_slice_of_an_attempt_keeps_its_progress() -> None:
    job = replace(first_attempt(), progress=40.0, message="half")
    for back in (lifecycle.hand_back(job, "deploy", NOW), lifecycle.hand_back(job, "yield", NOW)):
        again = claimed(after(job, back))
        assert (again.progress, again.message, again.resumes) == (40.0, "half", False)


def test_the_start_of_a_slice_says_whether_it_resumes() -> None:
    job = first_attempt()
    back = after(job, lifecycle.hand_back(job, "deploy", NOW))
    [event] = lifecycle.claim(back, "lease", "worker", NOW + 30, NOW).events
    assert (event.type, event.attempt, event.data["resumes"]) == ("job.started", 1, True)


def test_a_slice_too_short_for_any_step_says_what_to_do_when_the_tries_run_out() -> None:
    job = first_attempt(max_retries=0)
    ended = after(job, lifecycle.hand_back(job, "yield", NOW, progressed=False))
    assert ended.last_error is not None
    assert ended.last_error.code == "timeout"
    assert "split the step" in ended.last_error.message
