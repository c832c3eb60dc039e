"""docs/http.md: its examples are run, its tables are held against the code."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

import outlast
from outlast.job import EndCode
from outlast.push import QStash
from outlast.web.api import JOBS
from outlast.web.problems import CODES
from outlast.web.push import push_routes
from outlast.web.schemas import JOB
from outlast.web.service import SERVICE, service
from tests.web.ground import SECRET, client, frames

PAGE = (Path(__file__).parent.parent.parent / "docs" / "http.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """What stands in backquotes in the first cell of each row of a section's tables."""
    cells = re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


@dataclass(frozen=True)
class Example:
    """A request and the reply it is to get."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    status: int
    reply_headers: dict[str, str]
    reply: str


def example(block: str) -> Example:
    asked, status, answered = re.split(r"^HTTP/1\.1 (\d+)\n", block, flags=re.MULTILINE)
    line, _, rest = asked.partition("\n")
    method, path = line.split(" ")
    headers, body = parted(rest)
    reply_headers, reply = parted(answered)
    return Example(method, path, headers, body, int(status), reply_headers, reply)


def parted(text: str) -> tuple[dict[str, str], str]:
    head, _, body = text.partition("\n\n") if not text.startswith("\n") else ("", "", text)
    return dict(line.split(": ", 1) for line in head.splitlines()), body.strip()


async def test_the_examples_are_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_STORE", "memory://")
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)
    monkeypatch.setenv("OUTLAST_PUSH", "cron:")
    monkeypatch.setenv("CRON_SECRET", "the-secret-of-this-page")
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)
    app = names["app"]
    known: dict[str, str] = {}
    async with app.lifespan(), client(service(app)) as http:
        for shown in map(example, blocks("http")):
            await run(http, shown, known)
    assert set(known) == {"job_A", "job_B", "job_C", "job_G"}


async def run(http: httpx2.AsyncClient, shown: Example, known: dict[str, str]) -> None:
    def real(text: str) -> str:
        return re.sub(r"job_[A-Z]\b", lambda found: known.get(found[0], found[0]), text)

    body = real(shown.body) or None
    reply = await http.request(shown.method, real(shown.path), headers=shown.headers, content=body)
    assert reply.status_code == shown.status, (shown, reply.text)
    if reply.headers.get("content-type", "").endswith("json") and shown.reply:
        compare(json.loads(shown.reply), reply.json(), known)
    elif reply.headers.get("content-type", "").startswith("text/event-stream"):
        await compare_frames(shown.reply, reply.text, known)
    else:
        assert reply.text == shown.reply
    for name, value in shown.reply_headers.items():
        assert reply.headers[name] == real(value), name


def compare(shown: Any, real: Any, known: dict[str, str]) -> None:
    """What is shown is there; more may be. A job's made-up name stands for one id throughout, a time for any."""
    if isinstance(shown, dict):
        wanted = {known.get(name, name): value for name, value in shown.items()}
        assert wanted.keys() <= real.keys()
        for name, value in wanted.items():
            compare(value, real[name], known)
    elif isinstance(shown, list):
        assert len(shown) == len(real)
        for one, other in zip(shown, real, strict=True):
            compare(one, other, known)
    elif isinstance(shown, str) and re.fullmatch(r"job_[A-Z]", shown):
        assert known.setdefault(shown, real) == real
    elif isinstance(shown, str) and re.fullmatch(r"\d{4}-.*Z", shown):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", real)
    elif isinstance(shown, str) and shown.endswith("..."):
        assert real.startswith(shown.removesuffix("..."))
    elif isinstance(shown, str) and shown.startswith("/jobs/job_"):
        assert real == re.sub(r"job_[A-Z]", lambda found: known[found[0]], shown)
    else:
        assert shown == real


async def compare_frames(shown: str, real: str, known: dict[str, str]) -> None:
    assert shown.splitlines()[0] == real.splitlines()[0] == "retry: 2000"
    happened = [one async for one in frames(lines(real))]
    async for wanted in frames(lines(shown + "\n\n")):
        one = next(one for one in happened if one.event == wanted.event)
        assert wanted.id in (None, one.id)
        compare(wanted.data, one.data, known)


async def lines(text: str) -> AsyncIterator[str]:
    for line in text.split("\n"):
        yield line


def test_every_route_has_its_section_and_no_other() -> None:
    headings = set(re.findall(r"^### ([A-Z]+ /\S*)$", PAGE, re.MULTILINE))
    push = push_routes(QStash("https://shop.example", token="t", keys=["k"]), "/push")
    beside = {f"{route.method} {route.path}".replace("/qstash", "/{name}") for route in (*SERVICE, *push)}
    assert headings == {f"{route.method} /jobs{route.path}" for route in JOBS} | beside


def test_every_route_names_its_scope() -> None:
    for route in JOBS:
        told = PAGE.split(f"\n### {route.method} /jobs{route.path}\n")[1].split("\n### ")[0]
        assert f"Scope `{route.scope}`" in told


def test_every_code_is_told_once_with_its_status() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| [^|]+\|$", section("Errors"), re.MULTILINE)
    assert [(code, int(status)) for code, status in rows] == [(code, status) for code, (status, _) in CODES.items()]


def test_every_event_is_told_once() -> None:
    said = re.compile(r'"((?:job|stream)\.[a-z_.]+[a-z])"')
    source = Path(outlast.__file__).parent
    code = [
        path.read_text() for path in source.rglob("*.py") if path.name != "observe.py" and "testing" not in path.parts
    ]
    made = {name for text in code for name in said.findall(text)} - {"job.submitted"}
    told = first_cells(section("Events"))
    assert sorted(told) == sorted(set(told)) == sorted(made)


def test_every_field_of_a_job_is_told_once() -> None:
    told = first_cells(section("A job"))
    assert sorted(told) == sorted(JOB["properties"])


def test_every_end_code_is_told() -> None:
    assert all(f"`{code}`" in section("A job") for code in EndCode.__args__)  # type: ignore[attr-defined]
