"""What the tests of the web layer stand on: an app with some handlers, a server on a socket, a reader of streams."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from pydantic import BaseModel
from starlette.types import ASGIApp

from outlast import Context, Outlast
from outlast.stores.base import Store
from outlast.web.server import Server, config_of, listen, url_of


class Line(BaseModel):
    item: str
    price: float


class Bill(BaseModel):
    lines: list[Line]
    total: float


def make_app(store: str | Store = "memory://", **settings: Any) -> Outlast:
    """An app with one handler for each thing a test wants to see happen."""
    app = Outlast(store, **settings)

    @app.handler(steps=["look", "greet"])
    async def greet(ctx: Context, name: str, times: int = 1) -> dict[str, str]:
        """Two steps, some text, a result."""
        await ctx.step("look", asyncio.sleep, 0)
        ctx.progress(50, "half")
        for _ in range(times):
            await ctx.step("greet", say, f"Hello {name}. ")
        return {"greeting": f"Hello {name}"}

    @app.handler
    async def bill(ctx: Context, lines: list[Line]) -> Bill:
        return Bill(lines=lines, total=sum(line.price for line in lines))

    @app.handler
    async def ask(ctx: Context, question: str) -> Any:
        """Waits until somebody answers."""
        return await ctx.wait_for("answer")

    @app.handler(retries=0)
    async def broken(ctx: Context) -> None:
        await ctx.step("fine", asyncio.sleep, 0)
        raise RuntimeError("no such luck")

    @app.handler
    async def endless(ctx: Context) -> None:
        await asyncio.Event().wait()

    @app.handler
    async def count(ctx: Context, to: int, pause: float = 0.01) -> int:
        """A number a step, written as it comes."""
        for number in range(to):
            await ctx.step("count", count_one, number, pause)
        return to

    @app.handler
    async def flood(ctx: Context, pieces: int) -> None:
        for _ in range(pieces):
            ctx.write("x" * 4096)
            await asyncio.sleep(0)

    @app.handler
    async def large(ctx: Context, size: int) -> str:
        return "r" * size

    return app


async def say(text: str) -> None:
    context = Context.current()
    assert context is not None
    context.write(text)


async def count_one(number: int, pause: float) -> int:
    context = Context.current()
    assert context is not None
    context.write(f"{number} ")
    await asyncio.sleep(pause)
    return number


def client(asgi: ASGIApp, **settings: Any) -> httpx2.AsyncClient:
    """A client that speaks to an ASGI app without a socket. Replies come whole, so not for live streams."""
    transport = httpx2.ASGITransport(app=asgi)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost", **settings)


@asynccontextmanager
async def serving(asgi: ASGIApp, app: Outlast) -> AsyncIterator[str]:
    """The server on a free port of this machine, in this process; gives its URL."""
    listening = listen("127.0.0.1", 0)
    answering = asyncio.Event()
    server = Server(config_of(asgi), app, answering.set)
    task = asyncio.create_task(server.serve([listening]))
    try:
        await answering.wait()
        yield url_of(listening, "127.0.0.1")
    finally:
        server.should_exit = True
        await task


SECRET = "of-the-tests-alone-and-long-enough"


def entry(id: str, owner: str, scopes: str) -> str:
    """A line of `OUTLAST_KEYS` whose key is its own id."""
    return f"{id}:{owner}:{scopes}:{hashlib.sha256(id.encode()).hexdigest()}"


def as_(key: str, owner: str | None = None) -> dict[str, str]:
    """The headers of a caller with a key, who may act for an owner."""
    headers = {"Authorization": f"Bearer {key}"}
    return headers if owner is None else headers | {"Outlast-Owner": owner}


def is_a_test(reference: str) -> bool:
    """Whether `tests/web/test_x.py::test_name` is there."""
    file, _, name = reference.partition("::")
    path = Path(__file__).parents[2] / file
    return path.is_file() and re.search(rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE) is not None


async def submit(http: httpx2.AsyncClient, type: str, base: str = "/jobs", **payload: Any) -> Any:
    reply = await http.post(base, json={"type": type, "payload": payload})
    assert reply.status_code == 202, reply.text
    return reply.json()


async def ended(http: httpx2.AsyncClient, job_id: str, base: str = "/jobs") -> Any:
    """The job once it has ended."""
    return await until(http, job_id, lambda job: job["completedAt"] is not None, base)


async def until(http: httpx2.AsyncClient, job_id: str, wanted: Callable[[Any], bool], base: str = "/jobs") -> Any:
    """The job once it is as wanted."""
    job = (await http.get(f"{base}/{job_id}")).json()
    async with asyncio.timeout(20):
        while not wanted(job):
            reply = await http.get(f"{base}/{job_id}?wait=5&since=v{job['version']}")
            job = reply.json() if reply.status_code == 200 else job
    return job


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Frame:
    """One event of a stream as a browser takes it; `id` is None where the frame has none."""

    id: str | None
    event: str
    data: Any


@asynccontextmanager
async def stream(
    http: httpx2.AsyncClient, path: str, cursor: str | int | None = None
) -> AsyncIterator[tuple[httpx2.Response, AsyncIterator[Frame]]]:
    """An open stream of events and its frames."""
    headers = {"Accept": "text/event-stream"}
    if cursor is not None:
        headers["Last-Event-ID"] = str(cursor)
    async with http.stream("GET", path, headers=headers) as reply:
        yield reply, frames(reply.aiter_lines())


async def frames(lines: AsyncIterator[str]) -> AsyncIterator[Frame]:
    """The frames of a stream, read by the rules of WHATWG HTML 9.2.6; comments and `retry` are let pass."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        if not line and "data" in fields:
            yield Frame(fields.get("id"), fields.get("event", "message"), json.loads(fields["data"]))
        if not line:
            fields = {}


async def read_all(http: httpx2.AsyncClient, path: str, cursor: str | int | None = None) -> list[Frame]:
    """Every frame until the server closes the stream."""
    async with stream(http, path, cursor) as (reply, found):
        assert reply.status_code == 200
        return [frame async for frame in found]


def numbers(found: Iterable[Frame]) -> list[int]:
    return [int(frame.id) for frame in found if frame.id is not None]
