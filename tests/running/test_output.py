"""Output: what readers hold never doubles and never loses a remembered step's text."""

import asyncio
import hashlib
from itertools import pairwise

from outlast import Context, Outlast, Status
from outlast.output import segments, text
from outlast.policy import Limits


async def write_slowly(*words: str) -> str:
    context = Context.current()
    assert context is not None
    for word in words:
        context.write(word)
        await asyncio.sleep(0)
    return "".join(words)


async def test_text_is_written_once_although_the_handler_runs_twice(app: Outlast) -> None:
    @app.handler(retries=1, backoff=0)
    async def story(ctx: Context) -> str:
        ctx.write("Title. ")
        await ctx.step("one", write_slowly, "Once ", "upon ")
        ctx.write("a ")
        await ctx.step("two", write_slowly, "time. ")
        ctx.write("Between. ")
        if ctx.attempt == 1:
            await asyncio.sleep(0.1)
            raise RuntimeError("after text that is no step's")
        ctx.write("End.")
        return "done"

    async with app.working():
        job = await app.wait(await story.submit(), 10)
    whole = "Title. Once upon a time. Between. End."
    assert await app.output(job.id) == whole
    events = await app.events(job.id)
    resets = [dict(event.data) for event in events if event.type == "job.output.reset"]
    assert resets == [{"channel": "text", "offset": len("Title. Once upon a time. ")}]
    done = next(event for event in events if event.type == "job.output.done")
    assert done.data["length"] == len(whole)
    assert done.data["sha256"] == hashlib.sha256(whole.encode()).hexdigest()


async def test_the_text_of_a_broken_step_is_cut_back_before_it_runs_again(app: Outlast) -> None:
    broken = asyncio.Event()

    async def tell() -> str:
        context = Context.current()
        assert context is not None
        context.write("half ")
        if context.attempt == 1:
            await asyncio.sleep(0.1)
            raise RuntimeError("in the middle")
        context.write("whole")
        return "told"

    @app.handler(retries=1, backoff=0)
    async def story(ctx: Context) -> str:
        return await ctx.step("tell", tell)

    async with app.working():
        job = await app.wait(await story.submit(), 10)
    assert await app.output(job.id) == "half whole"
    assert not broken.is_set()


async def test_side_by_side_a_remembered_step_keeps_its_text_and_the_other_writes_again(app: Outlast) -> None:
    recorded = asyncio.Event()

    async def short() -> str:
        context = Context.current()
        assert context is not None
        for _ in range(3):
            context.write("s")
            await asyncio.sleep(0.06)
        return "short"

    async def long() -> str:
        context = Context.current()
        assert context is not None
        for _ in range(4):
            context.write("L")
            await asyncio.sleep(0.06)
        if context.attempt == 1:
            await recorded.wait()
            raise RuntimeError("after the short one was recorded")
        return "long"

    @app.handler(retries=1, backoff=0)
    async def both(ctx: Context) -> list[str]:
        async def first() -> str:
            value = await ctx.step("short", short)
            recorded.set()
            return value

        return list(await asyncio.gather(first(), ctx.step("long", long)))

    async with app.working():
        job = await app.wait(await both.submit(), 10)
    assert job.result == ["short", "long"]
    whole = await app.output(job.id)
    assert sorted(whole) == sorted("sss" + "LLLL")
    events = await app.events(job.id)
    assert any(event.type == "job.output.reset" for event in events)
    offsets = [(piece.offset, len(piece.text)) for piece in segments(events)]
    assert all(a + n == b for (a, n), (b, _) in pairwise(offsets)), "no gap and no overlap"


async def test_a_miss_in_the_middle_of_a_replay_doubles_nothing(app: Outlast) -> None:
    async def say(word: str) -> str:
        context = Context.current()
        assert context is not None
        context.write(word)
        return word

    @app.handler(retries=1, backoff=0)
    async def changed(ctx: Context) -> str:
        ctx.write("<")
        await ctx.step("a", say, "a")
        ctx.write("|")
        await ctx.step("b", say, "b" if ctx.attempt == 1 else "B")
        ctx.write("|")
        await ctx.step("c", say, "c")
        ctx.write(">")
        if ctx.attempt == 1:
            await asyncio.sleep(0.1)
            raise RuntimeError("again, with another b")
        return "done"

    async with app.working():
        job = await app.wait(await changed.submit(), 10)
    # The step with other arguments before it is still remembered, so its text stays where it was.
    assert sorted(await app.output(job.id)) == sorted("<a|bcB|>")


async def test_progress_never_goes_back_within_an_attempt_and_begins_anew_with_the_next(app: Outlast) -> None:
    @app.handler(retries=1, backoff=0)
    async def climb(ctx: Context) -> None:
        for percent in (10, 60, 30) if ctx.attempt == 1 else (20,):
            ctx.progress(percent, f"at {percent}")
            await asyncio.sleep(0.08)
        if ctx.attempt == 1:
            raise RuntimeError("fall")

    async with app.working():
        job = await app.wait(await climb.submit(), 10)
    shown = [(e.attempt, e.data["progress"]) for e in await app.events(job.id) if e.type == "job.progress"]
    assert shown == [(1, 10), (1, 60), (1, 60), (2, 20)]
    assert job.progress == 100


async def test_wrong_progress_is_an_error_in_the_handlers_own_frame(app: Outlast) -> None:
    caught: list[str] = []

    @app.handler
    async def wrong(ctx: Context) -> int:
        for value in (101, -1, "half", float("nan"), True):
            try:
                ctx.progress(value)  # type: ignore[arg-type]
            except ValueError as error:
                caught.append(str(error))
        return len(caught)

    async with app.working():
        job = await app.wait(await wrong.submit(), 10)
    assert job.result == 5


async def test_usage_adds_up_what_every_attempt_spent(app: Outlast) -> None:
    @app.handler(retries=1, backoff=0)
    async def spend(ctx: Context) -> None:
        ctx.usage(input_tokens=10, output_tokens=5, cost=0.25)
        if ctx.attempt == 1:
            raise RuntimeError("again")

    async with app.working():
        job = await app.wait(await spend.submit(), 10)
    assert job.usage == {"inputTokens": 20, "outputTokens": 10, "costUsd": 0.5}


async def test_channels_are_apart_and_many_tokens_become_few_events(app: Outlast) -> None:
    @app.handler
    async def chat(ctx: Context) -> None:
        for n in range(2_000):
            ctx.write(f"{n} ")
            if n % 100 == 0:
                ctx.write("!", channel="thoughts")
                await asyncio.sleep(0.001)

    async with app.working():
        job = await app.wait(await chat.submit(), 10)
    events = await app.events(job.id, limit=1000)
    assert text(events) == "".join(f"{n} " for n in range(2_000))
    assert text(events, "thoughts") == "!" * 20
    assert len([event for event in events if event.type == "job.output.delta"]) < 100


async def test_output_beyond_the_cap_is_dropped_with_one_line_and_the_job_goes_on(url: str) -> None:
    async with Outlast(url, limits=Limits(output=10_000)) as app:

        @app.handler
        async def flood(ctx: Context) -> str:
            for _ in range(30):
                ctx.write("x" * 1_000)
            return "done"

        async with app.working():
            job = await app.wait(await flood.submit(), 10)
        logs = [event for event in await app.events(job.id) if event.type == "job.log"]
        assert (job.status, len(await app.output(job.id)), len(logs)) == (Status.COMPLETED, 10_000, 1)
