"""README and docs: snippets are run, printed output is compared, links and names are looked up.

How a page says what a test does with it; nobody who reads the page sees it:

    ```python     first line `# name.py`: a file, which the page's later commands find; it is imported
    ```toml       first line `# name.toml`: a file
    ```console    `$ command` and what it prints, run in the order of the page. A line `...` stands for any lines
    ```sh         commands that are only looked up: the command and its options exist
    <!-- run: before `word`, once condition -->   a command that begins with the word waits until the newest job is so
    <!-- run: meanwhile -->                       the command goes on while the page does, and ends with it

A page has a folder, a store and a port of its own, and sleeps a tenth as long. Ids, times, paths, ports and versions
differ from run to run: they are masked on both sides. `kill` stops the page's own server and nothing else.
"""

import ast
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

import click
import httpx2
import pytest

from outlast import Context, Outlast
from outlast.cli.commands import commands
from outlast.handler import Options
from tests.ports import free_port
from tests.test_house import depth, line_of

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "outlast"
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
DOCS = ("quickstart", "frameworks", "testing", "operating", "guarantees", "architecture")
OURS = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in DOCS)]
RUN = [
    ROOT / "README.md",
    ROOT / "docs" / "quickstart.md",
    ROOT / "docs" / "operating.md",
    ROOT / "docs" / "testing.md",
    ROOT / "docs" / "own-store.md",
    ROOT / "docs" / "serverless.md",
]
PATH = [ROOT / "docs" / f"{name}.md" for name in ("index", "quickstart", "guarantees", "architecture")]

by_name: Callable[[Path], str] = lambda page: page.name  # noqa: E731  # an `ids=` of pytest
each_page = pytest.mark.parametrize("page", PAGES, ids=by_name)


class Block(NamedTuple):
    """A fenced block, and what the comment above it says of its run."""

    language: str
    text: str
    run: str


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"(?:^<!-- run: (.*?) -->\n)?^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    return [Block(language, text, run) for run, language, text in found]


# ---- snippets -----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="only on Windows: there is no bash")
@pytest.mark.parametrize("page", RUN, ids=by_name)
def test_what_a_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.follow_page(page)


def test_no_page_has_a_snippet_that_no_test_runs() -> None:
    # The latter by test_frameworks.py, web/test_docs.py, webhooks/test_recipe.py and stores/test_postgres_joined.py.
    others = ("frameworks.md", "http.md", "webhooks.md", "stores/postgres.md")
    run = {*RUN, *(ROOT / "docs" / name for name in others)}
    shown = {page for page in PAGES for block in blocks(page) if block.language in ("python", "console")}
    assert {page.name for page in shown - run} == set()


