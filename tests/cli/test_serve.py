"""serve and worker as processes: their start, their signals, and what becomes of the jobs in hand."""

import errno
import os
import signal
from pathlib import Path
from time import sleep

import pytest

from tests.cli.ground import APP, Place, until
from tests.ports import free_port


def slices(gate: Path) -> list[str]:
    file = gate.with_suffix(".slices")
    return file.read_text().split() if file.exists() else []


# -- start ----------------------------------------------------------------------------------------------------------


def test_the_first_log_line_is_the_store_with_its_absolute_path(place: Place) -> None:
    env = {"OUTLAST_STORE": "sqlite:///relative.db", "OUTLAST_SOTRE": "x", "OUTLAST_TEST_ANYTHING": "x"}
    with place.serving(env=env) as server:
        first = server.err.splitlines()[0]
        assert f"INFO store sqlite:///{place.folder}/relative.db (sqlite" in first
        assert server.line("WARNING .*OUTLAST_SOTRE.*did you mean OUTLAST_STORE")
        assert "OUTLAST_TEST_ANYTHING" not in server.err


def test_the_store_of_the_command_line_wins(place: Place) -> None:
    with place.start("worker", APP, "--store", "sqlite:///other.db", "--concurrency", "3", "--burst") as worker:
        assert worker.end() == 0
        assert f"{place.folder}/other.db" in worker.err
        assert "up to 3 jobs" in worker.err


def test_an_address_that_others_reach_needs_keys(place: Place, imports: None) -> None:
    for host in ("0.0.0.0", "::", "example.org"):
        refused = place.inside("serve", APP, "--host", host, "--port", "0")
        assert refused.exit_code == 2
        assert "OUTLAST_KEYS" in refused.stderr
        assert "--host 127.0.0.1" in refused.stderr
        assert "outlast key new" in refused.stderr
    keys = {"OUTLAST_KEYS": f"one:ada:jobs:read:{'0' * 64}"}
    with place.start("serve", APP, "--host", "0.0.0.0", "--port", "0", env=keys) as server:
        server.line("serving http://0.0.0.0:")
        assert server.stop() == 0


def test_an_app_without_handlers_is_warned_of(place: Place) -> None:
    (place.folder / "empty.py").write_text("from outlast import Outlast\napp = Outlast()\n")
    for words in (["serve", "empty:app", "--port", "0"], ["worker", "empty:app"]):
        with place.start(*words) as command:
            command.line("WARNING the app has no handler, .* register one with @app.handler")
            assert command.stop() == 0
    with place.serving() as server:
        assert "no handler" not in server.err


def test_a_port_in_use_is_named_with_the_systems_own_words(place: Place, imports: None) -> None:
    with place.serving() as server:
        port = server.line(r"serving http://127.0.0.1:(\d+)")[1]
        second = place.inside("serve", APP, "--port", port)
    assert second.exit_code == 2
    assert os.strerror(errno.EADDRINUSE) in second.stderr
    assert "--port" in second.stderr


# -- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_signal_hands_the_job_back_and_burns_no_attempt(
    place: Place, tmp_path: Path, command: str, signum: int
) -> None:
    gate = tmp_path / "gate"
    with place.serving(*(["--no-worker"] if command == "worker" else [])) as server:
        id = place.submit("hold", gate=str(gate))
        worker = server if command == "serve" else place.start("worker", APP)
        with worker:
            until(lambda: len(slices(gate)) == 1)
            assert worker.stop(signum) == 0
            assert "handed back: deploy" in worker.err
            assert "Traceback" not in worker.err
        gate.touch()
        assert place.run("worker", APP, "--burst").returncode == 0
        if command == "worker":
            assert place.job(id)["result"] == {"attempt": 1}
    assert len(slices(gate)) == 2


def test_a_second_signal_ends_a_worker_at_once(place: Place, tmp_path: Path) -> None:
    app = place.folder / "stubborn.py"
    app.write_text(
        "import time\nfrom pathlib import Path\nfrom outlast import Context, Outlast\napp = Outlast()\n"
        "@app.handler\nasync def block(ctx: Context) -> None:\n    Path('blocked').touch()\n"
        "    while True:\n        time.sleep(0.01)\n"
    )
    with place.serving("--no-worker"), place.start("worker", "stubborn:app") as worker:
        worker.line("worker .* takes up to")
        with place.start("serve", "stubborn:app", "--no-worker", "--port", "0") as second:
            place.env["OUTLAST_URL"] = second.line(r"serving (http://\S+)")[1]
            place.submit("block")
        until((place.folder / "blocked").exists)
        worker.tell()
        sleep(0.05)  # two signals at the same moment are one to the system
        assert worker.stop() == 130


