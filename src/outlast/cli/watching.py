"""A job followed to its end: live on a terminal, a line for each event elsewhere, or the wire form."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from outlast.cli import exits, plain
from outlast.cli.client import Client
from outlast.cli.feed import Feed
from outlast.cli.text import wire

Wire = Mapping[str, Any]


def follow(client: Client, job: Wire, after: int = 0, *, as_json: bool = False) -> None:
    """Show the events of a job that the server has just shown, to the last. Raises Exit unless it completed."""
    try:
        last = (
            _on_screen(client, job, after) if _is_terminal() and not as_json else _in_lines(client, job, after, as_json)
        )
    except KeyboardInterrupt:
        id = job["id"]
        said = f"\nNo longer watching; the job goes on. Watch again: outlast watch {id}; end it: outlast cancel {id}"
        click.echo(said, err=True)
        raise click.exceptions.Exit(exits.INTERRUPTED) from None
    status = last["job"]["status"] if last["type"] == "job.snapshot" else last["status"]
    if status != "completed":
        raise click.exceptions.Exit(exits.FAILED)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") not in (None, "dumb", "unknown")


def _on_screen(client: Client, job: Wire, after: int) -> Wire:
    from outlast.cli.live import Screen

    last = job
    with Screen(job["id"], job["type"]) as screen:
        for event in Feed(client, job["id"], after, lost=screen.trouble):
            screen.show(event)
            last = event
    return last


def _in_lines(client: Client, job: Wire, after: int, as_json: bool) -> Wire:
    last = job
    for event in Feed(client, job["id"], after, lost=_Trouble().tell):
        click.echo(wire(json.dumps(event, ensure_ascii=False)) if as_json else plain.event_line(event))
        last = event
    return last


class _Trouble:
    """Says once that the server is gone, not at each try."""

    def __init__(self) -> None:
        self._told = False

    def tell(self, said: str | None) -> None:
        if said is not None and not self._told:
            click.echo(said, err=True)
        self._told = said is not None