class Session:
    """The terminals of somebody who follows a page."""

    def __init__(self, folder: Path, python: Path = Path(sys.executable)) -> None:
        self._folder = folder
        self._python = python
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}"
        self._env = os.environ | {"OUTLAST_URL": self._url, "OUTLAST_STORE": "", "OUTLAST_KEYS": "", "TERM": "dumb"}
        self._env["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        self._server: subprocess.Popen[bytes] | None = None
        self._meanwhile: subprocess.Popen[str] | None = None
        self._log = folder / "of_the_server"
        self._ids: dict[str, str] = {}

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, error: object, *rest: object) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        if self._meanwhile is not None:
            if error is not None:
                self._meanwhile.kill()
            printed, _ = self._meanwhile.communicate()
            if error is None:
                self._judge_watch(printed)

    def follow_page(self, page: Path) -> None:
        for block in blocks(page):
            if block.language in ("python", "toml"):
                self.save(block.text)
            elif block.language == "console":
                self.follow(block)

    def save(self, snippet: str) -> None:
        named = re.match(r"# ([\w.]+\.(?:py|toml))\n", snippet)
        assert named, f"a snippet of a page that is run begins with its name, `# name.py`:\n{snippet}"
        faster = re.sub(r"asyncio\.sleep\((\d+)\)", lambda found: f"asyncio.sleep({int(found[1]) / 10})", snippet)
        (self._folder / named[1]).write_text(faster, "utf-8")
        if named[1].endswith(".py"):
            command = [str(self._python), "-W", "error", "-c", f"import {named[1].removesuffix('.py')}"]
            subprocess.run(command, cwd=self._folder, env=self._env, check=True)

    def follow(self, block: Block) -> None:
        for command, shown in commands_of(block.text):
            condition = re.fullmatch(r"before `(\w+)`, once (.*)", block.run)
            if condition and command.startswith(condition[1]):
                self._await(condition[2])
            self._do(command, shown, meanwhile=block.run == "meanwhile")

    def _do(self, command: str, shown: str, *, meanwhile: bool) -> None:
        if command.startswith("outlast serve"):
            self._serve(command, shown)
        elif command.startswith("kill"):
            self._stop(signal.SIGKILL if "-9" in command else signal.SIGTERM)
        elif meanwhile:
            self._meanwhile = self._start(command)
            self._await("True")
            self._ids |= zip(ids(shown), [job["id"] for job in self._newest()], strict=True)
        else:
            running = self._start(command)
            printed, said = running.communicate(timeout=60)
            assert running.returncode == 0, f"$ {command}\n{printed}{said}"
            self._compare(command, shown, printed)

    def _start(self, command: str) -> "subprocess.Popen[str]":
        for of_the_page, real in self._ids.items():
            command = command.replace(of_the_page, real)
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(["bash", "-c", command], cwd=self._folder, env=self._env, **pipes)

    # -- the server -------------------------------------------------------------------------------

    def _serve(self, command: str, shown: str) -> None:
        words = shlex.split(re.sub(r"\s+(2>.*|&)$", "", command))
        with self._log.open("wb") as log:
            arguments = [*words, "--port", str(self._port)]
            self._server = subprocess.Popen(arguments, cwd=self._folder, env=self._env, stdout=log, stderr=log)
        wanted = [line for line in self._masked(shown).splitlines() if line != "..."] or ["T INFO serving URL"]
        until(lambda: set(wanted) <= set(self._masked(self._log.read_text()).splitlines()), f"the server says {wanted}")

    def _stop(self, by: signal.Signals) -> None:
        assert self._server is not None
        self._server.send_signal(by)
        assert self._server.wait(30) == (-by if by == signal.SIGKILL else 0)
        self._server = None

    def _await(self, condition: str) -> None:
        until(lambda: any(eval(condition, dict(job)) for job in self._newest()), f"the newest job is: {condition}")

    def _newest(self) -> list[Mapping[str, Any]]:
        # Without certificates: to load them takes longer than to ask, and the server is to get on meanwhile.
        with httpx2.Client(base_url=self._url, trust_env=False, verify=False) as http:
            found = http.get("/jobs", params={"limit": "1"}).json()["data"]
            return [http.get(job["urls"]["self"]).json() for job in found]

    # -- what is printed --------------------------------------------------------------------------

    def _compare(self, command: str, shown: str, printed: str) -> None:
        for of_the_page, real in zip(ids(shown), ids(printed), strict=False):
            self._ids.setdefault(of_the_page, real)
        expected, found = self._masked(shown), self._masked(printed)
        if "..." in expected.splitlines():
            # How many pieces a text came in is chance, and so are the numbers behind it.
            expected, found = (re.sub(r"^ *\d+  ", "", text, flags=re.M) for text in (expected, found))
        lines = [r"(?:.*\n)*?" if line == "...\n" else re.escape(line) for line in expected.splitlines(keepends=True)]
        assert re.fullmatch("".join(lines), found), f"$ {command}\nthe page shows:\n{expected}\nit prints:\n{found}"

    def _masked(self, text: str) -> str:
        for number, (of_the_page, real) in enumerate(self._ids.items()):
            text = text.replace(real, f"JOB{number}").replace(of_the_page, f"JOB{number}")
        return masked(text)

    def _judge_watch(self, printed: str) -> None:
        """Over a kill and a restart: every number once, in order, to the end."""
        assert self._meanwhile is not None and self._meanwhile.returncode == 0, printed
        numbers = [int(number) for number in re.findall(r"^ *(\d+)  \d{4}-", printed, re.M)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert re.search(r"output\.reset  text@0", printed) and printed.splitlines()[-1].split()[2] == "completed"


def commands_of(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, and what it is to print."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


MASKS = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z": "T",
    r"\bjob_[0-9A-Z]{29}\b": "JOB",
    r"\bworker_[0-9a-f]{16}\b": "WORKER",
    r"\b\d+\.\d s\b": "D",
    r"\bin \d+\.\d\ds\b": "in D",
    r"sqlite:////\S+/": "sqlite:////",
    r"\(sqlite [\d.]+\)": "(sqlite)",
    r"http://127\.0\.0\.1:\d+": "URL",
}


def masked(text: str) -> str:
    for what, mask in MASKS.items():
        text = re.sub(what, mask, text)
    return text


def ids(text: str) -> list[str]:
    return re.findall(r"\bjob_[0-9A-Z]{29}\b", text)


def until(condition: Callable[[], bool], description: str) -> None:
    end = monotonic() + 30
    while not condition():
        assert monotonic() < end, f"it did not come about that {description}"
        sleep(0.01)


# ---- commands that are shown and not run --------------------------------------------------------


@pytest.mark.parametrize("page", OURS, ids=by_name)
def test_every_command_that_is_shown_exists_with_its_options(page: Path) -> None:
    shown = [line for block in blocks(page) if block.language == "sh" for line in block.text.splitlines()]
    shown += re.findall(r"`((?:outlast|\./dev) [^`]+)`", page.read_text("utf-8"))
    for command in shown:
        program, *words = shlex.split(command)
        assert program in KNOWN, f"{page.name}: no test knows how to look up `{command}`"
        assert KNOWN[program](words), f"{page.name}: `{command}` is not what there is"


def is_outlast(words: list[str]) -> bool:
    if words[0] == "--version":
        return True
    command = commands.commands[words[0]]
    # As within the group, for a command keeps the help option that it makes first.
    parser = command.make_parser(click.Context(command, parent=click.Context(commands, **commands.context_settings)))
    parser.parse_args(args=list(words[1:]))  # raises at an option that is not there
    return True


def is_dev(words: list[str]) -> bool:
    return re.search(rf"^    {words[0]}\) ", (ROOT / "dev").read_text(), re.M) is not None


def is_install(words: list[str]) -> bool:
    project = (ROOT / "pyproject.toml").read_text()
    extra = re.fullmatch(r"\.(?:\[(\w+)\])?", words[-1])
    if extra is None:
        return words[0] == "install" and all(f'\n    "{name}>=' in project for name in words[1:])
    return words[0] == "install" and (not extra[1] or f"\n{extra[1]} = [" in project)


def is_served(words: list[str]) -> bool:
    module, _, name = words[0].partition(":")
    shown = [block.text for page in OURS for block in blocks(page) if block.text.startswith(f"# {module}.py\n")]
    return any(f"\n{name} = " in text for text in shown)


KNOWN = {"outlast": is_outlast, "./dev": is_dev, "pip": is_install, "uvicorn": is_served}


# ---- links and names ----------------------------------------------------------------------------


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", without_blocks(page)):
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{page.name}: {target} leads nowhere"
        assert not anchor or anchor in anchors(there), f"{page.name}: {target}: {there.name} has no such heading"


def without_blocks(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", without_blocks(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(("page", "following"), list(pairwise(PATH)))
def test_each_page_of_the_path_ends_at_the_next(page: Path, following: Path) -> None:
    last = page.read_text("utf-8").splitlines()[-1]
    assert last.startswith("Next: [") and f"]({following.name})" in last


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f"]({page})" not in index] == ["index.md"]


def test_every_test_that_a_page_names_is_there() -> None:
    named = [name for page in OURS for name in re.findall(r"`([\w/]+\.py)::(\w+)`", page.read_text("utf-8"))]
    assert len(named) > 30
    assert [f"{file}::{name}" for file, name in named if name not in functions_of(file)] == []


def functions_of(file: str) -> set[str]:
    path = ROOT / file
    nodes = ast.walk(ast.parse(path.read_text("utf-8"))) if path.exists() else ()
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_architecture_names_every_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    files = [path.relative_to(SOURCE).as_posix() for path in sorted(SOURCE.rglob("*.py"))]
    missing = [file for file in files if f"`{file}`" not in page]
    assert missing == [], "docs/architecture.md has a line for each module, and none for these"
    named = re.findall(r"^\| `([\w/]+\.(?:py|sql))` \|", page, re.M)
    assert [name for name in named if not (SOURCE / name).exists()] == [], "it names modules that are gone"


def test_the_architecture_lists_modules_so_that_each_imports_only_from_above() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    listed = re.findall(r"^\| `([\w/]+)\.py` \|", page, re.M)
    places = [(depth(line_of(file)), file) for file in listed]
    assert [after for before, after in pairwise(places) if after[0] < before[0]] == []


def test_the_words_of_the_glossary_are_each_explained_once() -> None:
    glossary = (ROOT / "docs" / "index.md").read_text("utf-8").split("\n## Glossary\n")[1]
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", glossary, re.M)
    assert words == sorted(set(words), key=words.index)
    assert {"job", "handler", "attempt", "slice", "lease", "turn", "step", "event", "store", "worker"} <= set(words)


def test_the_quickstart_names_every_option_of_a_submit_and_verbs_that_exist() -> None:
    page = (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    assert [name for name in Options.__annotations__ if f"`{name}`" not in page] == []
    assert [name for name in re.findall(r"`(?:await )?app\.(\w+)", page) if not hasattr(Outlast, name)] == []
    assert [name for name in re.findall(r"`(?:await )?ctx\.(\w+)", page) if not hasattr(Context, name)] == []


def test_the_readme_begins_with_code() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert lines.index("```python") < 15
    assert lines.index("```console") < 45


def test_nothing_names_a_package_index_or_somebodys_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(?:Users|root|work|tmp)/|index-url|pypi\.org", page.read_text("utf-8")), page.name


@each_page
def test_no_page_kills_by_name(page: Path) -> None:
    assert not re.search(r"\b(pkill|killall)\b", page.read_text("utf-8")), (
        "it may be somebody else's: kill by job or id"
    )


def test_every_command_of_dev_is_in_its_usage_and_runs_what_is_there() -> None:
    dev = (ROOT / "dev").read_text("utf-8")
    known = re.findall(r"^    (\w+)\) ", dev.split("case $command in")[1], re.M)
    assert re.findall(r"^\./dev (\w+)", dev, re.M) == [*known, "help"]
    modules = re.findall(r"python -m ([\w.]+) ", dev)
    assert [name for name in modules if find_spec(name) is None] == []


def test_the_changelog_has_the_version_that_is_installed_or_unreleased() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## (.*)$", changelog, re.M)[0] == "[Unreleased]"
    kinds = re.findall(r"^### (.*)$", changelog, re.M)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
