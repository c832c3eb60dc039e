"""An app whose processes trace; each leaves its finished spans as a file in a folder as it ends."""

import atexit
import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from outlast import Context, Outlast

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

app = Outlast()


@app.handler
async def plan(ctx: Context, topic: str) -> str:
    return await ctx.step("draft", draft, topic)


def draft(topic: str) -> str:
    with trace.get_tracer("of the user").start_as_current_span("ask a model"):
        return f"about {topic}"


@atexit.register
def leave() -> None:
    spans = ",".join(span.to_json() for span in exporter.get_finished_spans())
    Path(os.environ["TRACED_SPANS"], f"{os.getpid()}.json").write_text(f"[{spans}]")
