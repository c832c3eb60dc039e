"""docs/frameworks.md: each recipe, as it stands on the page, under plain uvicorn and with two users."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from tests.ports import free_port
from tests.test_docs import ROOT, blocks, until

PAGE = ROOT / "docs" / "frameworks.md"

BY_HEADER = """
import json
print(json.dumps({name: {"X-User": name} for name in ("ann", "ben")}))
"""

BY_DJANGO = """
import json, os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
csrf, users = "c" * 32, {}
for name in ("ann", "ben"):
    client = Client()
    client.force_login(User.objects.create_user(name))
    session = client.cookies["sessionid"].value
    users[name] = {"Cookie": f"sessionid={session}; csrftoken={csrf}", "X-CSRFToken": csrf}
print(json.dumps(users))
"""

BY_FLASK = """
import json
from flask_site import site
users = {}
for name in ("ann", "ben"):
    client = site.test_client()
    with client.session_transaction() as session:
        session["user"] = name
    users[name] = {"Cookie": f"session={client.get_cookie('session').value}"}
print(json.dumps(users))
"""


class Recipe(NamedTuple):
    """What uvicorn is given, the views that submit, and what makes the headers of two users who are signed in."""

    served: str
    views: tuple[str, ...]
    sign_in: str


RECIPES = (
    Recipe("fastapi_site:api", ("/reports",), BY_HEADER),
    Recipe("fastapi_mounted:api", ("/reports",), BY_HEADER),
    Recipe("starlette_site:site", ("/reports",), BY_HEADER),
    Recipe("site_asgi:application", ("/reports", "/reports/blocking"), BY_DJANGO),
    Recipe("flask_site:service", ("/reports",), BY_FLASK),
)

each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.served.partition(":")[0])


@pytest.fixture
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page."""
    folder = tmp_path_factory.mktemp("page")
    for block in blocks(PAGE):
        if block.language == "python":
            (folder / block.text.splitlines()[0].removeprefix("# ")).write_text(block.text, "utf-8")
    return folder


def test_every_app_of_the_page_is_tried() -> None:
    shown = [word for block in blocks(PAGE) if block.language == "sh" for word in block.text.split() if ":" in word]
    assert {*shown, "fastapi_mounted:api"} == {recipe.served for recipe in RECIPES}


@each_recipe
def test_a_recipe_serves_two_users_who_do_not_see_each_other(recipe: Recipe, page: Path, tmp_path: Path) -> None:
    users = json.loads(run(page, tmp_path, "-c", recipe.sign_in))
    with served(recipe.served, page, tmp_path) as url, asking(url, users) as (ann, ben, nobody):
        for view in recipe.views:
            where = submitted(ann, view)
            assert followed(ann, where)[-1] == "job.completed"
            assert ann.get(where).json()["result"] == "All about tides"
            assert ben.get(where).status_code == 404
            assert ben.get(f"{where}/events").status_code == 404
        assert len(ann.get("/jobs").json()["data"]) == len(recipe.views)
        assert ben.get("/jobs").json()["data"] == []
        assert nobody.get("/jobs").json()["code"] == "unauthenticated"
        assert nobody.post(recipe.views[0]).status_code in (401, 403)
        assert ann.post("/jobs", json={"type": "report", "payload": {"topic": "the moon"}}).status_code == 202


@contextmanager
def asking(url: str, users: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[httpx2.Client, ...]]:
    """Clients of ann, of ben, and of somebody who is not signed in."""
    with ExitStack() as clients:
        yield tuple(
            clients.enter_context(httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=30))
            for headers in (users["ann"], users["ben"], {})
        )


def submitted(user: httpx2.Client, view: str) -> str:
    """Where the job is that a view of the site has submitted."""
    reply = user.post(view)
    assert reply.status_code == 202, reply.text
    assert reply.headers["location"] == f"/jobs/{reply.json()['id']}"
    return reply.headers["location"]


def followed(user: httpx2.Client, where: str) -> list[str]:
    """The events of a job, as a stream tells them while it runs."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "0"}
    with user.stream("GET", f"{where}/events", headers=headers) as reply:
        events = [line.removeprefix("event: ") for line in reply.iter_lines() if line.startswith("event: ")]
    assert "job.progress" in events
    return events


def test_the_routers_routes_are_in_the_sites_own_docs(page: Path, tmp_path: Path) -> None:
    code = "import json; from fastapi_site import api; print(json.dumps(api.openapi()))"
    paths = json.loads(run(page, tmp_path, "-c", code))["paths"]
    assert {"/reports", "/jobs", "/jobs/{id}", "/jobs/{id}/events"} <= paths.keys()


def test_flask_alone_submits_and_looks_up_while_a_worker_works_elsewhere(page: Path, tmp_path: Path) -> None:
    users = json.loads(run(page, tmp_path, "-c", BY_FLASK))
    server = "from wsgiref.simple_server import make_server as m; import sys; from flask_site import site; "
    server += "m('127.0.0.1', int(sys.argv[1]), site).serve_forever()"
    url, port = at(free_port())
    with (
        started(page, tmp_path, "-c", server, port),
        started(page, tmp_path, "-m", "outlast", "worker", "work:app"),
        asking(url, users) as (ann, ben, _),
    ):
        until(lambda: answers(url), "Flask answers")
        id = ann.post("/reports").json()["id"]
        assert ben.get(f"/reports/{id}").status_code == 404
        until(lambda: ann.get(f"/reports/{id}").json()["report"] == "All about tides", "the report is written")


# -- processes ------------------------------------------------------------------------------------------------------


def at(port: int) -> tuple[str, str]:
    return f"http://127.0.0.1:{port}", str(port)


@contextmanager
def served(app: str, page: Path, folder: Path) -> Iterator[str]:
    """An app under plain uvicorn; gives its URL."""
    url, port = at(free_port())
    with started(page, folder, "-m", "uvicorn", app, "--port", port, "--timeout-graceful-shutdown", "5") as log:
        until(lambda: answers(url), f"{app} answers: {log}")
        yield url
    assert "Traceback" not in log.read_text()


@contextmanager
def started(page: Path, folder: Path, *arguments: str) -> Iterator[Path]:
    """A Python program in a folder of its own, where the modules of the page are found; gives what it says."""
    log = folder / f"{len(list(folder.iterdir()))}.log"
    with log.open("wb") as said:
        program: Any = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment(page), stdout=said, stderr=said
        )
    try:
        yield log
    finally:
        program.terminate()
        program.wait(30)


def run(page: Path, folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(page), check=True, capture_output=True, text=True)
    return done.stdout


def environment(page: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(page), "OUTLAST_STORE": "", "OUTLAST_KEYS": "", "OUTLAST_SECRET": ""}


def answers(url: str) -> bool:
    try:
        # Without certificates: to load them takes longer than to ask, and the app is to get on meanwhile.
        httpx2.get(url, trust_env=False, verify=False)
    except httpx2.TransportError:
        return False
    return True
