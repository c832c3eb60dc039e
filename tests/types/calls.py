"""Calls of submit and options, right and wrong: a type checker accepts all but the lines marked `wrong`."""

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from pydantic import BaseModel

from outlast import Context, Job, Outlast, SyncContext
from outlast.testing import Jobs


class MediaPlan(BaseModel):
    title: str


app = Outlast("memory://")


@app.handler(timeout="15m", retries=3)
async def media_plan(ctx: Context, objective: str, keywords: list[str], budget: float = 0.0) -> MediaPlan:
    title = await ctx.step("Finding a title", find_title, keywords)
    assert_type(title, str)
    length = await ctx.step("Measuring", measure, title)
    assert_type(length, int)
    await ctx.step("Finding a title", find_title, "not a list")  # wrong
    await ctx.step("Finding a title", find_title)  # wrong
    careful = ctx.options(retries=2, timeout="30s", backoff=1.0)
    assert_type(await careful.step("Finding a title", find_title, keywords), str)
    assert_type(await careful.step("Measuring", measure, title), int)
    await careful.step("Measuring", measure, 7)  # wrong
    ctx.options(retires=2)  # wrong
    return MediaPlan(title=title)


@app.handler
async def bare(ctx: Context) -> int:
    return 1


@app.handler(retries=1)
def blocking_plan(ctx: SyncContext, objective: str, budget: float = 0.0) -> MediaPlan:
    title = ctx.step("Finding a title", find_title, [objective])
    assert_type(title, str)
    length = ctx.step("Measuring", measure, title)
    assert_type(length, int)
    ctx.step("Measuring", measure, 7)  # wrong
    assert_type(ctx.options(retries=2).step("Finding a title", find_title, [objective]), str)
    ctx.options(retries=2).step("Measuring", measure, 7)  # wrong
    ctx.sleep("1h")
    ctx.wait_for(7)  # wrong
    return MediaPlan(title=title)


@app.handler
def blocking_bare(ctx: Context, number: int) -> int:
    return number


async def find_title(keywords: list[str]) -> str:
    return keywords[0]


def measure(title: str) -> int:
    return len(title)


@app.on("failed")
def alert(job: Job[Any], error: BaseException | None) -> int:
    return len(job.id)


async def right() -> None:
    assert_type(alert(await bare.submit(), None), int)
    app.on("completed", alert)
    job = await media_plan.submit(objective="sell", keywords=["tea"])
    assert_type(job, Job[MediaPlan])
    await media_plan.submit("sell", ["tea"], budget=3.5)
    later = await media_plan.options(owner="ann", delay="15m", priority="high", tags=["spring"]).submit(
        objective="sell", keywords=[]
    )
    assert_type(later, Job[MediaPlan])
    await media_plan.options(run_at=datetime(2030, 1, 1, tzinfo=UTC), deadline=timedelta(days=2)).submit("sell", [])
    ended = await app.wait(job, timeout=10)
    assert_type(ended, Job[MediaPlan])
    assert_type(ended.result, MediaPlan)
    assert_type(await bare.submit(), Job[int])
    assert_type(await blocking_plan.submit("sell", budget=2), Job[MediaPlan])
    assert_type(await blocking_bare.options(delay=1).submit(number=7), Job[int])
    await app.submit("media_plan", {"objective": "sell", "keywords": []}, owner="ann")


async def in_tests(jobs: Jobs) -> None:
    job = await jobs.run_now(media_plan, objective="sell", keywords=["tea"])
    assert_type(job, Job[MediaPlan])
    assert_type(await jobs.run_now(media_plan.options(owner="ann"), "sell", []), Job[MediaPlan])
    assert_type(await jobs.finish(job), Job[MediaPlan])
    assert_type(await jobs.call(bare), int)
    assert_type(jobs.sync(jobs.run_now(job)), Job[MediaPlan])
    await jobs.run_now("media_plan", objective="sell", keywords=[])
    await jobs.run_now(media_plan, objective="sell")  # wrong
    await jobs.run_now(job, objective="sell")  # wrong
    await jobs.call(bare, 1)  # wrong


async def wrong() -> None:
    app.on("fail", alert)  # wrong
    app.on("failed", find_title)  # wrong
    await media_plan.submit(objective="sell")  # wrong
    await media_plan.submit(objective=7, keywords=[])  # wrong
    await media_plan.submit(objective="sell", keywords=[1])  # wrong
    await media_plan.submit(objective="sell", keywords=[], colour="red")  # wrong
    await media_plan.submit(objective="sell", keywords=[], owner="ann")  # wrong
    media_plan.options(priority="urgent")  # wrong
    media_plan.options(owner=7)  # wrong
    media_plan.options(colour="red")  # wrong
    await media_plan.options(owner="ann").submit(keywords=[])  # wrong
    await bare.submit(1)  # wrong
    await blocking_plan.submit(7)  # wrong
    await blocking_plan.submit()  # wrong
    await blocking_bare.options(owner="ann").submit("seven")  # wrong
    text: str = (await app.wait(await bare.submit())).result  # wrong
    print(text)
