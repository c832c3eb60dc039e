"""A platform and a queue that know of each other, and what a reader sees of a job there."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.web.ground import Frame, frames
from torture.serverless.platform import Platform
from torture.serverless.queue import Queue

TOKEN = "of-the-account"
CURRENT, NEXT = (f"sig_{letter * 28}" for letter in "ab")
SECRET = "only-the-clock-knows-this-one"
"""With it a clock may sweep."""


@asynccontextmanager
async def running(
    app: str,
    folder: Path,
    queue: Queue,
    *,
    store: str | None = None,
    budget: str = "2s",
    limit: float = 10,
    **more: Any,
) -> AsyncIterator[Platform]:
    """A platform whose functions find their store, their queue and their notes in the environment.

    Parameters
    ----------
    store: None: a SQLite file in the folder, which all functions share.
    more: of the platform's.
    """
    # With bytecode, which is made where a function is built, whatever this machine is set to.
    hidden = ("OUTLAST", "QSTASH", "PYTHONDONTWRITEBYTECODE")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environ |= {"OUTLAST_STORE": store or f"sqlite:///{folder}/jobs.db", "NOTES": f"{folder}/notes"}
    environ |= {"QSTASH_TOKEN": TOKEN, "QSTASH_URL": queue.url, "CRON_SECRET": SECRET}
    environ |= {"QSTASH_CURRENT_SIGNING_KEY": CURRENT, "QSTASH_NEXT_SIGNING_KEY": NEXT}
    async with Platform(app, environ, limit=limit, **more) as platform:
        environ["OUTLAST_PUSH"] = f"qstash:{platform.url}?budget={budget}"
        yield platform


async def watched(http: httpx2.AsyncClient, path: str) -> list[Frame]:
    """Every event of a job to its last, over as many connections as the platform makes of it."""
    seen: list[Frame] = []
    while not seen or not seen[-1].event.endswith(("completed", "failed", "cancelled")):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen[-1].id if seen else 0)}
        try:
            async with http.stream("GET", path, headers=headers) as reply:
                seen += [frame async for frame in frames(reply.aiter_lines()) if frame.id is not None]
        except httpx2.HTTPError:
            pass  # cut off at the limit
    return seen
