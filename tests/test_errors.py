"""One tree of errors, drawn as it is, with the words that programs read."""

import inspect
import re
from datetime import timedelta
from typing import get_args

import pytest

from outlast import errors
from outlast.errors import (
    Fail,
    IdempotencyKeyReused,
    JobNotFound,
    NotJson,
    OutlastError,
    Retry,
    SignalTimeout,
    WaitTimeout,
)
from outlast.job import EndCode

ALL = {name: error for name, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, OutlastError)}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert drawn_parents() == {
        name: error.__bases__[0].__name__ for name, error in ALL.items() if name != "OutlastError"
    }


def drawn_parents() -> dict[str, str]:
    """Each error in the drawing with the one it hangs from: the last that stands further left."""
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line)
        if found is None:
            continue
        depth, name = len(found[1]), found[2]
        path = [(left, above) for left, above in path if left < depth]
        if path:
            parents[name] = path[-1][1]
        path.append((depth, name))
    return parents


@pytest.mark.parametrize("name", ALL)
def test_every_error_says_what_it_means(name: str) -> None:
    assert (ALL[name].__doc__ or "").strip()


@pytest.mark.parametrize("name", ALL)
def test_every_error_has_a_word_that_programs_read(name: str) -> None:
    given_when_raised = {"InvalidRequest", "IdempotencyKeyReused", "JobConflict"}
    assert name in given_when_raised or re.fullmatch("[a-z_]+", ALL[name].code)


def test_what_runs_out_of_time_is_a_timeout_to_python_too() -> None:
    assert issubclass(WaitTimeout, TimeoutError)
    assert issubclass(SignalTimeout, TimeoutError)
    assert issubclass(NotJson, TypeError)


def test_a_retry_says_when_in_seconds_or_as_a_timedelta() -> None:
    assert [Retry(after=after).after for after in (None, 5, 1.5, timedelta(minutes=1))] == [None, 5, 1.5, 60.0]


@pytest.mark.parametrize("error", [Retry, Fail])
def test_a_handler_names_only_codes_of_the_closed_list(error: type[Retry] | type[Fail]) -> None:
    for code in get_args(EndCode):
        assert error("it broke", code=code).code == code
    with pytest.raises(ValueError, match="is not one of handler_error"):
        error("it broke", code="oops")  # type: ignore[arg-type]


def test_a_failure_carries_what_the_person_who_sees_it_needs() -> None:
    failure = Fail("no such page", code="payload_invalid", advice="check the number", details={"page": 7})
    assert (str(failure), failure.advice, failure.details) == ("no such page", "check the number", {"page": 7})


def test_an_id_that_is_not_found_is_never_echoed_at_length() -> None:
    assert len(str(JobNotFound("x" * 10_000))) < 100
    assert JobNotFound("x" * 10_000).job_id == "x" * 10_000


def test_a_key_that_was_used_before_names_the_job_it_made() -> None:
    error = IdempotencyKeyReused("job_1")
    assert (error.code, error.job_id) == ("idempotency_key_reused", "job_1")
    assert "job_1" in str(error)
