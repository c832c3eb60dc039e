"""The app of two servers on one store: a job that says when it wrote each of its words."""

import asyncio
import time
from pathlib import Path

from outlast import Context, Outlast

app = Outlast()


@app.handler
async def speak(ctx: Context, gate: str, least: int) -> int:
    """Speaks until the file `gate` is there."""
    spoken = 0
    while spoken < least or not Path(gate).exists():
        ctx.write(f"{spoken}@{time.time()} ")
        spoken += 1
        await asyncio.sleep(0.1)
    return spoken
