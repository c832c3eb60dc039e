"""The guides of examples/deploy, followed as far as a machine without their platforms goes."""

import asyncio
import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.examples.test_page_modules import node
from tests.ports import free_port
from tests.stores import postgres_server
from tests.test_docs import ROOT
from tests.testing.test_page import built_wheel, environment, install
from tests.web.ground import ended
from torture.crew.workers import until
from torture.serverless.platform import Platform
from torture.serverless.queue import Queue

GUIDES = ROOT / "examples" / "deploy"
VERCEL, LAMBDA, NETLIFY, RENDER, SERVER = (
    GUIDES / name for name in ("vercel", "lambda", "netlify", "render", "server")
)
SECRET = "only-the-guides-know-this-one"
CLI = (sys.executable, "-c", "from outlast.cli import main; main()")


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with postgres_server.Server(postgres_server.wheel()) as server:
        yield server.url()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Vercel project, copied away, with an environment of what it requires and nothing else."""
    folder = tmp_path_factory.mktemp("vercel")
    wheel = built_wheel(folder / "wheel")
    shutil.copytree(VERCEL, folder / "project", ignore=shutil.ignore_patterns("__pycache__"))
    required = (VERCEL / "requirements.txt").read_text().split()
    named = [line.replace("outlast", str(wheel), 1) if line.startswith("outlast") else line for line in required]
    install(environment(folder), *named)
    return folder / "project"


def python_of(folder: Path) -> Path:
    return folder / "venv" / "bin" / "python"


def environ(**more: str) -> dict[str, str]:
    """This environment without what says how Outlast or Python shall be, and with more."""
    hidden = ("OUTLAST", "QSTASH", "CRON", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | more


def of_queue(queue: Queue) -> dict[str, str]:
    return {"QSTASH_URL": queue.url, "QSTASH_TOKEN": queue.token, "QSTASH_CURRENT_SIGNING_KEY": queue.key}


async def planned(http: httpx2.AsyncClient) -> dict[str, Any]:
    payload = {"goal": "sail", "tasks": 3, "seconds": 0.2}
    answer = await http.post("/jobs", json={"type": "plan", "payload": payload})
    assert answer.status_code == 202, answer.text
    return await ended(http, answer.json()["id"])


def is_done(job: Mapping[str, Any]) -> bool:
    result = [f"{number}. sail, part {number}" for number in (1, 2, 3)]
    return (job["status"], job["result"]) == ("completed", result)


def test_the_file_of_the_jobs_is_the_same_on_every_platform() -> None:
    files = {path.read_text() for path in GUIDES.glob("*/jobs.py")}
    assert len(files) == 1 and len(list(GUIDES.glob("*/jobs.py"))) == 4


# -- Vercel ---------------------------------------------------------------------------------------------------------


def test_what_the_project_of_vercel_names_is_there() -> None:
    settings = json.loads((VERCEL / "vercel.json").read_text())
    [(function, limits)] = settings["functions"].items()
    assert (VERCEL / function).is_file()
    assert f"{settings['rewrites'][0]['destination']}.py" == f"/{function}"
    named = dict(re.findall(r"^([A-Z_]+)=(.*)$", (VERCEL / "env.example").read_text(), re.MULTILINE))
    budget = re.search(r"budget=(\d+)s", named["OUTLAST_PUSH"])
    assert budget is not None and int(budget[1]) < limits["maxDuration"]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_project_of_vercel_runs_from_its_own_folder_with_what_it_requires_alone(
    project: Path, store: str
) -> None:
    settings = json.loads((project / "vercel.json").read_text())
    async with Queue("token", "sig_" + "k" * 28) as queue:
        env = environ(OUTLAST_STORE=f"{store}?schema=vercel", CRON_SECRET=SECRET, VERCEL="1", **of_queue(queue))
        python = str(python_of(project.parent))
        async with Platform("api.index:app", env, limit=10, folder=project, python=python) as platform:
            env["OUTLAST_PUSH"] = f"qstash:{platform.url}?budget=8s"
            async with httpx2.AsyncClient(base_url=platform.url, timeout=60, trust_env=False) as http:
                assert is_done(await planned(http))
                cron = {"Authorization": f"Bearer {SECRET}", "User-Agent": "vercel-cron/1.0"}
                swept = await http.get(settings["crons"][0]["path"], headers=cron)
                assert swept.status_code == 200, swept.text
        assert queue.counts["published"] >= 1 and not queue.dead


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_project_of_vercel_runs_on_a_plain_server_too(project: Path, store: str, tmp_path: Path) -> None:
    python = python_of(project.parent)
    install(python, "uvicorn")
    async with Queue("token", "sig_" + "k" * 28) as queue:
        port = free_port()
        push = f"qstash:http://127.0.0.1:{port}?budget=8s"
        env = environ(OUTLAST_STORE=f"{store}?schema=plain", OUTLAST_PUSH=push, **of_queue(queue))
        command = [str(python), "-m", "uvicorn", "api.index:app", "--port", str(port)]
        async with started(command, project, env, f"http://127.0.0.1:{port}", tmp_path / "log") as http:
            assert is_done(await planned(http))


# -- Lambda ---------------------------------------------------------------------------------------------------------


class Template(yaml.SafeLoader):
    """YAML with the short forms of CloudFormation's functions, which are read as what they are given."""


