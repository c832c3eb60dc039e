"""A torture passes only if nothing failed, something was tried, and everything it is about was met."""

from typing import Any

from torture.report import Report


def report(**found: Any) -> Report:
    return Report(**{"name": "some", "unit": "schedules", "trials": 3000, "seeds": "0..2999", "seconds": 6.0, **found})


def test_no_failure_in_many_trials_is_printed_with_what_it_bounds() -> None:
    text = "\n".join(report(counters={"kills": 7}).lines())
    assert report(counters={"kills": 7}).passed
    assert "0 failures in 3,000: at 95 % fewer than 3/n = 0.001 of all schedules fail" in text
    assert "seeds 0..2999" in text
    assert "30,000 a minute on one core" in text
    assert "kills: 7" in text


def test_a_counter_at_zero_fails_a_run_without_failures() -> None:
    found = report(counters={"kills": 7, "pauses": 0})
    assert not found.passed
    assert "NEVER MET: pauses" in "\n".join(found.lines())


def test_a_run_of_no_trials_does_not_pass() -> None:
    assert not report(trials=0).passed


def test_a_failure_is_printed_and_gives_no_bound() -> None:
    found = report(failures=["I5 broken; ./dev torture some --seed 12"])
    assert not found.passed
    text = "\n".join(found.lines())
    assert "--seed 12" in text
    assert "3/n" not in text
