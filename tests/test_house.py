"""The house of design: which file may import which, what `import outlast` costs, and how long code may be.

Every test goes by one of the tables below. A new file or library is one line in a table, put there on purpose.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "outlast"

# A file imports only what stands on its own line or above. `*` covers the private helpers of one part.
HOUSE = (
    "notation",
    "report",
    "ends",
    "job",
    "policy",
    "errors",
    "tries",
    "window",
    "lifecycle",
    "calling",
    "outcome",
    "codec",
    "output",
    "attempts",
    "metrics",
    "observe",
    "stores/base",
    "stores/default",
    "principal",
    "stores/batching",
    "stores/server_clock",
    "stores/rows",
    "stores/sheet",
    "stores/memory",
    "stores/sqlite*",
    "stores/postgres*",
    "stores/redis*",
    "stores/mongo*",
    "stores/__init__",
    "calls",
    "activity",
    "attachments",
    "alarms",
    "hooks",
    "secret",
    "signing",
    "callback",
    "posting",
    "deliveries",
    "lanes",
    "webhooks",
    "push/base",
    "push/*",
    "words",
    "tracing",
    "recorder",
    "replay",
    "steps",
    "context",
    "capture",
    "blocking",
    "handler",
    "follow",
    "feed",
    "runtime",
    "attempt",
    "presence",
    "totals",
    "unused",
    "sweep",
    "renewer",
    "worker",
    "slices",
    "submission",
    "estimates",
    "bulk",
    "copying",
    "tokens",
    "notices",
    "opened",
    "registry",
    "verbs",
    "workerless",
    "aside",
    "app",
    "answering",
    "client",
    "__init__",
    "web/*",
    "aws",
    "cli/*",
    "__main__",
    "testing/*",
)

PURE = (
    "notation",
    "report",
    "ends",
    "job",
    "errors",
    "tries",
    "window",
    "policy",
    "lifecycle",
    "calling",
    "outcome",
    "output",
    "attempts",
)
NOT_PURE = {"asyncio", "os", "socket", "subprocess", "threading", "time"}

ENGINES = ("stores/memory", "stores/sqlite*", "stores/postgres*", "stores/redis*", "stores/mongo*")

# Lines that stand apart although one is above the other.
KEPT_APART = {(engine, other) for engine in ENGINES for other in ENGINES if engine != other} | {
    ("web/*", line) for line in HOUSE if line.startswith("stores/")
}

# The one door that opens upward: an application mounts its own web layer when it is asked to.
DOORS = {("app", "web/*"): {"Outlast.mount", "Outlast.asgi", "Outlast.dashboard", "Outlast.router"}}

# A library is imported only where it is at home, so that nobody pays for a driver or a server they do not use.
LIBRARIES = {
    "apsw": ("stores/sqlite*",),
    "botocore": ("push/sqs",),
    "click": ("cli/*",),
    "fastapi": ("web/fastapi",),
    "opentelemetry": ("tracing",),
    "httpx2": ("posting", "client", "cli/*", "testing/*"),
    "mangum": ("aws",),
    "psycopg": ("stores/postgres*",),
    "pydantic": ("*",),
    "pydantic_core": ("*",),
    "pymongo": ("stores/mongo*",),
    "pytest": ("testing/*",),
    "redis": ("stores/redis*", "stores/__init__"),
    "rich": ("cli/*",),
    "starlette": ("web/*",),
    "typing_extensions": ("*",),
    "uvicorn": ("web/*",),
}

# What a serverless function must not pay for at each cold start.
NOT_AT_IMPORT = {"anyio", "apsw", "click", "httpx", "httpx2", "psycopg", "pymongo", "redis", "rich", "starlette"}
NOT_AT_IMPORT |= {"boto3", "botocore", "fastapi", "mangum", "opentelemetry", "pydantic", "requests", "uvicorn"}
NOT_AT_IMPORT |= {"websockets"}
IMPORT_SECONDS = 0.150
NOT_IN_A_FUNCTION = {f"outlast.web.{name}" for name in ("api", "jobs", "openapi", "schemas", "sockets", "streams")}

SHORT_FUNCTION, SHORT_SHARE = 20, 0.90
LONGEST_FUNCTION = 60
LONGEST_FILE = 400


class Import(NamedTuple):
    """One import statement's target, and the function it stands in ('' at the top of a file)."""

    target: str
    function: str
    line: int


FILES = {path.relative_to(SOURCE).with_suffix("").as_posix(): path for path in sorted(SOURCE.rglob("*.py"))}
each_file = pytest.mark.parametrize("file", FILES)


# ---- which file may import which ----------------------------------------------------------------


@each_file
def test_a_file_has_its_place_in_the_house(file: str) -> None:
    assert line_of(file), (
        f"src/outlast/{file}.py is not in HOUSE. Add its name in tests/test_house.py below the last file that it "
        "imports and above the first that imports it. Does that place feel wrong? Then so does the file."
    )


@each_file
def test_a_file_imports_only_what_stands_above_it(file: str) -> None:
    wrong = {
        f"src/outlast/{file}.py:{found.line} imports {found.target}"
        for found in imports_of(file)
        if found.target in FILES and not may_import(file, found)
    }
    assert not wrong, "\n".join(
        [*sorted(wrong), "A file imports only what stands above it in HOUSE (tests/test_house.py)."]
    )


@each_file
def test_a_library_is_imported_only_where_it_is_at_home(file: str) -> None:
    wrong = {
        f"src/outlast/{file}.py:{found.line} imports {found.target}"
        for found in imports_of(file)
        if found.target not in FILES and not is_at_home(library(found), file)
    }
    assert not wrong, "\n".join(
        [*sorted(wrong), "LIBRARIES in tests/test_house.py says which library is at home where."]
    )


