"""db: the tables of a store, for who makes them apart from what uses them."""

import asyncio
import os
from typing import TYPE_CHECKING

import click

from outlast.cli.exits import Refused
from outlast.cli.moving import copy
from outlast.cli.serving import store_option
from outlast.cli.upkeep import app_argument, app_on

if TYPE_CHECKING:
    from outlast.stores.base import Store


@click.group()
def db() -> None:
    """Make the tables of a store, print what makes them, or copy a store.

    A store makes its tables by itself when it is first opened. `migrate` and `sql` are for a database where the role of
    the app may not do that.
    """


db.add_command(copy)


@db.command()
@app_argument
@store_option
def migrate(place: str | None, store: str | None) -> None:
    """Bring the tables of a store up to date, and say where they stand.

    The store is that of the app, of --store or of OUTLAST_STORE. Nothing happens where all is up to date, and of
    several that migrate at once one does.
    """
    about = asyncio.run(_migrated(_store(place, store)))
    click.echo(about)


async def _migrated(store: "Store") -> str:
    async with store:
        about = store.describe()
    return f"{about.url}: {'no tables' if about.schema is None else f'schema {about.schema}'}"


@db.command()
@app_argument
@store_option
def sql(place: str | None, store: str | None) -> None:
    """Print the statements that make the tables of a store; nothing is connected to.

    The store is that of the app, of --store or of OUTLAST_STORE.
    """
    from outlast.stores.base import Scripted

    chosen = _store(place, store)
    if not isinstance(chosen, Scripted):
        raise Refused(f"{chosen.describe().url} needs no SQL from others; postgresql://... does")
    click.echo(chosen.script(), nl=False)


def _store(place: str | None, store: str | None) -> "Store":
    from outlast.stores import open_store
    from outlast.stores.default import default_store

    chosen = app_on(place, store).store or default_store(os.environ)
    return open_store(chosen) if isinstance(chosen, str) else chosen
