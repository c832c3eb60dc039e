"""A submit within the caller's own transaction: the job exists if and only if their row does."""

import asyncio
import contextlib
import re
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from outlast import Context, Outlast
from outlast.errors import ConfigurationError, IdempotencyKeyReused
from tests.stores.postgres_ground import Ears, execute, fresh
from tests.stores.postgres_server import Server

PAGE = Path(__file__).parents[2] / "docs" / "stores" / "postgres.md"


@pytest.fixture
def url(postgres: Server) -> str:
    return fresh(postgres.url())


@pytest.fixture
async def app(url: str) -> AsyncIterator[Outlast]:
    app = Outlast(url)

    @app.handler
    async def report(ctx: Context, order: int) -> int:
        return order

    await execute(url, "drop table if exists orders", "create table orders (id int primary key)")
    async with app:
        yield app


@pytest.fixture
async def connection(url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(url.partition("?")[0]) as connection:
        yield connection


async def orders(url: str) -> int:
    [(n,)] = await execute(url, "select count(*) from orders")
    return int(n)


async def test_a_job_is_committed_with_the_callers_row(
    app: Outlast, url: str, connection: psycopg.AsyncConnection
) -> None:
    async with connection.transaction():
        await connection.execute("insert into orders values (1)")
        job = await app.submit("report", {"order": 1}, connection=connection)
        assert await app.list() == [], "nobody sees it yet"
    assert await orders(url) == 1
    assert (await app.get(job.id)).status == "queued"


async def test_what_the_page_shows_is_what_happens(app: Outlast, url: str) -> None:
    [snippet] = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    words: dict[str, Any] = {"psycopg": psycopg, "DATABASE": url.partition("?")[0], "invoice": app.handlers["report"]}
    exec("async def shown():\n" + textwrap.indent(snippet, "    "), words)
    await words["shown"]()
    assert (await orders(url), len(await app.list())) == (1, 1)


async def test_a_job_is_rolled_back_with_the_callers_row(
    app: Outlast, url: str, connection: psycopg.AsyncConnection
) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with connection.transaction():
            await connection.execute("insert into orders values (1)")
            await app.submit("report", {"order": 1}, connection=connection)
            raise ZeroDivisionError
    assert (await orders(url), await app.list()) == (0, [])


async def test_a_job_that_joins_may_name_an_attachment(app: Outlast, connection: psycopg.AsyncConnection) -> None:
    @app.handler
    async def read(ctx: Context, image: str) -> int:
        return len((await ctx.attachment(image)).data)

    attached = await app.attach(b"four")
    await app.submit("read", {"image": attached.reference}, connection=connection)
    await connection.rollback()
    job = await app.submit("read", {"image": attached.reference}, connection=connection)
    await connection.commit()
    async with app.working():
        assert (await app.wait(job, 20)).result == 4


async def test_a_submit_before_the_callers_first_statement_begins_their_transaction(
    app: Outlast, connection: psycopg.AsyncConnection
) -> None:
    await app.submit("report", {"order": 1}, connection=connection)
    await connection.rollback()
    await app.submit("report", {"order": 2}, connection=connection)
    await connection.commit()
    assert len(await app.list()) == 1


async def test_a_worker_hears_of_the_job_after_the_commit_and_not_before(
    app: Outlast, connection: psycopg.AsyncConnection
) -> None:
    from outlast.stores.postgres import PostgresStore

    store = await app._connected()
    assert isinstance(store, PostgresStore)
    ears = Ears(store)
    job = await app.submit("report", {"order": 1}, connection=connection)
    await asyncio.sleep(0.1)
    assert not ears.news
    await connection.commit()
    async with asyncio.timeout(5):
        while not any(news.ready and job.id in (news.ids or ()) for news in ears.news):
            await asyncio.sleep(0.005)


async def test_a_blocking_connection_may_be_joined_too(app: Outlast, url: str) -> None:
    with psycopg.connect(url.partition("?")[0]) as blocking:
        blocking.execute("insert into orders values (1)")
        await app.submit("report", {"order": 1}, connection=blocking)
        blocking.rollback()
        await app.submit("report", {"order": 2}, connection=blocking)
    assert (await orders(url), len(await app.list())) == (0, 1)


async def test_a_key_that_is_held_gives_the_first_job_and_leaves_the_transaction_whole(
    app: Outlast, url: str, connection: psycopg.AsyncConnection
) -> None:
    first = await app.submit("report", {"order": 1}, idempotency_key="k")
    await connection.execute("insert into orders values (1)")
    again = await app.submit("report", {"order": 1}, idempotency_key="k", connection=connection)
    with pytest.raises(IdempotencyKeyReused):
        await app.submit("report", {"order": 2}, idempotency_key="k", connection=connection)
    await connection.commit()
    assert (again.id, await orders(url), len(await app.list())) == (first.id, 1, 1)


async def test_of_two_transactions_with_one_key_the_second_waits_for_the_first(
    app: Outlast, url: str, connection: psycopg.AsyncConnection
) -> None:
    first = await app.submit("report", {"order": 1}, idempotency_key="k", connection=connection)
    second = asyncio.create_task(app.submit("report", {"order": 1}, idempotency_key="k"))
    await asyncio.sleep(0.1)
    assert not second.done()
    await connection.commit()
    assert (await second).id == first.id


async def test_what_cannot_be_joined_is_told(
    app: Outlast, postgres: Server, connection: psycopg.AsyncConnection
) -> None:
    with pytest.raises(ConfigurationError, match="psycopg"):
        await app.submit("report", {"order": 1}, connection=object())
    async with connection.pipeline():
        with pytest.raises(ConfigurationError, match="pipeline"):
            await app.submit("report", {"order": 1}, connection=connection)
    await connection.rollback()
    await connection.set_autocommit(True)
    with pytest.raises(ConfigurationError, match="autocommit"):
        await app.submit("report", {"order": 1}, connection=connection)
    async with await psycopg.AsyncConnection.connect(postgres.url("template1")) as other:
        with pytest.raises(ConfigurationError, match="without this store's tables"):
            await app.submit("report", {"order": 1}, connection=other)


async def test_a_store_without_transactions_says_so(connection: psycopg.AsyncConnection) -> None:
    app = Outlast("memory://")

    @app.handler
    async def report(ctx: Context, order: int) -> int:
        return order

    async with app:
        with pytest.raises(ConfigurationError, match="connection="):
            await report.options(connection=connection).submit(1)
