"""What is wrong with a setting is said at the start, with exit code 2, the cause and the way out; never a traceback."""

import os

import pytest

from tests.cli.ground import APP, Place

pytestmark = pytest.mark.usefixtures("imports")


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("jobs.db", ["no scheme", "sqlite:///relative/path.db"]),
        ("sqllite:///jobs.db", ["'sqllite'", "sqlite:///relative/path.db"]),
        ("postgresql://ada:p@ss@host/db", ["postgresql"]),
        ("sqlite://ada:p@ss@host/db", ["names a host", "ada:***@", "%40"]),
        ("sqlite:///", ["names no file", "memory://"]),
        ("sqlite:///folder", ["is a folder", "name a file in it"]),
        ("sqlite:///missing/jobs.db", ["missing does not exist", "create it"]),
        ("sqlite:///text.db", ["is not a SQLite database", "leaves it as it is"]),
        ("sqlite:///jobs.db?durability=off", ["durability=disk"]),
    ],
)
def test_a_store_that_cannot_be(place: Place, store: str, said: list[str]) -> None:
    (place.folder / "folder").mkdir()
    (place.folder / "text.db").write_text("no database at all\n" * 100)
    done = place.inside("worker", APP, "--burst", env={"OUTLAST_STORE": store})
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert all(word in done.stderr for word in said), done.stderr
    assert "p@ss" not in done.stderr
    assert (place.folder / "text.db").read_text().startswith("no database")


def test_a_store_that_is_read_only(place: Place) -> None:
    if os.getuid() == 0:
        store = "sqlite:////proc/jobs.db"  # where not even the administrator may write
    else:
        (place.folder / "closed").mkdir(mode=0o500)
        store = "sqlite:///closed/jobs.db"
    done = place.inside("worker", APP, "--burst", "--store", store)
    assert done.exit_code == 2
    assert "cannot be" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_of_a_newer_version(place: Place) -> None:
    import apsw

    assert place.inside("worker", APP, "--burst").exit_code == 0
    connection = apsw.Connection(str(place.folder / "jobs.db"))
    connection.pragma("user_version", 99)
    connection.close()
    for command in (["worker", APP], ["doctor", APP], ["sweep", APP]):
        done = place.inside(*command)
        assert done.exit_code == 2
        assert "schema 99" in done.stderr
        assert "upgrade outlast" in done.stderr


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (["serve", APP, "--port", "80x"], {}, ["--port", "80x"]),
        (["serve", APP, "--port", "65536"], {}, ["--port"]),
        (["worker", APP, "--concurrency", "0"], {}, ["--concurrency"]),
        (["serve", APP, "--port", "0"], {"OUTLAST_KEYS": "nonsense"}, ["OUTLAST_KEYS, entry 1"]),
        (["serve", APP, "--host", "192.0.2.1"], {"OUTLAST_KEYS": f"a:b:jobs:read:{'0' * 64}"}, ["--host"]),
        (["sweep"], {"OUTLAST_STORE": ""}, ["MODULE:APP, --store URL, or OUTLAST_STORE"]),
    ],
)
def test_an_option_that_cannot_be(place: Place, words: list[str], env: dict[str, str], said: list[str]) -> None:
    done = place.inside(*words, env=env)
    assert (done.exit_code, done.stdout) == (2, "")
    assert all(word in done.stderr for word in said), done.stderr
    assert "Traceback" not in done.stderr


BROKEN = {
    "raises": ("import json\n\ndef deep():\n    json.loads('{')\n\ndeep()\n", ["in deep", "JSONDecodeError"]),
    "syntax": ("def x(:\n    pass\n", ["SyntaxError", "syntax.py"]),
    "missing": ("import nothing_like_this\n", ["No module named 'nothing_like_this'", "missing.py"]),
    "leaves": ("import sys\nsys.exit('bye')\n", ["SystemExit: bye"]),
    "twice": (
        "from outlast import Context, Outlast\napp = Outlast()\n"
        "@app.handler(name='a')\nasync def one(ctx: Context) -> None: ...\n"
        "@app.handler(name='a')\nasync def two(ctx: Context) -> None: ...\n",
        ["registered twice", "twice.py", "line 5"],
    ),
    "hidden": (
        "from functools import wraps\nfrom outlast import Context, Outlast\napp = Outlast()\n"
        "def timed(fn):\n    return wraps(fn)(lambda *args, **kwargs: fn(*args, **kwargs))\n"
        "@app.handler\n@timed\nasync def plain(ctx: Context) -> None: ...\n",
        ["'plain' is an `async def` that a decorator hides"],
    ),
    "streaming": (
        "from outlast import Context, Outlast\napp = Outlast()\n"
        "@app.handler\nasync def stream(ctx: Context):\n    yield 1\n",
        ["'stream' yields; return the result"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_import_that_fails_shows_the_users_own_traceback(place: Place, name: str) -> None:
    source, said = BROKEN[name]
    (place.folder / f"{name}.py").write_text(source)
    done = place.inside("worker", f"{name}:app")
    assert done.exit_code == 2
    assert all(word in done.stderr for word in said), done.stderr
    assert "outlast/cli" not in done.stderr
    assert "importlib" not in done.stderr
    assert not (place.folder / "jobs.db").exists()