def test_sigterm_while_it_starts_ends_cleanly(place: Place) -> None:
    (place.folder / "slow.py").write_text(
        "import time\nfrom pathlib import Path\nPath('importing').touch()\ntry:\n    time.sleep(60)\n"
        "except Exception:\n    time.sleep(60)\n"
    )
    with place.start("serve", "slow:app") as server:
        until((place.folder / "importing").exists)
        assert server.stop() == 0
        assert server.err == ""


# -- threads that never end ----------------------------------------------------------------------------------------


STUCK = """
import time
import outlast.attempt
from outlast import Outlast, SyncContext

outlast.attempt.UNWIND = 0.2  # in place of ten seconds
app = Outlast()


@app.handler(timeout=0.2, retries=0)
def hangs(ctx: SyncContext) -> None:
    time.sleep(3600)
"""


@pytest.mark.parametrize("command", [["worker"], ["serve", "--port", "0"]])
def test_a_process_full_of_threads_that_never_end_exits_with_a_code_of_its_own(
    place: Place, command: list[str]
) -> None:
    (place.folder / "stuck.py").write_text(STUCK)
    with place.start("serve", "stuck:app", "--no-worker", "--port", "0") as server:
        place.env["OUTLAST_URL"] = server.line(r"serving (http://\S+)")[1]
        with place.start(*command, "stuck:app", "--concurrency", "1") as stuck:
            id = place.submit("hangs")
            assert stuck.end() == 4
            assert "gives up: 1 threads of hangs run on" in stuck.err
            assert "Traceback" not in stuck.err
        assert place.job(id)["lastError"]["code"] == "timeout"


# -- workers on one file --------------------------------------------------------------------------------------------


def test_two_workers_and_a_server_share_one_file(place: Place, tmp_path: Path) -> None:
    with (
        place.serving("--no-worker"),
        place.start("worker", APP, "--concurrency", "1") as one,
        place.start("worker", APP, "--concurrency", "1") as two,
    ):
        gate = tmp_path / "gate"
        ids = [place.submit("hold", gate=str(gate)) for _ in range(2)]
        until(lambda: set(slices(gate)) == {str(one.process.pid), str(two.process.pid)})
        gate.touch()
        assert [place.job(id, wait=20)["status"] for id in ids] == ["completed", "completed"]
        assert (one.stop(), two.stop()) == (0, 0)


def test_a_burst_ends_when_nothing_is_ready(place: Place) -> None:
    with place.serving("--no-worker"):
        ids = [place.submit("greet", name=str(number)) for number in range(2)]
        later = place.ok("submit", "greet", "--json", '{"name": "later"}', "--delay", "1h")
        assert place.run("worker", APP, "--burst").returncode == 0
        assert [place.job(id)["status"] for id in [*ids, later]] == ["completed", "completed", "queued"]


# -- reload ---------------------------------------------------------------------------------------------------------


def test_a_changed_file_starts_the_server_again_and_the_job_goes_on(place: Place, tmp_path: Path) -> None:
    gate, port = tmp_path / "gate", str(free_port())
    app = place.folder / "mine.py"
    source = Path(APP.removesuffix(":app")).read_text()
    app.write_text(source)
    place.env["OUTLAST_URL"] = f"http://127.0.0.1:{port}"
    with place.start("serve", "mine:app", "--port", port, "--reload") as server:
        server.line("serving http")
        id = place.submit("hold", gate=str(gate))
        until(lambda: len(slices(gate)) == 1)
        app.write_text(source + "\nboken(\n")
        server.line("handed back: deploy")
        server.line("SyntaxError")
        server.line("a change of a .py file starts it again")
        app.write_text(source + "\n")
        until(lambda: len(slices(gate)) == 2)
        gate.touch()
        until(lambda: place.job(id, wait=20)["result"] == {"attempt": 1})
        assert server.stop() == 0
        assert len(set(slices(gate))) == 2


def test_a_worker_takes_the_types_it_is_told_to(place: Place) -> None:
    with place.serving("--no-worker"):
        greeting, failing = place.submit("greet", name="Ada"), place.submit("fail", why="it must")
        assert place.run("worker", APP, "--burst", "--except", "greet").returncode == 0
        assert [place.job(id)["status"] for id in (greeting, failing)] == ["queued", "failed"]
        assert place.run("worker", APP, "--burst", "--only", "greet").returncode == 0
        assert place.job(greeting)["status"] == "completed"


def test_a_worker_that_is_told_to_take_nothing_is_refused(place: Place) -> None:
    for options in (["--only", ""], ["--only", "greet", "--except", "greet"]):
        done = place.run("worker", APP, *options)
        assert done.returncode == 2
        assert "leave no type to take; known are" in done.stderr


def test_a_type_that_no_handler_has_is_named(place: Place) -> None:
    for option in ("--only", "--except"):
        done = place.run("worker", APP, option, "great", "--burst")
        assert done.returncode == 2
        assert "did you mean greet?" in done.stderr
