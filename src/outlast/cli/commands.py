"""The list of commands, and how one ends."""

import io
import os
import sys
from typing import Any

import click

from outlast.cli import exits
from outlast.cli.database import db
from outlast.cli.jobs import cancel, delete, get, list_, retry, submit, watch
from outlast.cli.key import key
from outlast.cli.serving import serve, worker
from outlast.cli.upkeep import doctor, sweep


class Commands(click.Group):
    """All commands, in the order of the help; what goes wrong in one of them leaves as an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with exits.translated():  # --help and --version print here
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with exits.translated():
            return super().invoke(ctx)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="outlast", message="outlast %(version)s")
def commands() -> None:
    """AI jobs that outlast the request.

    Exit codes: 0 done, 1 the job failed or was cancelled, 2 usage or configuration, 3 not reachable.
    """


for command in (serve, worker, submit, get, watch, list_, cancel, retry, delete, sweep, doctor, db, key):
    commands.add_command(command)


def run() -> int:
    """The command that the process was started with; answers its exit code."""
    code = _run()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # What is still to be written goes nowhere, or the interpreter complains of it as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _run() -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return int(commands.main(prog_name="outlast", standalone_mode=False) or exits.DONE)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return exits.INTERRUPTED
