"""key: what callers and receivers prove themselves by."""

import os
import secrets
from datetime import datetime

import click

from outlast.principal import CANCEL, READ, SCOPES, WRITE
from outlast.web.keys import entry_of, new_key


@click.group()
def key() -> None:
    """Make and print what callers and receivers prove themselves by."""


@key.command()
@click.option("--owner", metavar="OWNER", help="Whose jobs it submits and sees; by default the id.")
@click.option(
    "--scopes",
    metavar="SCOPE+SCOPE",
    default=f"{READ}+{WRITE}+{CANCEL}",
    show_default=True,
    help=f"What it may do: {', '.join(sorted(SCOPES))}.",
)
@click.option("--id", metavar="ID", help="What logs call it; by default made up.")
@click.option("--until", metavar="YYYY-MM-DD", type=click.DateTime(["%Y-%m-%d"]), help="The day, in UTC, that ends it.")
def new(owner: str | None, scopes: str, id: str | None, until: datetime | None) -> None:
    """Print a new key, once, and the entry by which a server knows it.

    The first line is for the client, which keeps it secret. The second is for the server: it holds a digest of the key,
    and the key cannot be had from it. Several entries are parted by commas.
    """
    made, id = new_key(), id or f"key-{secrets.token_hex(4)}"
    day = None if until is None else until.date()
    entry = entry_of(made, id=id, owner=owner or id, scopes=scopes.split("+"), until=day)
    click.echo(f"OUTLAST_KEY={made}")
    click.echo(f"OUTLAST_KEYS={entry}")


@key.command()
@click.argument("owner", metavar="[OWNER]", required=False)
def webhook(owner: str | None) -> None:
    """Print the secret that webhooks of an owner's jobs are signed with.

    It is derived from OUTLAST_SECRET, and is the same wherever that is the same. The owner's receiver verifies by it.
    Without OWNER it is that of jobs that are nobody's, as on a server without keys.
    """
    from outlast.signing import owner_secret

    click.echo(owner_secret(owner, os.environ))
