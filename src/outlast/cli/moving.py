"""db copy: a store moves into another."""

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from outlast.cli.exits import Refused

if TYPE_CHECKING:
    from outlast.copying import Copied
    from outlast.stores.base import Store


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def copy(source: str, target: str) -> None:
    """Copy every job of the store FROM into the store TO, with all that belongs to it.

    FROM and TO are URLs of stores, of any two kinds. Stop all servers and workers on both first. Live jobs come along
    and go on in TO. The same command takes up a copy that broke off, and brings along what went on in FROM since; what
    went on in TO is left alone.
    """
    asyncio.run(_copy(source, target))


async def _copy(source: str, target: str) -> None:
    from outlast.cli.examine import missing_file
    from outlast.stores import open_store

    if any(url.startswith("memory:") for url in (source, target)):
        raise Refused("memory:// begins empty, and is gone with this command; name a store that lasts")
    if missing := missing_file(source):
        raise Refused(f"there is no {missing}")
    async with AsyncExitStack() as stack:
        old, new = [await stack.enter_async_context(open_store(url)) for url in (source, target)]
        if old.describe().url == new.describe().url:
            raise Refused("FROM and TO are one store")
        for store in (old, new):
            await _require_rest(store)
        copied = await _copied(old, new)
        now_there = await _count(new)
    moved = f" ({copied.moved} no longer as in FROM, and left as they are)" if copied.moved else ""
    click.echo(f"copied {copied.jobs}, there already {copied.there}{moved}; jobs in TO: {now_there}")


async def _require_rest(store: "Store") -> None:
    from outlast import presence

    workers = await presence.present(store)
    gone = presence.gone(presence.folder(store), workers)
    if workers := [worker for worker in workers if worker.id not in gone]:
        names = ", ".join(f"{worker.id} on {worker.host}, process {worker.pid}" for worker in workers)
        where = store.describe().url
        raise Refused(f"workers live on {where}: {names}; stop them, or wait a minute if they were killed")


async def _copied(old: "Store", new: "Store") -> "Copied":
    from outlast.copying import copy

    with click.progressbar(length=await _count(old), label="copying", show_pos=True) as bar:
        return await copy(old, new, lambda copied: bar.update(copied.jobs + copied.there - bar.pos))


async def _count(store: "Store") -> int:
    from outlast.stores.base import Query

    return sum((await store.count(Query())).values())
