"""Numbers that are a matter of judgement."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.policy import NO_LIMIT, POLL_MAX, POLL_MIN, Limits, ahead, backoff, poll_after, rate, remaining, seconds

ATTEMPTS = st.integers(1, 10_000)
SECONDS = st.floats(0, 1e6)
CHANCE = st.floats(0, 1, exclude_max=True)


@given(attempt=ATTEMPTS, base=SECONDS, cap=SECONDS, chance=CHANCE)
def test_a_pause_lies_between_zero_and_what_the_attempt_allows(
    attempt: int, base: float, cap: float, chance: float
) -> None:
    assert 0 <= backoff(attempt, base, cap, chance) <= min(cap, base * 2.0 ** min(attempt - 1, 60))


@given(attempt=ATTEMPTS, base=SECONDS, cap=SECONDS, chance=CHANCE)
def test_a_later_attempt_never_pauses_less_for_the_same_chance(
    attempt: int, base: float, cap: float, chance: float
) -> None:
    assert backoff(attempt, base, cap, chance) <= backoff(attempt + 1, base, cap, chance)


def test_the_longest_pause_doubles_up_to_its_cap() -> None:
    longest = [2 * backoff(attempt, base=2, cap=300, chance=0.5) for attempt in range(1, 11)]
    assert longest == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(age=SECONDS, left=st.none() | st.floats(-1e6, 1e6))
def test_a_poller_asks_again_within_its_bounds(age: float, left: float | None) -> None:
    assert POLL_MIN <= poll_after(age, left) <= POLL_MAX


@pytest.mark.parametrize(
    ("age", "left", "wait"),
    [
        (0, None, 1),
        (4.9, None, 1),
        (50, None, 4),
        (1_000, None, 15),
        (50, 10, 5),
        (50, 0.5, 1),
        (50, 600, 15),
        (50, 0, 4),
        (50, -3, 4),
    ],
)
def test_a_poller_waits_a_share_of_the_age_or_half_of_what_remains(age: float, left: float | None, wait: float) -> None:
    assert poll_after(age, left) == pytest.approx(wait)


def test_the_time_that_remains_is_that_of_those_who_took_longer() -> None:
    durations = [10.0, 20.0, 30.0, 40.0, 50.0]
    assert [remaining(durations, elapsed) for elapsed in (0, 25, 45)] == [30, 15, 5]


@pytest.mark.parametrize("durations", [[], [1.0], [5.0]])
def test_without_a_history_that_reaches_so_far_nothing_is_estimated(durations: list[float]) -> None:
    assert remaining(durations, 5.0) is None


@pytest.mark.parametrize(
    ("times", "a_second"),
    [
        ([], 0),
        ([(0, 10)], 0.1),
        ([(0, 10), (10, 20), (20, 30)], 0.1),
        ([(0, 10), (0, 10), (0.5, 10.5), (0.5, 10.5)], 6),
        ([(0, 10), (1000, 1010)], 0.1),
        ([(5, 5)], 0),
    ],
)
def test_jobs_end_as_fast_as_they_did_and_one_after_the_other_at_least(
    times: list[tuple[float, float]], a_second: float
) -> None:
    assert rate(times) == pytest.approx(a_second)


def test_what_waits_before_a_job_goes_by_its_age() -> None:
    assert [ahead(100, 50, age) for age in (50, 25, 0, 80)] == [0, 50, 100, 0]
    assert ahead(100, 0, 0) == 0


@given(durations=st.lists(SECONDS), elapsed=SECONDS)
def test_an_estimate_is_never_in_the_past(durations: list[float], elapsed: float) -> None:
    left = remaining(durations, elapsed)
    assert left is None or left > 0 or left == pytest.approx(0)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (90, 90),
        (0, 0),
        (1.5, 1.5),
        ("90s", 90),
        ("15m", 900),
        ("2h", 7_200),
        ("7d", 604_800),
        ("1h30m", 5_400),
        ("250ms", 0.25),
        ("1.5h", 5_400),
        (timedelta(minutes=2), 120),
    ],
)
def test_a_duration_is_written_as_people_write_it(written: Any, value: float) -> None:
    assert seconds(written) == value


@pytest.mark.parametrize(
    "written",
    [
        "",
        "15",
        "m",
        "15 m",
        "-5s",
        "5s!",
        "1e3s",
        "٣s",
        "1_0s",
        -1,
        float("nan"),
        float("inf"),
        timedelta(-1),
        None,
        [5],
    ],
)
def test_what_is_no_duration_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds(written)


def test_none_is_no_limit_and_nought_is_not() -> None:
    limits = Limits(output=None, steps=0)  # type: ignore[arg-type]  # as an untyped caller may
    assert (limits.output, limits.steps) == (NO_LIMIT, 0)


@pytest.mark.parametrize("wrong", [-1, True, "8 MiB", float("nan"), float("inf")])
def test_a_limit_that_is_no_number_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"limits\.output is a number of 0 or more"):
        Limits(output=wrong)  # type: ignore[arg-type]


def test_a_delay_always_has_a_limit() -> None:
    with pytest.raises(ValueError, match=r"limits\.delay"):
        Limits(delay=None)  # type: ignore[arg-type]
