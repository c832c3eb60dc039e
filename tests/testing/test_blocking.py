"""Handlers that are plain functions are run, and fail, as the others."""

import pytest

from outlast import Outlast, Status, SyncContext
from outlast.handler import Handler
from outlast.testing import FailAt, Jobs
from outlast.testing.faults import Moment


@pytest.fixture
def letter(app: Outlast) -> Handler[[str], str]:
    @app.handler(timeout="15m")
    def letter(ctx: SyncContext, name: str) -> str:
        greeting = ctx.step("greet", greet, name)
        ctx.sleep(3)
        text = ctx.step("write", write, name)
        ctx.sleep("1h")
        return f"{greeting}, {text}{ctx.wait_for('end', timeout='1d')}"

    return letter


def greet(name: str) -> str:
    return f"dear {name}"


async def write(name: str) -> str:
    return f"so long, {name}"


@pytest.mark.parametrize("kill", [False, True], ids=["an error", "a death"])
@pytest.mark.parametrize("when", ["before", "unrecorded", "after"])
@pytest.mark.parametrize("step", ["greet", "write"])
async def test_the_job_goes_on_behind_its_last_recorded_step(
    letter: Handler[[str], str], jobs: Jobs, step: str, when: Moment, kill: bool
) -> None:
    jobs.inject(FailAt(step=step, when=when, kill=kill))
    job = await jobs.run_now(letter, "ada")
    assert job.status is (Status.PROCESSING if kill else Status.RETRYING)
    await jobs.app.signal(job, "end", "!")
    job = await jobs.finish(job)
    assert (job.result, job.attempt) == ("dear ada, so long, ada!", 2)
    assert jobs.calls().count(step) == (2 if when == "unrecorded" else 1)


def test_a_call_raises_what_the_function_raised(app: Outlast, jobs: Jobs) -> None:
    reason = ValueError("no")

    @app.handler
    def breaks(ctx: SyncContext) -> None:
        ctx.step("greet", greet, "ada")
        raise reason

    with pytest.raises(ValueError, match="no") as raised:
        jobs.sync(jobs.call(breaks))
    assert raised.value is reason
