"""What must hold of every job is seen to be broken where it is broken."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from outlast import Context, Outlast, Status
from outlast.job import Event, Job, Step
from torture.history import flaws

History = tuple[Job[Any], list[Event], list[Step]]


@pytest.fixture
def history() -> History:
    return asyncio.run(lived())


async def lived() -> History:
    """A job that was tried twice, with a step recorded in between."""
    app = Outlast("memory://")

    @app.handler(backoff=0)
    async def stumbles(ctx: Context) -> int:
        number = await ctx.step("one", int, "1")
        if ctx.attempt == 1:
            raise ValueError("once more")
        return number

    async with app.lifespan():
        job = await app.wait(await stumbles.submit(), 10)
        return job, await app.log(job.id), await app.steps(job.id)


def broken(job: Job[Any], log: list[Event], steps: list[Step]) -> str:
    """The one flaw of a history."""
    (flaw,) = flaws(job, [replace(event, seq=number) for number, event in enumerate(log, 1)], steps)
    return flaw


def place(log: list[Event], type: str) -> int:
    return next(number for number, event in enumerate(log) if event.type == type)


def test_a_history_as_it_should_be_has_no_flaw(history: History) -> None:
    assert flaws(*history) == []


def test_a_gap_in_the_numbers_is_seen(history: History) -> None:
    job, log, steps = history
    assert "its events are numbered" in flaws(job, log[:2] + log[3:], steps)[0]


def test_an_end_that_was_lost_is_seen(history: History) -> None:
    job, log, steps = history
    assert "with ends at []" in flaws(replace(job, seq=len(log) - 1), log[:-1], steps)[0]


def test_two_ends_are_seen(history: History) -> None:
    job, log, steps = history
    assert f"with ends at [{len(log)}, {len(log) + 1}]" in broken(
        replace(job, seq=len(log) + 1), [*log, log[-1]], steps
    )


def test_an_end_without_its_status_is_seen(history: History) -> None:
    job, log, steps = history
    found = flaws(replace(job, status=Status.FAILED), log, steps)
    assert "it is failed and its log ends with job.completed" in found
    assert "it is failed with the result 1" in found


def test_a_write_of_an_earlier_attempt_is_seen(history: History) -> None:
    job, log, steps = history
    log[-1] = replace(log[-1], attempt=1)
    assert "an earlier attempt wrote after a later one began" in broken(job, log, steps)


def test_an_attempt_that_was_skipped_is_seen(history: History) -> None:
    job, log, steps = history
    later = [replace(event, attempt=3) if event.attempt == 2 else event for event in log]
    assert broken(replace(job, attempt=3), later, steps) == "its attempts began as [1, 3]"


def test_an_attempt_too_many_is_seen(history: History) -> None:
    job, log, steps = history
    assert broken(replace(job, max_retries=0), log, steps) == "attempt 2 of 1"


def test_an_attempt_after_an_acknowledged_cancel_is_seen(history: History) -> None:
    job, log, steps = history
    at = place(log, "job.retrying")
    log[at] = replace(log[at], type="job.cancel_requested")
    assert broken(job, log, steps) == "an attempt began after its cancel was acknowledged"


def test_a_step_that_was_recorded_twice_is_seen(history: History) -> None:
    job, log, steps = history
    recorded = next(event for event in log if event.type == "job.step" and event.data["status"] == "completed")
    at = place(log, "job.retrying")
    assert "recorded more than once" in broken(replace(job, seq=len(log) + 1), [*log[:at], recorded, *log[at:]], steps)


def test_a_step_that_is_in_the_log_and_not_among_the_steps_is_seen(history: History) -> None:
    job, log, _ = history
    assert broken(job, log, []) == "the steps [] are kept, and its log tells of [0]"
