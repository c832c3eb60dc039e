"""The app that is asked: handlers whose payloads and fates are as varied as those of others."""

import asyncio
import base64
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import BaseModel, Field

from outlast import Context, Endpoint, Fail, Outlast, SyncContext
from outlast.policy import Limits

NOWHERE = "http://127.0.0.1:9/"
"""Nothing listens there."""

app = Outlast(
    # Streams and waits end by themselves, or each would hold the trial up for as long as it lives.
    limits=Limits(wait=0.05, stream=0.05),
    webhooks=[Endpoint(NOWHERE, secrets=["whsec_" + base64.b64encode(bytes(32)).decode()])],
    webhook_hosts=["127.0.0.1"],
)


class Line(BaseModel):
    item: str = Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9 ]+$")
    count: int = Field(ge=1, le=1000)
    price: float | None = Field(default=None, ge=0, le=1e6)


@dataclass
class Order:
    lines: list[Line]
    day: date
    how: Literal["post", "courier"] = "post"


@app.handler(steps=["count", "price"])
async def order(ctx: Context, order: Order, note: Annotated[str, Field(max_length=80)] = "") -> dict[str, int]:
    """A model within a dataclass, and steps."""
    count = await ctx.step("count", counted, order.lines)
    ctx.progress(50, note)
    return {"count": count}


async def counted(lines: list[Line]) -> int:
    return sum(line.count for line in lines)


@app.handler
async def write(ctx: Context, pieces: Annotated[int, Ge(0), Le(20)], channel: Literal["text", "thoughts"]) -> str:
    """Writes text, piece by piece."""
    for number in range(pieces):
        ctx.write(f"{number} ", channel=channel)
        await asyncio.sleep(0)
    return "x" * pieces


@app.handler
async def ask(ctx: Context) -> Any:
    """Waits until somebody answers, and returns the answer."""
    return await ctx.wait_for("answer", timeout="1h")


@app.handler(retries=1, backoff=0.01)
async def fail(ctx: Context, how: Literal["for good", "again"]) -> None:
    if how == "for good":
        raise Fail("as it should")
    raise RuntimeError("no such luck")


@app.handler
def take(ctx: SyncContext, seconds: Annotated[float, Ge(0), Le(0.5)]) -> float:
    """Takes its time, in a thread."""
    ctx.sleep(seconds)
    return seconds


@app.handler
async def stay(ctx: Context) -> None:
    """Until it is cancelled."""
    await asyncio.Event().wait()
