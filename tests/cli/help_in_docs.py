"""The help of each command as docs/cli.md shows it. `python -m tests.cli.help_in_docs` writes it there anew."""

import re
from pathlib import Path

import click

from outlast.cli.commands import commands

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

BLOCK = re.compile(r"```text\n\$ outlast ?(.*?) ?--help\n.*?```", re.DOTALL)


def all_commands() -> dict[str, click.Command]:
    """Each by its words, those of groups among them."""
    found: dict[str, click.Command] = {}
    for name, command in commands.commands.items():
        found[name] = command
        if isinstance(command, click.Group):
            found |= {f"{name} {part}": one for part, one in command.commands.items()}
    return found


def help_of(name: str) -> str:
    """What `outlast NAME --help` prints where the terminal is wide enough."""
    group = click.Context(commands, info_name="outlast", terminal_width=100, **commands.context_settings)
    if not name:
        return commands.get_help(group)
    command: click.Command = commands
    for part in name.split():
        assert isinstance(command, click.Group)
        command = command.commands[part]
        group = click.Context(command, parent=group, info_name=part)
    return command.get_help(group)


def with_help(page: str) -> str:
    """The page with the help in its blocks as it now is."""
    return BLOCK.sub(lambda block: _block(block[1]), page)


def _block(name: str) -> str:
    return f"```text\n$ {' '.join(filter(None, ['outlast', name, '--help']))}\n{help_of(name)}\n```"


if __name__ == "__main__":
    PAGE.write_text(with_help(PAGE.read_text("utf-8")), "utf-8")
