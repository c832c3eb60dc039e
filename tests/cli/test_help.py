"""Every command and every option says what it is for, on the terminal and in docs/cli.md."""

import re

import click
import pytest

from outlast.cli import env, exits
from tests.cli.help_in_docs import BLOCK, PAGE, all_commands, with_help

ALL = sorted(all_commands())


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_has_help(name: str) -> None:
    command = all_commands()[name]
    assert command.help
    assert command.get_short_help_str(100).endswith((".", "!"))
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_page_shows_the_help_of_every_command_as_it_is() -> None:
    page = PAGE.read_text("utf-8")
    assert sorted(filter(None, BLOCK.findall(page))) == sorted(ALL)
    assert page == with_help(page), "write it anew: python -m tests.cli.help_in_docs"


def test_the_page_names_every_exit_code_and_every_variable() -> None:
    page = PAGE.read_text("utf-8")
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert codes == {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert set(env.KNOWN) <= set(re.findall(r"OUTLAST_[A-Z_]+", page))
