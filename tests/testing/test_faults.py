"""Planned failures: a handler goes on behind its last finished step, whatever dies, and a test can prove it."""

import pytest

from outlast import Context, Outlast, Status
from outlast.handler import Handler
from outlast.testing import FailAt, InjectedFailure, Jobs, using
from outlast.testing.faults import Moment

PLAN = ["read", "think", "write"]


@pytest.fixture
def plan(app: Outlast) -> Handler[[], list[str]]:
    @app.handler
    async def plan(ctx: Context) -> list[str]:
        return [await ctx.step(name, echo, name) for name in PLAN]

    return plan


async def echo(text: str) -> str:
    return text


@pytest.mark.parametrize("kill", [False, True], ids=["an error", "a death"])
@pytest.mark.parametrize(
    ("when", "called"),
    [
        ("before", ["read", "think", "write"]),
        ("unrecorded", ["read", "think", "think", "write"]),
        ("after", ["read", "think", "write"]),
    ],
)
async def test_the_job_goes_on_behind_its_last_recorded_step(
    plan: Handler[[], list[str]], jobs: Jobs, when: Moment, called: list[str], kill: bool
) -> None:
    jobs.inject(FailAt(step=2, when=when, kill=kill))
    job = await jobs.run_now(plan)
    assert job.status is (Status.PROCESSING if kill else Status.RETRYING)
    assert jobs.calls(job) == (["read"] if when == "before" else ["read", "think"])
    job = await jobs.finish(job)
    assert (job.result, job.attempt) == (PLAN, 2)
    assert jobs.calls(job) == called


async def test_the_lease_of_a_dead_worker_runs_out_after_30_s(plan: Handler[[], list[str]], jobs: Jobs) -> None:
    jobs.inject(FailAt(step="write", kill=True))
    job = await jobs.run_now(plan)
    await jobs.advance("29s")
    assert (await jobs.app.get(job)).status is Status.PROCESSING
    await jobs.advance("1s")
    assert (await jobs.app.get(job)).status is Status.COMPLETED


async def test_a_failure_raises_the_error_it_names_as_often_as_it_says(
    plan: Handler[[], list[str]], jobs: Jobs
) -> None:
    jobs.inject(FailAt(step="think", error=ConnectionError("the model is down"), times=3))
    job = await jobs.finish(await plan.submit())
    assert (job.status, job.attempt) == (Status.COMPLETED, 4)
    jobs.inject(FailAt(step=1))
    with pytest.raises(InjectedFailure, match=r"FailAt\(step=1\)"):
        await jobs.call(plan)
    jobs.inject(FailAt(step=1, error=ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        await jobs.call(plan)


async def test_a_step_that_is_tried_again_where_it_is_needs_no_waiting(app: Outlast, jobs: Jobs) -> None:
    @app.handler
    async def asks(ctx: Context) -> tuple[str, int]:
        often = ctx.options(retries=3, backoff="20s", timeout="1m")
        return await often.step("ask", echo, "yes"), ctx.attempt

    jobs.inject(FailAt(step="ask", times=2))
    jobs.inject(FailAt(step="ask", when="unrecorded"))
    assert await jobs.call(asks) == ("yes", 1)
    assert jobs.calls() == ["ask", "ask"]


async def test_other_jobs_of_the_worker_go_on(app: Outlast, plan: Handler[[], list[str]], jobs: Jobs) -> None:
    jobs.inject(FailAt(step=3, kill=True))
    await plan.submit()
    await plan.submit()
    assert sorted(job.status for job in await jobs.drain()) == [Status.COMPLETED, Status.PROCESSING]


async def test_a_failure_that_does_not_come_about_fails_the_test(app: Outlast, plan: Handler[[], list[str]]) -> None:
    test = using(app)
    jobs = test.__enter__()
    jobs.inject(FailAt(step=4, kill=True))
    await jobs.run_now(plan)
    with pytest.raises(AssertionError, match=r"FailAt\(step=4, kill=True\) did not come about; .*: 'read', 'think'"):
        test.__exit__(None, None, None)


def test_a_failure_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        FailAt(step=0)
    with pytest.raises(ValueError, match="at least once"):
        FailAt(step="write", times=0)
    with pytest.raises(ValueError, match="give `kill` or `error`"):
        FailAt(step=1, kill=True, error=ValueError)
    with pytest.raises(ValueError, match="before, unrecorded, after"):
        FailAt(step=1, when="befor")  # type: ignore[arg-type]  # it would come about without failing anything
