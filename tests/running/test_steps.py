"""Steps: what they return is remembered, and read back as it was."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from outlast import Context, Outlast, Status
from outlast.policy import Limits


class Task(BaseModel):
    title: str
    due: datetime


@dataclass
class Point:
    x: float
    label: str | None = None


NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
calls: list[str] = []


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


async def one_task() -> Task:
    calls.append("one_task")
    return Task(title="Learn greetings", due=NOON)


async def many_tasks(count: int) -> list[Task]:
    calls.append("many_tasks")
    return [Task(title=f"Week {n}", due=NOON) for n in range(count)]


async def points() -> list[Point]:
    calls.append("points")
    return [Point(1.5), Point(2.0, "b")]


def noon() -> datetime:
    calls.append("noon")
    return NOON


def tags() -> set[str]:
    calls.append("tags")
    return {"a", "b"}


async def test_values_are_equal_and_of_one_type_on_the_first_run_and_on_replay(app: Outlast) -> None:
    seen: list[list[Any]] = []

    @app.handler(retries=1, backoff=0)
    async def plan(ctx: Context) -> str:
        seen.append(
            [
                await ctx.step("task", one_task),
                await ctx.step("tasks", many_tasks, 2),
                await ctx.step("points", points),
                await ctx.step("noon", noon),
                await ctx.step("tags", tags),
            ]
        )
        if ctx.attempt == 1:
            raise RuntimeError("the first attempt fails after its steps")
        return "done"

    async with app.working():
        job = await app.wait(await plan.submit(), 10)
    assert (job.status, job.result, job.attempt) == (Status.COMPLETED, "done", 2)
    first, replayed = seen
    assert first == replayed
    assert [type(value) for value in first] == [type(value) for value in replayed] == [Task, list, list, datetime, set]
    assert [type(item) for item in first[1] + first[2]] == [type(item) for item in replayed[1] + replayed[2]]
    assert sorted(calls) == ["many_tasks", "noon", "one_task", "points", "tags"]


async def test_other_arguments_are_another_call_and_the_log_says_so(app: Outlast) -> None:
    ran: list[int] = []

    async def double(n: int) -> int:
        ran.append(n)
        return 2 * n

    @app.handler(retries=1, backoff=0)
    async def plan(ctx: Context) -> int:
        result = await ctx.step("double", double, ctx.attempt)
        if ctx.attempt == 1:
            raise RuntimeError("again")
        return result

    async with app.working():
        job = await app.wait(await plan.submit(), 10)
    assert (job.result, ran) == (4, [1, 2])
    logs = [event.data["message"] for event in await app.events(job.id) if event.type == "job.log"]
    assert logs == ["step 'double' was called with other arguments than before, so it ran again"]


class Brief(BaseModel):
    words: set[int]


@dataclass(frozen=True, slots=True)
class Order:
    briefs: list[Brief]


@pytest.mark.parametrize(
    "given",
    [lambda words: {"words": [words]}, lambda words: Brief(words=words), lambda words: Order([Brief(words=words)])],
    ids=["in a list", "in a model", "in a dataclass"],
)
async def test_a_set_is_the_same_argument_in_whatever_order_it_comes(
    app: Outlast, given: Callable[[set[int]], Any]
) -> None:
    words: list[set[int]] = [{0, 8}, {8, 0}]
    assert list(words[0]) != list(words[1])  # as of text in two processes
    ran: list[int] = []

    @app.handler(retries=1, backoff=0)
    async def plan(ctx: Context) -> None:
        await ctx.step("use", lambda *args: ran.append(1), given(words[ctx.attempt - 1]), frozenset({"a"}))
        if ctx.attempt == 1:
            raise RuntimeError("again")

    async with app.working():
        job = await app.wait(await plan.submit(), 10)
    assert (job.status, ran) == (Status.COMPLETED, [1])


async def test_equal_calls_are_told_apart_by_their_order(app: Outlast) -> None:
    drawn = iter(range(100))

    async def draw() -> int:
        return next(drawn)

    seen: list[list[int]] = []

    @app.handler(retries=1, backoff=0)
    async def lottery(ctx: Context) -> list[int]:
        seen.append([await ctx.step("draw", draw) for _ in range(3)])
        if ctx.attempt == 1:
            raise RuntimeError("again")
        return seen[-1]

    async with app.working():
        job = await app.wait(await lottery.submit(), 10)
    assert seen == [[0, 1, 2], [0, 1, 2]]
    assert job.result == [0, 1, 2]


async def test_a_step_that_raises_records_nothing_and_runs_again(app: Outlast) -> None:
    tries: list[int] = []

    async def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the line is cut")
        return "through"

    @app.handler(retries=1, backoff=0)
    async def call(ctx: Context) -> str:
        return await ctx.step("flaky", flaky)

    async with app.working():
        job = await app.wait(await call.submit(), 10)
    assert (job.result, len(tries)) == ("through", 2)
    statuses = [event.data["status"] for event in await app.events(job.id) if event.type == "job.step"]
    assert statuses == ["running", "failed", "running", "completed"]


async def test_a_step_within_a_step_is_remembered_by_itself(app: Outlast) -> None:
    ran: list[str] = []

    async def inner(name: str) -> str:
        ran.append(name)
        return name

    async def outer(name: str, ctx: Context) -> str:
        inside = await ctx.step("inner", inner, name)
        if ctx.attempt == 1 and name == "b":
            raise RuntimeError("after the inner step")
        return inside.upper()

    @app.handler(retries=1, backoff=0)
    async def nest(ctx: Context) -> list[str]:
        return [await ctx.step("outer", outer, name, ctx) for name in "ab"]

    async with app.working():
        job = await app.wait(await nest.submit(), 10)
    assert (job.result, ran) == (["A", "B"], ["a", "b"])


async def test_steps_run_side_by_side_and_each_is_remembered(app: Outlast) -> None:
    ran: list[int] = []

    async def square(n: int) -> int:
        ran.append(n)
        await asyncio.sleep(0.01 * (5 - n))
        return n * n

    @app.handler(retries=1, backoff=0)
    async def squares(ctx: Context) -> list[int]:
        found = await asyncio.gather(*(ctx.step(f"square {n}", square, n) for n in range(5)))
        if ctx.attempt == 1:
            raise RuntimeError("again")
        return list(found)

    async with app.working():
        job = await app.wait(await squares.submit(), 10)
    assert (job.result, sorted(ran)) == ([0, 1, 4, 9, 16], [0, 1, 2, 3, 4])


async def test_a_blocking_step_runs_in_a_thread_and_knows_its_context(app: Outlast) -> None:
    def shout() -> str:
        context = Context.current()
        assert context is not None
        context.write("HELLO")
        context.progress(50, "shouting")
        return context.key

    async def quiet() -> str:
        context = Context.current()
        assert context is not None
        return context.key

    @app.handler
    async def call(ctx: Context) -> list[str]:
        return [await ctx.step("shout", shout), await ctx.step("quiet", quiet), ctx.key]

    async with app.working():
        job = await app.wait(await call.submit(), 10)
    assert await app.output(job.id) == "HELLO"
    assert job.result is not None
    assert len(set(job.result)) == 3, "each step has a key of its own for its provider"
    assert Context.current() is None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (float("nan"), "$"),
        ({"a": [1, {2}]}, "$.a[1]"),
        (b"raw", "$"),
        (object(), "$"),
        ({1: 2}, "$"),
        ("\ud800", "$"),
        ([-(10**4300)], "$[0]"),
    ],
)
async def test_what_json_cannot_hold_fails_with_its_path_and_is_not_retried(
    app: Outlast, value: Any, path: str
) -> None:
    @app.handler
    async def odd(ctx: Context) -> Any:
        return value

    async with app.working():
        job = await app.wait(await odd.submit(), 10)
    assert job.status is Status.FAILED
    assert job.last_error is not None
    assert (job.last_error.code, job.attempt) == ("result_not_json", 1)
    assert f"at {path}," in job.last_error.message


async def test_a_model_without_an_annotation_is_refused_with_advice(app: Outlast) -> None:
    @app.handler
    async def plan(ctx: Context) -> str:
        await ctx.step("task", lambda: Task(title="x", due=NOON))
        return "unreached"

    async with app.working():
        job = await app.wait(await plan.submit(), 10)
    assert job.last_error is not None
    assert "annotate the function's return type" in job.last_error.message


async def test_an_argument_that_json_cannot_hold_is_refused_with_advice(app: Outlast) -> None:
    async def use(thing: Any) -> str:
        return "unreached"

    @app.handler
    async def plan(ctx: Context) -> str:
        return await ctx.step("use", use, object())

    async with app.working():
        job = await app.wait(await plan.submit(), 10)
    assert job.last_error is not None
    assert job.last_error.code == "result_not_json"
    assert "an argument of step 'use' holds a value (Unable to serialize" in job.last_error.message
    assert "bind it with a closure" in job.last_error.message


class Counted(BaseModel):
    model_config = ConfigDict(extra="allow")

    words: list[str] = []

    @cached_property
    def letters(self) -> set[str]:
        return set("".join(self.words))


async def test_what_a_model_holds_besides_its_fields_tells_calls_apart_if_it_is_written(app: Outlast) -> None:
    ran: list[int] = []

    async def use(counted: Counted) -> int:
        ran.append(len(counted.letters))
        return (counted.model_extra or {}).get("n", 0)

    @app.handler(retries=1, backoff=0)
    async def plan(ctx: Context) -> list[int]:
        counted = Counted(words=["tide"])
        found = [await ctx.step("use", use, counted), await ctx.step("use", use, Counted(n=ctx.attempt, more={"x"}))]
        found.append(await ctx.step("use", use, counted))
        if ctx.attempt == 1:
            raise RuntimeError("again")
        return found

    async with app.working():
        job = await app.wait(await plan.submit(), 10)
    assert (job.result, ran) == ([0, 2, 0], [4, 0, 4, 0])


@pytest.mark.parametrize("annotated", [True, False])
async def test_a_step_that_was_not_awaited_is_told_of(app: Outlast, annotated: bool) -> None:
    async def plan(ctx: Context) -> Any:
        return ctx.step("use", lambda: 1)

    if annotated:
        plan.__annotations__["return"] = int
    handler = app.handler(plan)
    async with app.working():
        job = await app.wait(await handler.submit(), 10)
    assert job.last_error is not None
    assert job.last_error.message.endswith("; `await` was forgotten before Context.step(...)")


async def test_caps_end_the_attempt_and_are_not_retried(url: str) -> None:
    async with Outlast(url, limits=Limits(step=1_000, result=1_000, steps=3)) as app:

        @app.handler
        async def big_step(ctx: Context) -> int:
            return len(await ctx.step("big", lambda: "x" * 1_001))

        @app.handler
        async def big_result(ctx: Context) -> str:
            return "x" * 1_001

        @app.handler
        async def many_steps(ctx: Context) -> int:
            return sum([await ctx.step("one", lambda: 1) for _ in range(4)])

        async with app.working():
            ended = [await app.wait(await handler.submit(), 10) for handler in (big_step, big_result, many_steps)]
    assert [job.last_error.code for job in ended if job.last_error] == [
        "result_too_large",
        "result_too_large",
        "limit_exceeded",
    ]
    assert [job.attempt for job in ended] == [1, 1, 1]


async def test_a_retry_by_hand_is_a_new_job_with_the_finished_steps(app: Outlast) -> None:
    ran: list[str] = []

    async def costly() -> str:
        ran.append("costly")
        return "paid"

    broken = True
    keys: list[str] = []

    async def keyed(ctx: Context) -> str:
        keys.append(ctx.key)
        if broken:
            raise RuntimeError("not yet")
        return "ok"

    @app.handler(retries=0)
    async def plan(ctx: Context) -> str:
        paid = await ctx.step("costly", costly)
        return paid + await ctx.step("keyed", keyed, ctx)

    async with app.working():
        failed = await app.wait(await plan.submit(), 10)
        broken = False
        again = await app.wait(await app.retry(failed.id), 10)
        afresh = await app.wait(await app.retry(failed.id, from_start=True), 10)
    assert (failed.status, again.status, again.result) == (Status.FAILED, Status.COMPLETED, "paidok")
    assert (again.id != failed.id, again.retry_of) == (True, failed.id)
    assert len(ran) == 2, "once for the first job, once for the retry from the start"
    assert len(set(keys)) == 1, "a retry by hand keeps the first job's keys"
    assert afresh.status is Status.COMPLETED
