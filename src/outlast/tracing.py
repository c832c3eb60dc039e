"""OpenTelemetry spans of submits, attempts and steps, where the program has set a tracer provider.

    submit (PRODUCER) ──`trace` of the job──▶ process (CONSUMER), one for each slice ──▶ step, and what it does

Names and attributes are those of OpenTelemetry's conventions for messaging, and `outlast.*` where these have none
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/). A job is one message by itself, so that what
processes it may be a child of what submitted it, and the whole is one trace. No payload, result or output is told.
"""

import re
import sys
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from outlast.job import Change, Job
from outlast.words import described, traceback_of

if TYPE_CHECKING:
    from opentelemetry.context import Context as Surroundings
    from opentelemetry.trace import Span, SpanKind, Tracer

T = TypeVar("T")

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context: trace, parent and flags."""


def found() -> "Tracing | None":
    """The spans of this process; None unless a tracer provider is set, which must be before the app opens."""
    # Whoever has set one has imported this; nobody else shall pay for the import.
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    idle = isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    return None if idle else Tracing(provider.get_tracer("outlast"))


def valid(traceparent: str | None) -> str | None:
    """A W3C traceparent; None for what is none."""
    return traceparent if traceparent is not None and TRACEPARENT.fullmatch(traceparent) else None


class Tracing:
    """The spans of one app."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer

    @contextmanager
    def submitting(self, type: str, continued: str | None) -> "Iterator[Submitting]":
        """The span of a submit: within the current span, else within the trace that is to be continued."""
        from opentelemetry.trace import SpanKind, get_current_span

        here = get_current_span().get_span_context().is_valid
        surroundings = None if here or continued is None else _within(continued)
        with self._span(f"submit {type}", SpanKind.PRODUCER, _operation("submit", "send", type), surroundings) as span:
            yield Submitting(span)

    def attempt(self, job: Job[Any]) -> "Attempting":
        """The span of a slice, within the trace of the job's submit; a trace of its own where that had none."""
        from opentelemetry.trace import SpanKind

        attributes = _operation("process", "process", job.type) | _of(job)
        attributes["outlast.attempt"] = job.attempt
        if job.worker is not None:
            attributes["messaging.client.id"] = job.worker
        return Attempting(
            self._tracer.start_span(f"process {job.type}", _within(job.trace), SpanKind.CONSUMER, attributes)
        )

    async def step(self, job: Job[Any], name: str, work: Awaitable[T]) -> T:
        """Await the body of a step within a span of its own."""
        from opentelemetry.trace import SpanKind

        attributes = _of(job) | {"outlast.attempt": job.attempt, "outlast.step.name": name}
        with self._span(f"step {name}", SpanKind.INTERNAL, attributes, None):
            return await work

    def _span(
        self, name: str, kind: "SpanKind", attributes: Mapping[str, Any], surroundings: "Surroundings | None"
    ) -> "AbstractContextManager[Span]":
        span = self._tracer.start_span(name, surroundings, kind, attributes)
        return _current(span)


class Submitting:
    """A submit on its way."""

    def __init__(self, span: "Span") -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """What the job is to carry, so that its attempts join this trace."""
        from opentelemetry.trace import set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, set_span_in_context(self._span))
        return carrier["traceparent"]

    def stored(self, job: Job[Any]) -> None:
        """The submit made this job."""
        self._span.set_attributes(_of(job))


class Attempting:
    """A slice on its way."""

    def __init__(self, span: "Span") -> None:
        self._span = span

    def current(self) -> "AbstractContextManager[Span]":
        """What is done within belongs to the slice."""
        from opentelemetry.trace import use_span

        return use_span(self._span, record_exception=False, set_status_on_exception=False)

    def over(self, job: Job[Any], change: Change | None, cause: BaseException | None) -> None:
        """The slice ended by this change of the job; None: its lease was lost."""
        if change is None:
            _failed(self._span, "lease_lost", "what it wrote since is refused")
            return
        ended = change.applied(job)
        status = str(ended.status)
        self._span.set_attribute("outlast.status", status)
        if status in ("retrying", "failed") and ended.last_error is not None:
            if cause is not None:
                _record(self._span, cause)
            _failed(self._span, ended.last_error.code, ended.last_error.message)

    def end(self) -> None:
        self._span.end()


@contextmanager
def _current(span: "Span") -> "Iterator[Span]":
    from opentelemetry.trace import use_span

    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except Exception as error:
            _record(span, error)
            _failed(span, type(error).__qualname__, described(error))
            raise


def _within(traceparent: str | None) -> "Surroundings":
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {} if traceparent is None else {"traceparent": traceparent}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _operation(name: str, type: str, destination: str) -> dict[str, Any]:
    return {
        "messaging.system": "outlast",
        "messaging.operation.name": name,
        "messaging.operation.type": type,
        "messaging.destination.name": destination,
    }


def _of(job: Job[Any]) -> dict[str, Any]:
    return {"messaging.message.id": job.id, "outlast.job.id": job.id, "outlast.job.type": job.type}


def _failed(span: "Span", type: str, description: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", type)
    span.set_status(Status(StatusCode.ERROR, description))


def _record(span: "Span", error: BaseException) -> None:
    # Our own words for it: those of the SDK show the passwords of URLs, and are as long as they come.
    words = {"exception.message": described(error), "exception.stacktrace": traceback_of(error)}
    span.record_exception(error, words)
