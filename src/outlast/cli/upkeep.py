"""sweep, doctor: look after a store."""

import asyncio
import os
from typing import TYPE_CHECKING

import click

from outlast.cli.exits import Refused
from outlast.cli.serving import store_option

if TYPE_CHECKING:
    from outlast.app import Outlast

app_argument = click.argument("place", metavar="[MODULE:APP]", required=False)


@click.command()
@app_argument
@store_option
def sweep(place: str | None, store: str | None) -> None:
    """Move what is due, once, and say how many jobs that was.

    Due are delays, pauses and waits that are over, deadlines, leases that ran out, webhooks still to be told, and ended
    jobs kept long enough.
    Workers and servers see to them by themselves; this is for a cron job where none runs for long. The store is that
    of the app, of --store or of OUTLAST_STORE; where none is named, ./outlast.db if it is there.
    """
    if place is None and store is None:
        _require_default_store()
    moved = asyncio.run(_swept(app_on(place, store)))
    click.echo(f"{moved} {'job' if moved == 1 else 'jobs'} moved")


def _require_default_store() -> None:
    """A cron job in the wrong folder shall not make an empty store there and report success for ever."""
    from outlast.cli.examine import missing_file
    from outlast.stores.default import DEFAULT_STORE, default_store

    chosen = default_store(os.environ)
    if chosen == DEFAULT_STORE and (missing := missing_file(chosen)):
        raise Refused(f"there is no {missing}; name a store: MODULE:APP, --store URL, or OUTLAST_STORE")


async def _swept(app: "Outlast") -> int:
    async with app:
        return await app.sweep()


@click.command()
@app_argument
@store_option
def doctor(place: str | None, store: str | None) -> None:
    """Show what is installed, set and stored, and what is wrong with it.

    The store is that of the app, of --store or of OUTLAST_STORE; where none is named, ./outlast.db.

    Exit codes: 0 nothing stands in the way, 2 a setting or the store is not what it should be, 3 the store does not
    answer.
    """
    from outlast.cli import examine

    for line in examine.report(app_on(place, store)):
        click.echo(line)


def app_on(place: str | None, store: str | None) -> "Outlast":
    """The app at MODULE:APP, or one without handlers; on another store if one is named."""
    from outlast.app import Outlast
    from outlast.cli.load import load

    app = Outlast() if place is None else load(place)
    app.store = store or app.store
    return app