def _given(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else loader.construct_object(node)


Template.add_multi_constructor("!", _given)


def test_the_queue_of_lambda_hides_a_message_for_longer_than_a_function_may_take() -> None:
    resources = yaml.load((LAMBDA / "template.yaml").read_text(), Template)["Resources"]
    function = resources["Jobs"]["Properties"]
    budget = re.search(r"budget=(\d+)s", function["Environment"]["Variables"]["OUTLAST_PUSH"])
    assert budget is not None and int(budget[1]) < function["Timeout"] <= 900
    for queue in ("Calls", "Dead"):
        assert resources[queue]["Properties"]["VisibilityTimeout"] > function["Timeout"]
    for event in ("Call", "GivenUp"):
        assert "ReportBatchItemFailures" in function["Events"][event]["Properties"]["FunctionResponseTypes"]


# -- Netlify --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_the_function_of_netlify_calls_until_there_is_nothing_to_run(tmp_path: Path) -> None:
    program = node()
    if program is None:
        pytest.skip("no node: install Node 20 or newer")
    env = environ(OUTLAST_STORE=f"sqlite:///{tmp_path}/jobs.db", OUTLAST_PUSH="cron:?budget=2s", CRON_SECRET=SECRET)
    env["PYTHONPATH"] = str(ROOT / "src")
    async with (
        Platform("api.index:app", env, limit=10, folder=VERCEL) as platform,
        httpx2.AsyncClient(base_url=platform.url, timeout=60, trust_env=False) as http,
    ):
        payload = {"goal": "sail", "tasks": 8, "seconds": 0.5}
        answer = await http.post("/jobs", json={"type": "plan", "payload": payload})
        function = (NETLIFY / "netlify" / "functions" / "push-background.mjs").as_uri()
        call = f"import({json.dumps(function)}).then((it) => it.default())"
        told = {"PATH": os.environ["PATH"], "OUTLAST_URL": platform.url, "CRON_SECRET": SECRET}
        process = await asyncio.create_subprocess_exec(program, "--eval", call, env=told)
        assert await process.wait() == 0
        job = (await http.get(f"/jobs/{answer.json()['id']}")).json()
    assert job["status"] == "completed" and len(job["result"]) == 8
    assert platform.counts["calls"] >= 4, "two slices, a call that found nothing, and ours"


# -- where a process may live ---------------------------------------------------------------------------------------


def commands_of_render() -> list[str]:
    services = yaml.safe_load((RENDER / "render.yaml").read_text())["services"]
    return [service["startCommand"] for service in services]


def command_of_docker() -> str:
    [command] = re.findall(r"^CMD (.*)$", (SERVER / "Dockerfile").read_text(), re.MULTILINE)
    return shlex.join(json.loads(command))


def command_of_systemd() -> str:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(SERVER / "outlast.service")
    return unit["Service"]["ExecStart"].replace("/opt/outlast/.venv/bin/", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "commands"),
    [(RENDER, commands_of_render()), (SERVER, [command_of_docker()]), (SERVER, [command_of_systemd()])],
    ids=["render", "docker", "systemd"],
)
async def test_the_commands_of_a_guide_serve_and_work_and_end_when_they_are_told(
    folder: Path, commands: list[str], store: str, tmp_path: Path
) -> None:
    port = free_port()
    url = f"{store}?schema=render" if folder is RENDER else f"sqlite:///{tmp_path}/jobs.db"
    key, kept = new_key()
    env = environ(OUTLAST_STORE=url, OUTLAST_KEYS=kept, PYTHONPATH=str(ROOT / "src"), PYTHONDONTWRITEBYTECODE="1")
    serve, *others = [on_loopback(command, port) for command in commands]
    log = tmp_path / "log"
    async with started(serve, folder, env, f"http://127.0.0.1:{port}", log) as http:
        http.headers["Authorization"] = f"Bearer {key}"
        workers = [await begun(command, folder, env, log) for command in others]
        assert is_done(await planned(http))
        for worker in workers:
            await told_to_end(worker)


def new_key() -> tuple[str, str]:
    """A key, and what OUTLAST_KEYS is to say of it."""
    made = subprocess.run([*CLI, "key", "new"], capture_output=True, text=True, check=True).stdout
    said = dict(line.split("=", 1) for line in made.splitlines() if "=" in line)
    return said["OUTLAST_KEY"], said["OUTLAST_KEYS"]


def on_loopback(command: str, port: int) -> list[str]:
    """The command as the guide has it, but for where it listens."""
    program, *arguments = shlex.split(command.replace("0.0.0.0", "127.0.0.1").replace("$PORT", str(port)))
    assert program == "outlast"
    return [*CLI, *(str(port) if argument == "8000" else argument for argument in arguments)]


@asynccontextmanager
async def started(
    command: list[str], folder: Path, env: Mapping[str, str], url: str, log: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    """A server that answers, until it is told to end."""
    process = await begun(command, folder, env, log)
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:

            async def healthy() -> bool:
                assert process.returncode is None, log.read_text()
                try:
                    return (await http.get("/healthz")).is_success
                except httpx2.TransportError:
                    return False

            await until(healthy, "the server answers")
            yield http
    finally:
        await told_to_end(process)


async def begun(command: list[str], folder: Path, env: Mapping[str, str], log: Path) -> "asyncio.subprocess.Process":
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(*command, cwd=folder, env=env, stdout=file, stderr=file)


async def told_to_end(process: "asyncio.subprocess.Process") -> None:
    process.send_signal(signal.SIGTERM)
    assert await process.wait() in (0, -signal.SIGTERM)
