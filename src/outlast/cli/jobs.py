"""submit, get, watch, list, cancel, retry, delete: what a client asks of a server."""

import json
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outlast.cli import plain
from outlast.cli.bulk import milliseconds, one_or_many
from outlast.cli.exits import NotSent, Refused, Unreachable
from outlast.cli.text import safe, wire

if TYPE_CHECKING:
    from outlast.cli.client import Answer, Client

DEFAULT_URL = "http://127.0.0.1:8000"


# -- what several commands take -------------------------------------------------------------------------------------


def asks_server(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command its server, from --url and --key."""

    @wraps(command)
    def with_client(url: str, key: str | None, **others: Any) -> None:
        from outlast.cli.client import Client

        with closing(Client(url, key)) as client:
            command(client, **others)

    key = click.option("--key", metavar="KEY", envvar="OUTLAST_KEY", show_envvar=True, help="Your API key.")
    url = click.option(
        "--url",
        metavar="URL",
        envvar="OUTLAST_URL",
        show_envvar=True,
        default=DEFAULT_URL,
        show_default=True,
        help="The server: the address above /jobs.",
    )
    return url(key(with_client))


def _job_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", value):
        raise click.BadParameter(f"a job's id looks like job_06AB..., not {ascii(value)[:64]}")
    return value


job_id = click.argument("id", callback=_job_id)
job_id_or_none = click.argument("id", metavar="[ID]", required=False, callback=_job_id)
json_flag = click.option("--json", "as_json", is_flag=True, help="Print what the server sent, as JSON.")


def _visible(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[!-~]{1,128}", value):
        raise click.BadParameter("1 to 128 visible ASCII characters without spaces")
    return value


# -- submit ---------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("type")
@click.option("--json", "payload", metavar="JSON", default="{}", help="The payload; @FILE reads a file, - stdin.")
@click.option("--watch", is_flag=True, help="Follow the job to its end.")
@click.option(
    "--idempotency-key", metavar="KEY", callback=_visible, help="The same key gives the same job; without, one is made."
)
@click.option("--priority", type=click.Choice(["low", "normal", "high"]), help="Its place among others.")
@click.option("--delay", "delayMs", metavar="TIME", callback=milliseconds, help="Not before, such as 90s or 2h.")
@click.option("--deadline", "deadlineMs", metavar="TIME", callback=milliseconds, help="From now to its end.")
@click.option("--retries", "maxRetries", metavar="N", type=click.IntRange(0), help="Tries after the first.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A word to find it by; may be repeated.")
@asks_server
def submit(client: "Client", type: str, payload: str, watch: bool, idempotency_key: str | None, **options: Any) -> None:
    """Submit a job of TYPE and print its id.

    Example: outlast submit media_plan --json '{"objective": "more visitors"}' --watch
    """
    key = idempotency_key or secrets.token_hex(16)
    body = _submit_body(type, _payload(payload), options)
    try:
        job = client.ask("POST", "/jobs", body=body, headers={"Idempotency-Key": key}).value
    except NotSent:
        raise
    except Unreachable as error:
        again = f"whether it was accepted is unknown; sent again with --idempotency-key {key} it makes one job"
        raise Unreachable(f"{error.message}\n{again}") from None
    click.echo(safe(job["id"]))
    if watch:
        from outlast.cli.watching import follow

        follow(client, job)


def _payload(given: str) -> str:
    """The payload's text as it was given: what is odd in it is for the server to refuse."""
    try:
        text = _read(given)
        json.loads(text)
    except OSError as error:
        raise Refused(f"--json {safe(given)}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise Refused(f"--json is no JSON: {safe(error)}") from None
    return text


def _read(given: str) -> str:
    if given == "-":
        return sys.stdin.read()
    return Path(given[1:]).read_text("utf-8") if given.startswith("@") else given


def _submit_body(type: str, payload: str, options: Mapping[str, Any]) -> str:
    fields = {"type": type} | {name: value for name, value in options.items() if value not in (None, ())}
    return f'{json.dumps(fields)[:-1]}, "payload": {payload}}}'


# -- look -----------------------------------------------------------------------------------------------------------


@click.command()
@job_id
@click.option("--attempts", is_flag=True, help="With each attempt's traceback and log; takes a key with scope admin.")
@json_flag
@asks_server
def get(client: "Client", id: str, attempts: bool, as_json: bool) -> None:
    """Show a job: its status, steps and result."""
    answer = client.ask("GET", f"/jobs/{id}", params={"include": "attempts"} if attempts else None)
    _show(answer, as_json, "\n".join([*plain.job_lines(answer.value), *plain.attempt_lines(answer.value)]))


@click.command()
@job_id
@click.option("--after", metavar="NUMBER", type=click.IntRange(0), default=0, help="Begin after this event.")
@json_flag
@asks_server
def watch(client: "Client", id: str, after: int, as_json: bool) -> None:
    """Follow a job to its end: live on a terminal, a line for each event in a pipe.

    It goes on when the server is restarted. Ctrl-C stops watching, not the job.
    """
    from outlast.cli.watching import follow

    follow(client, client.ask("GET", f"/jobs/{id}").value, after, as_json=as_json)


@click.command(name="list")
@click.option("--status", metavar="STATUS", help="One or more, parted by commas: failed,cancelled.")
@click.option("--type", metavar="TYPE", help="Jobs of one type.")
@click.option("--limit", metavar="N", type=click.IntRange(1, 200), default=50, show_default=True, help="At most 200.")
@click.option("--cursor", metavar="CURSOR", help="Go on where a list with the same filters ended.")
@json_flag
@asks_server
def list_(client: "Client", as_json: bool, **filters: Any) -> None:
    """List jobs, newest first."""
    asked = {name: value for name, value in filters.items() if value is not None}
    answer = client.ask("GET", "/jobs", params=asked)
    if as_json:
        click.echo(wire(answer.text))
        return
    for line in plain.table(answer.value["data"]):
        click.echo(line)
    if answer.value["hasMore"]:
        click.echo(f"More: --cursor {safe(answer.value['nextCursor'])}", err=True)


# -- steer ----------------------------------------------------------------------------------------------------------


@click.command()
@job_id_or_none
@click.option("--reason", metavar="TEXT", help="Kept with the job.")
@json_flag
@asks_server
@one_or_many("cancel", "reason")
def cancel(client: "Client", id: str, reason: str | None, as_json: bool) -> None:
    """Ask for a job's end; one that has ended stays as it is.

    For many, by a filter instead of an ID, it takes a key of an operator (scope admin).
    """
    body = json.dumps({} if reason is None else {"reason": reason})
    answer = client.ask("POST", f"/jobs/{id}/cancel", body=body)
    status = safe(answer.value["status"])
    asked = ", cancel asked for" if status == "processing" else ""
    _show(answer, as_json, f"{id} {status}{asked}")


@click.command()
@job_id_or_none
@click.option("--from-start", is_flag=True, help="Without the finished steps.")
@click.option("--force", is_flag=True, help="A completed job too.")
@json_flag
@asks_server
@one_or_many("retry", "from_start")
def retry(client: "Client", id: str, from_start: bool, force: bool, as_json: bool) -> None:
    """Run a failed or cancelled job again, as a new job, and print its id.

    Steps that had finished are not run again. For many, by a filter instead of an ID, it takes a key of an operator
    (scope admin); jobs that were retried like this within 24 h are skipped.
    """
    body = json.dumps({"from": "start" if from_start else "checkpoint"})
    params = {"force": "true"} if force else None
    answer = client.ask("POST", f"/jobs/{id}/retry", params=params, body=body)
    _show(answer, as_json, safe(answer.value["id"]))


@click.command()
@job_id_or_none
@json_flag
@asks_server
@one_or_many("delete")
def delete(client: "Client", id: str, as_json: bool) -> None:
    """Remove an ended job with all that belongs to it.

    For many, by a filter instead of an ID, it takes a key of an operator (scope admin).
    """
    client.ask("DELETE", f"/jobs/{id}")


def _show(answer: "Answer", as_json: bool, said: str) -> None:
    click.echo(wire(answer.text) if as_json else said)