@pytest.mark.parametrize("file", [file for file in PURE if file in FILES])
def test_the_deciding_files_have_no_clock_and_no_io(file: str) -> None:
    assert not {library(found) for found in imports_of(file)} & NOT_PURE
    assert not {"datetime.now", "datetime.utcnow", "date.today", "open"} & set(calls_of(file))


def test_the_house_lists_no_file_that_is_gone() -> None:
    assert [line for line in HOUSE if not any(fnmatch(file, line) for file in FILES)] == []


def may_import(file: str, found: Import) -> bool:
    here, there = line_of(file), line_of(found.target)
    if found.function in DOORS.get((here, there), ()):
        return True
    return depth(there) <= depth(here) and (here, there) not in KEPT_APART


def is_at_home(name: str, file: str) -> bool:
    return name in sys.stdlib_module_names or any(fnmatch(file, home) for home in LIBRARIES.get(name, ()))


def line_of(file: str) -> str:
    return next((line for line in HOUSE if fnmatch(file, line)), "")


def depth(line: str) -> int:
    """How far down a line stands; a file without one stands below all others."""
    return HOUSE.index(line) if line else len(HOUSE)


def library(found: Import) -> str:
    return found.target.partition("/")[0]


# ---- what importing costs -----------------------------------------------------------------------


def test_importing_outlast_loads_no_driver_no_server_and_no_client() -> None:
    loaded = run_python("import sys, outlast; print(*{name.partition('.')[0] for name in sys.modules})").split()
    assert "outlast" in loaded
    assert not NOT_AT_IMPORT & set(loaded)


def test_importing_outlast_is_cheap_enough_for_a_cold_start() -> None:
    assert cpu_seconds("import outlast") - cpu_seconds("pass") <= IMPORT_SECONDS


def test_a_function_loads_nothing_of_what_only_requests_for_jobs_need() -> None:
    """The smallest one of the bench, which has answered a request."""
    code = "from bench.serverless_start import asked; from bench.serverless_calls import HEALTH; import asyncio, sys; "
    code += "from bench.serverless_function import api; asyncio.run(asked(api, HEALTH)); print(*sys.modules)"
    loaded = set(run_python(code).split())
    assert "outlast.web.push" in loaded
    assert not NOT_IN_A_FUNCTION & loaded


def cpu_seconds(code: str) -> float:
    return min(float(run_python(f"{code}; import time; print(time.process_time())")) for _ in range(10))


def run_python(code: str) -> str:
    """With bytecode, which pip makes as it installs, whatever the machine is set to."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env).stdout


# ---- how long code may be; docstrings are free --------------------------------------------------


def test_nine_functions_in_ten_fit_in_twenty_lines() -> None:
    lengths = dict(function_lengths())
    long = [f"{name}: {length}" for name, length in lengths.items() if length > SHORT_FUNCTION]
    assert len(long) <= (1 - SHORT_SHARE) * len(lengths), "\n".join(
        [f"{len(long)} of {len(lengths)} are longer:", *long]
    )


def test_no_function_is_longer_than_sixty_lines() -> None:
    assert [f"{name}: {length}" for name, length in function_lengths() if length > LONGEST_FUNCTION] == []


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    assert [f"src/outlast/{file}.py: {length}" for file, length in file_lengths() if length > LONGEST_FILE] == []


def file_lengths() -> Iterator[tuple[str, int]]:
    for file, path in FILES.items():
        docstrings = sum(docstring_lines(node) for node in ast.walk(tree_of(file)))
        yield file, len(path.read_text(encoding="utf-8").splitlines()) - docstrings


def function_lengths() -> Iterator[tuple[str, int]]:
    for file in FILES:
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
                yield f"src/outlast/{file}.py:{node.lineno} {node.name}", length


def docstring_lines(node: ast.AST) -> int:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
        return (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    return 0


# ---- reading the source -------------------------------------------------------------------------


def tree_of(file: str) -> ast.Module:
    return ast.parse(FILES[file].read_text(encoding="utf-8"))


def calls_of(file: str) -> list[str]:
    return [ast.unparse(node.func) for node in ast.walk(tree_of(file)) if isinstance(node, ast.Call)]


def imports_of(file: str) -> Iterator[Import]:
    yield from imports_below(tree_of(file), function="")


def imports_below(node: ast.AST, function: str) -> Iterator[Import]:
    for child in statements_of(node):
        if isinstance(child, ast.Import):
            yield from (Import(target_of(alias.name), function, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            names = (f"{child.module}.{alias.name}" for alias in child.names)
            yield from (Import(target_of(name), function, child.lineno) for name in names)
        elif isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports_below(child, f"{function}.{child.name}".strip("."))
        else:
            yield from imports_below(child, function)


def statements_of(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below; of an `if TYPE_CHECKING:` only its else, for types may be named both ways."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
        yield from node.orelse
    else:
        yield from ast.iter_child_nodes(node)


def target_of(name: str) -> str:
    """`outlast.stores.base.Store` is the file `stores/base`; what is no file of ours stays a name: `asyncio/sleep`."""
    path = name.replace(".", "/").removeprefix("outlast/")
    parents = [path.rsplit("/", cut)[0] for cut in range(path.count("/") + 1)]
    files = [file for parent in parents for file in (parent, f"{parent}/__init__") if file in FILES]
    if name.partition(".")[0] != "outlast":
        return path
    return files[0] if files else "__init__"
