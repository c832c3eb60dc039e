"""What the tests of the PostgreSQL store stand on: a schema of their own, statements by another session, a bad wire."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from outlast.stores.base import News
from outlast.stores.postgres import PostgresStore
from tests.stores.postgres_server import USER


def fresh(url: str, **options: str) -> str:
    """The URL with a schema that nobody has used."""
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return f"{url}?schema=test_{uuid.uuid4().hex}{more}"


def schema_of(url: str) -> str:
    return url.partition("schema=")[2].partition("&")[0]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url)
    async with store:
        yield store


async def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """By a session that has nothing to do with the store; the rows of the last statement."""
    connection = await psycopg.AsyncConnection.connect(url.partition("?")[0], autocommit=True)
    async with connection:
        for statement in statements:
            cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []


class Ears:
    """All news that a store tells, and a way to wait for the next."""

    def __init__(self, store: PostgresStore) -> None:
        self.news: list[News] = []
        self._came = asyncio.Event()
        store.listen(self._hear)

    def _hear(self, news: News) -> None:
        self.news.append(news)
        self._came.set()

    def forget(self) -> None:
        self.news.clear()
        self._came.clear()

    async def foreign(self) -> None:
        """Until another process's write was heard."""
        while not any(one.ids is None for one in self.news):
            self._came.clear()
            await self._came.wait()


class Wire:
    """A TCP proxy before a server. `cut_at` names bytes of a client after which it hears no more."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cut_at: bytes | None = None
        self.cuts = 0
        self.silent = False
        """What comes is read and goes nowhere."""
        self.url = ""
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def up(self) -> AsyncIterator["Wire"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"postgresql://{USER}@127.0.0.1:{server.sockets[0].getsockname()[1]}/postgres"
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await asyncio.sleep(0.05)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, up_writer]
        back = asyncio.create_task(self._pump(up_reader, writer))
        while data := await _read(reader):
            if self.silent:
                continue
            up_writer.write(data)
            if self.cut_at is not None and self.cut_at in data:
                # The server gets it all and does it; only the answer is lost.
                back.cancel()
                self.cut_at, self.cuts = None, self.cuts + 1
                await asyncio.sleep(0.1)
                break
        up_writer.close()
        writer.close()
        back.cancel()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await _read(reader):
            writer.write(data)
        writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65_536)
    except OSError:
        return b""
