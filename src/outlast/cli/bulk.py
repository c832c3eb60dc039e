"""cancel, retry, delete of many jobs by a filter: counted first, done with --yes, a part to a request."""

import json
from collections.abc import Callable, Mapping
from functools import wraps
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from outlast.cli.exits import Refused, Unreachable
from outlast.cli.text import safe

if TYPE_CHECKING:
    from outlast.cli.client import Client

TELL_EVERY = 2.0
"""Seconds between two lines that say how far it is."""

DONE = {"cancel": "cancelled or asked to stop", "retry": "retried", "delete": "deleted"}


def milliseconds(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A duration as an option gives it."""
    from outlast.policy import seconds

    try:
        return None if value is None else round(seconds(value) * 1000)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


OPTIONS = (
    click.option("--status", metavar="STATUS", help="Many: those of a status, or of several parted by commas."),
    click.option("--type", metavar="TYPE", help="Many: those of a type."),
    click.option("--owner", metavar="OWNER", help="Many: those of an owner."),
    click.option("--older", metavar="TIME", callback=milliseconds, help="Many: those submitted so long ago, as 7d."),
    click.option("--all", "everything", is_flag=True, help="Many: all, where nothing else is said."),
    click.option("--yes", is_flag=True, help="Many: do it; without, they are counted."),
)


def one_or_many(action: str, *taken: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command that is for one job a filter too, for many.

    `taken` are its own options that hold for many as well, under their names on the wire.
    """

    def with_filter(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def either(client: "Client", id: str | None, yes: bool, **given: Any) -> None:
            found = {name: given.pop(name) for name in ("status", "type", "owner", "older", "everything")}
            filters = {name: value for name, value in found.items() if value not in (None, False)}
            if id is not None and not filters and not yes:
                command(client, id=id, **given)
                return
            _require_many(id, filters, {name: value for name, value in given.items() if name not in taken})
            _many(client, action, _asked(filters, {name: given[name] for name in taken}), yes, given["as_json"])

        for option in reversed(OPTIONS):
            either = option(either)
        return either

    return with_filter


def _require_many(id: str | None, filters: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    if id is not None:
        raise click.UsageError("give an ID, or a filter for many, not both")
    if not filters:
        raise click.UsageError("give an ID; or for many a filter: --status, --type, --owner, --older, or --all")
    for name, value in others.items():
        if value and name != "as_json":
            raise click.UsageError(f"--{name} is for one job, given by its ID")


def _asked(filters: Mapping[str, Any], how: Mapping[str, Any]) -> dict[str, Any]:
    """The body but for its action, in the words of the wire."""
    named = {ON_WIRE.get(name, name): value for name, value in filters.items() if name != "everything"}
    if "status" in named:
        named["status"] = [word.strip() for word in named["status"].split(",")]
    asked = {"filter": named, "all": "everything" in filters}
    anew = {"from": "start"} if how.get("from_start") else {}
    return asked | anew | {name: value for name, value in how.items() if name == "reason" and value is not None}


ON_WIRE = {"older": "olderMs"}


def _many(client: "Client", action: str, asked: Mapping[str, Any], yes: bool, as_json: bool) -> None:
    counted = _ask(client, {"action": action, **asked, "dryRun": True})
    matched = counted["matched"]
    by_status = ", ".join(f"{count} {safe(status)}" for status, count in counted["byStatus"].items())
    if matched and not yes:
        raise Refused(f"{_jobs(matched)} found ({by_status}); with --yes they are {DONE[action]}")
    done, skipped = _do(client, {"action": action, **asked}, matched)
    if as_json:
        click.echo(json.dumps({"action": action, "matched": matched, "done": done, "skipped": skipped}))
    else:
        click.echo(f"{_jobs(done)} {DONE[action]}" + (f", {skipped} skipped as they had moved" if skipped else ""))


def _do(client: "Client", body: Mapping[str, Any], matched: int) -> tuple[int, int]:
    done = skipped = 0
    told, cursor = monotonic(), None
    while matched:
        try:
            answer = _ask(client, body if cursor is None else {**body, "cursor": cursor})
        except Unreachable as error:
            raise Unreachable(f"{_jobs(done)} {DONE[body['action']]}, and then: {error.message}") from error
        done, skipped, cursor = done + answer["done"], skipped + answer["skipped"], answer["nextCursor"]
        if cursor is None:
            break
        if monotonic() - told > TELL_EVERY:
            told = monotonic()
            click.echo(f"{done + skipped} of {matched}", err=True)
    return done, skipped


def _ask(client: "Client", body: Mapping[str, Any]) -> Any:
    return client.ask("POST", "/jobs/bulk", body=json.dumps(body)).value


def _jobs(count: int) -> str:
    return f"{count} {'job' if count == 1 else 'jobs'}"
