"""Attachments: uploaded once, named by payloads, read by handlers, and gone once nobody names them."""

import asyncio
from typing import Any

import pytest

from outlast import Attachment, Context, InvalidRequest, Outlast, Status, SyncContext
from outlast.attachments import PIECE
from outlast.policy import Limits
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from tests.running.conftest import Until

IMAGE = b"\x89PNG and so on"
UNKNOWN = "attachment:sha256:" + "0" * 64


def shown(attachment: Attachment) -> str:
    return f"{attachment.media_type}: {attachment.data!r}"


async def test_a_handler_reads_what_its_payload_names(app: Outlast) -> None:
    @app.handler
    async def describe(ctx: Context, image: str) -> str:
        return await ctx.step("look", look, ctx, image)

    async def look(ctx: Context, image: str) -> str:
        return shown(await ctx.attachment(image))

    async with app.working():
        attached = await app.attach(IMAGE, media_type="image/png", owner="ann")
        assert attached.reference == f"attachment:{attached.digest}"
        assert (attached.size, attached.media_type) == (len(IMAGE), "image/png")
        job = await describe.options(owner="ann").submit(image=attached.reference)
        assert (await app.wait(job, 10)).result == "image/png: b'\\x89PNG and so on'"


async def test_a_handler_that_blocks_reads_it_too(app: Outlast) -> None:
    @app.handler
    def describe(ctx: SyncContext, image: str) -> str:
        return shown(ctx.attachment(image))

    async with app.working():
        attached = await app.attach(bytearray(b"text"))
        job = await describe.submit(image=attached.reference)
        assert (await app.wait(job, 10)).result == "application/octet-stream: b'text'"


async def test_a_program_without_an_event_loop_attaches_too(url: str) -> None:
    def program() -> int:
        with Outlast(url) as app:
            return app.sync(app.attach(IMAGE)).size

    assert await asyncio.to_thread(program) == len(IMAGE)


@pytest.mark.parametrize("reference", [UNKNOWN, "attachment:sha256:short", "report.pdf"])
async def test_a_handler_that_asks_for_what_is_not_there_fails_and_is_not_tried_again(
    app: Outlast, reference: str
) -> None:
    @app.handler
    async def describe(ctx: Context) -> str:
        return shown(await ctx.attachment(reference))

    async with app.working():
        job = await app.wait(await describe.submit(), 10)
    assert (job.status, job.attempt) == (Status.FAILED, 1)
    assert job.last_error is not None
    assert (job.last_error.code, job.last_error.message) == (
        "payload_invalid",
        f"there is no attachment {reference!r} of this owner",
    )


def with_handler(app: Outlast) -> Outlast:
    @app.handler
    async def keep(ctx: Context, what: Any = None) -> Any:
        return what

    return app


async def test_every_field_that_names_what_is_not_there_is_told(app: Outlast) -> None:
    known = (await with_handler(app).attach(IMAGE)).reference
    other = UNKNOWN.replace("0", "1")
    what = {"a/b": [known, UNKNOWN], "again": UNKNOWN, "~": {"deep": other}}
    with pytest.raises(InvalidRequest) as refused:
        await app.submit("keep", {"what": what})
    assert refused.value.code == "attachment_not_found"
    assert [error["pointer"] for error in refused.value.errors] == ["/payload/what/a~1b/1", "/payload/what/~0/deep"]
    assert await app.list() == []


async def test_text_that_is_not_a_reference_and_no_more_is_text(app: Outlast) -> None:
    texts = [
        f"see {UNKNOWN}",
        f"{UNKNOWN}0",
        UNKNOWN[:-1],
        "attachment:sha256:",
        UNKNOWN.replace("0", "A"),
        {UNKNOWN: 1},
    ]
    job = await with_handler(app).submit("keep", {"what": texts})
    assert job.status is Status.QUEUED


async def test_a_payload_names_so_many_and_one_several_times(url: str) -> None:
    async with with_handler(Outlast(url, limits=Limits(attachments=2))) as app:
        one, two, three = [(await app.attach(bytes([n]))).reference for n in range(3)]
        await app.submit("keep", {"what": [one, two, one]})
        with pytest.raises(InvalidRequest, match="names at most 2 attachments") as refused:
            await app.submit("keep", {"what": [one, two, one, three]})
        assert refused.value.errors[0]["pointer"] == "/payload/what/3"


async def test_a_submit_sent_again_is_the_same_job(app: Outlast) -> None:
    attached = await with_handler(app).attach(IMAGE)
    options: Any = {"idempotency_key": "once"}
    first = await app.submit("keep", {"what": attached.reference}, **options)
    assert (await app.submit("keep", {"what": attached.reference}, **options)).id == first.id


async def test_a_job_that_names_nothing_asks_the_store_for_nothing(
    app: Outlast, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = (await with_handler(app)._open()).store
    for method in ("put", "fetch", "scan", "drop"):
        monkeypatch.setattr(store, method, None)
    await app.submit("keep", {"what": "text"})


async def test_a_retry_by_hand_has_what_the_first_job_had(timeless: Outlast, clock: FakeClock) -> None:
    app = with_handler(timeless)
    attached = await app.attach(IMAGE)
    first = await app.submit("keep", {"what": attached.reference})
    await app.cancel(first)
    clock.advance("2d")
    again = await app.retry(first)
    await app.delete(first)
    clock.advance("2d")
    await app.sweep()
    await app.cancel(again)
    assert (await app.retry(again)).status is Status.QUEUED


async def test_a_process_that_works_removes_what_nobody_names(
    timeless: Outlast, clock: FakeClock, until: Until
) -> None:
    attached = await with_handler(timeless).attach(b"x" * (PIECE + 1))
    store = (await timeless._open()).store

    async def is_gone() -> bool:
        clock.advance("1h")
        return not await store.scan("attachment-bytes/")

    async with timeless.working():
        await until(is_gone, "the bytes were removed")
    with pytest.raises(InvalidRequest, match="no such attachment"):
        await timeless.submit("keep", {"what": attached.reference})


async def test_a_removal_that_fails_is_told_and_tried_again(
    clock: FakeClock, until: Until, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore(clock=clock)
    put, failed = store.put, asyncio.Event()

    async def fails_once(key: str, *args: Any, **kwargs: Any) -> Any:
        if key == "attachments-swept" and not failed.is_set():
            failed.set()
            raise OSError("no such luck")
        return await put(key, *args, **kwargs)

    monkeypatch.setattr(store, "put", fails_once)
    async with Outlast(store) as app:
        await app.attach(IMAGE)

        async def is_gone() -> bool:
            clock.advance("1h")
            return not await store.scan("attachment-bytes/")

        async with app.sweeping():
            await until(is_gone, "the bytes were removed")
    assert "no such luck" in caplog.text


async def test_what_cannot_be_kept_is_refused_with_what_would_be_right(app: Outlast) -> None:
    with pytest.raises(InvalidRequest, match="at least one byte"):
        await app.attach(b"")
    with pytest.raises(InvalidRequest, match="larger than 8388608 bytes"):
        await app.attach(bytes((8 << 20) + 1))
    with pytest.raises(TypeError, match="attach takes bytes, not str"):
        await app.attach("text")  # type: ignore[arg-type]
    for wrong in ("png", "image/", "/png", "image/png\n", "image/\x00", "image/é", "a/" + "b" * 127):
        with pytest.raises(InvalidRequest, match="a media type such as image/png"):
            await app.attach(IMAGE, media_type=wrong)
    assert (await app.attach(bytes(8 << 20), media_type="text/plain; charset=utf-8")).size == 8 << 20
