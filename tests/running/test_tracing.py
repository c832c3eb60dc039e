"""OpenTelemetry spans of submits, attempts and steps; a provider is set where a test says so, in its app alone."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from outlast import Context, InvalidRequest, Outlast, Retry
from tests.running.conftest import Until
from tests.running.test_hooks import parked

INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

SECRET = "a secret of the payload"


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    provider = TracerProvider()
    yield provider
    provider.shutdown()


@pytest.fixture
def exporter(provider: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What was traced. To be asked for before the app, which looks for a provider as it opens."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def is_child(child: ReadableSpan, of: ReadableSpan) -> bool:
    own = of.get_span_context()
    return child.parent is not None and own is not None and child.parent.span_id == own.span_id


async def test_submit_attempt_steps_and_what_they_do_are_one_tree(
    exporter: InMemorySpanExporter, provider: TracerProvider, app: Outlast
) -> None:
    tracer = provider.get_tracer("of the user")

    def asks(text: str) -> str:
        with tracer.start_as_current_span("asks a model"):
            return text.upper()

    @app.handler
    async def plan(ctx: Context, text: str) -> str:
        return await ctx.step("draft", asks, text)

    async with app.working():
        job = await app.wait(await plan.submit(text=SECRET), 10)
    spans = by_name(exporter)
    line = [spans[name] for name in ("submit plan", "process plan", "step draft", "asks a model")]
    assert [is_child(child, parent) for parent, child in pairwise(line)] == [True] * 3
    assert line[0].parent is None
    assert [span.kind for span in line[:3]] == [SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.INTERNAL]
    assert attributes(line[0])["messaging.message.id"] == job.id
    assert dict(attributes(line[1])) == {
        "messaging.system": "outlast",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "plan",
        "messaging.message.id": job.id,
        "messaging.client.id": attributes(line[1])["messaging.client.id"],
        "outlast.job.id": job.id,
        "outlast.job.type": "plan",
        "outlast.attempt": 1,
        "outlast.status": "completed",
    }
    assert attributes(line[2])["outlast.step.name"] == "draft"
    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert SECRET not in told and SECRET.upper() not in told


async def test_what_was_raised_is_told_without_passwords(exporter: InMemorySpanExporter, app: Outlast) -> None:
    async def connects() -> None:
        raise OSError("no answer from postgresql://me:secret@db/x")

    @app.handler(retries=1, backoff=0)
    async def breaks(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise Retry("not yet", after=0, code="rate_limited")
        await ctx.step("connect", connects)

    async with app.working():
        await app.wait(await breaks.submit(), 10)
    first, last = (span for span in exporter.get_finished_spans() if span.name == "process breaks")
    step = by_name(exporter)["step connect"]
    assert [attributes(span)["outlast.attempt"] for span in (first, last)] == [1, 2]
    assert [attributes(span)["outlast.status"] for span in (first, last)] == ["retrying", "failed"]
    assert [attributes(span)["error.type"] for span in (first, last, step)] == [
        "rate_limited",
        "handler_error",
        "OSError",
    ]
    for span in (last, step):
        [event] = span.events
        assert span.status.status_code is StatusCode.ERROR
        assert event.name == "exception" and event.attributes is not None
        assert event.attributes["exception.message"] == "OSError: no answer from postgresql://me:***@db/x"
        assert "connects" in str(event.attributes["exception.stacktrace"])
        assert "secret" not in span.to_json()


async def test_each_slice_has_a_span_in_the_trace_of_the_submit(
    exporter: InMemorySpanExporter, app: Outlast, until: Until
) -> None:
    @app.handler
    async def waits(ctx: Context) -> None:
        await ctx.wait_for("go")

    async with app.working():
        job = await waits.submit()
        await until(lambda: parked(app, job), "the job parks")
        await app.signal(job, "go")
        await app.wait(job, 10)
    submit, *slices = exporter.get_finished_spans()
    assert [attributes(span)["outlast.status"] for span in slices] == ["waiting", "completed"]
    assert [is_child(span, submit) for span in slices] == [True, True]


async def test_a_trace_that_comes_from_outside_is_continued_unless_a_span_is_current(
    exporter: InMemorySpanExporter, provider: TracerProvider, app: Outlast
) -> None:
    @app.handler
    async def works(ctx: Context) -> None: ...

    await works.options(trace=INCOMING).submit()
    with provider.get_tracer("of the user").start_as_current_span("request"):
        await works.options(trace=INCOMING).submit()
    from_outside, within, request = exporter.get_finished_spans()
    assert from_outside.parent is not None
    assert trace.format_span_id(from_outside.parent.span_id) == "b7ad6b7169203331"
    assert is_child(within, request)


async def test_without_a_provider_a_job_still_carries_the_trace_it_was_given(app: Outlast) -> None:
    @app.handler
    async def works(ctx: Context) -> None: ...

    assert app._opened is not None and app._opened.runtime.tracing is None
    job = await works.options(trace=INCOMING).submit()
    assert (await app.get(job)).trace == INCOMING
    assert (await app.get(await works.submit())).trace is None
    with pytest.raises(InvalidRequest, match="a W3C traceparent such as"):
        await works.options(trace="00-0-0-00").submit()


async def test_a_retry_by_hand_and_a_repeated_key_stay_in_the_first_trace(
    exporter: InMemorySpanExporter, app: Outlast
) -> None:
    @app.handler
    async def works(ctx: Context) -> None: ...

    once = works.options(idempotency_key="once")
    job, same = await once.submit(), await once.submit()
    await app.cancel(job)
    again = await app.retry(job)
    assert job.trace is not None
    assert (same.id, same.trace, again.trace) == (job.id, job.trace, job.trace)


async def test_spans_are_closed_when_a_handler_is_cancelled(
    exporter: InMemorySpanExporter, app: Outlast, caplog: pytest.LogCaptureFixture
) -> None:
    async def lasts() -> None:
        await app.cancel(job)
        await asyncio.Event().wait()

    @app.handler
    async def works(ctx: Context) -> None:
        await ctx.step("lasts", lasts)

    async with app.working():
        job = await works.submit()
        await app.wait(job, 10)
    spans = by_name(exporter)
    assert attributes(spans["process works"])["outlast.status"] == "cancelled"
    assert spans["process works"].status.status_code is StatusCode.UNSET
    assert is_child(spans["step lasts"], spans["process works"])
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
