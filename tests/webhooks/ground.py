"""A receiver on a real socket, which keeps what it got and answers what a test says, well or badly."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from outlast import Context, Outlast

MASTER = "pX3vT9qLw8Zr2NcK7mHs5JdY4bGf6AeU"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Got:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Got, asyncio.StreamWriter], Awaitable[None]]


def answers(status: int, **headers: str) -> Answer:
    """The same answer to all."""

    async def answer(got: Got, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", "Content-Length: 2", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join(lines).replace("_", "-").encode() + b"\r\n\r\nok")
        await writer.drain()

    return answer


@dataclass
class Receiver:
    """`port`, what it got so far, and how it answers."""

    port: int = 0
    scheme: str = "http"
    answer: Answer = field(default_factory=lambda: answers(204))
    got: list[Got] = field(default_factory=list)
    sent: int = 0
    """Bytes that it could get rid of, where it sends without end."""
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    def url(self, path: str = "/hook") -> str:
        return f"{self.scheme}://{HOST}:{self.port}{path}"

    @property
    def ids(self) -> set[str]:
        return {got.id for got in self.got}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            got = Got(head[0].split(" ")[1], headers, body)
            self.got.append(got)
            await self.answer(got, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()


@asynccontextmanager
async def receiving(answer: Answer | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver(scheme="https" if tls else "http")
    receiver.answer = answer or receiver.answer
    server = await asyncio.start_server(receiver.serve, HOST, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for writer in list(receiver.open):
            writer.close()


def make_app(store: Any = "memory://", **settings: Any) -> Outlast:
    """An app whose jobs may name a receiver of this machine."""
    settings.setdefault("webhook_hosts", [HOST])
    app = Outlast(store, **settings)

    @app.handler
    async def greet(ctx: Context, name: str) -> str:
        return f"Hello {name}"

    @app.handler(retries=0)
    async def broken(ctx: Context) -> None:
        raise RuntimeError("no such luck")

    return app
