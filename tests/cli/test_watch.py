"""watch: every event once whatever becomes of the server, and nothing that steers the terminal."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

from tests.cli.ground import COMMAND, Place, until
from tests.ports import free_port


def test_every_event_once_though_the_server_is_killed_and_started_again(place: Place, tmp_path: Path) -> None:
    gate, port = tmp_path / "gate", str(free_port())
    with place.serving("--port", port) as server:
        id = place.submit("hold", gate=str(gate))
        with place.start("watch", id, "--json") as watch:
            watch.line('"text":"waiting|"text": "waiting')
            server.process.kill()
            server.end()
            watch.line("is gone .*; trying again")
            with place.serving("--port", port):
                until(lambda: len(gate.with_suffix(".slices").read_text().split()) == 2)
                gate.touch()
                assert watch.end() == 0
                events = [json.loads(line) for line in watch.out.splitlines()]
                assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
                assert events[-1]["type"] == "job.completed"
                assert watch.err.count("trying again") == 1


def test_a_server_that_stops_gently_is_waited_for_too(place: Place, tmp_path: Path) -> None:
    gate, port = tmp_path / "gate", str(free_port())
    with place.serving("--port", port) as server:
        id = place.submit("hold", gate=str(gate))
        with place.start("watch", id) as watch:
            watch.line("output.delta +text@0  waiting")
            assert server.stop() == 0
            with place.serving("--port", port):
                gate.touch()
                assert watch.end() == 0
                numbers = [int(line.split()[0]) for line in watch.out.splitlines()]
                assert numbers == list(range(1, len(numbers) + 1))
                assert "reason=deploy" in watch.out


def test_ctrl_c_stops_watching_and_not_the_job(served: Place, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    id = served.submit("hold", gate=str(gate))
    with served.start("watch", id) as watch:
        watch.line("waiting")
        assert watch.stop(signal.SIGINT) == 130
        assert "the job goes on" in watch.err
        assert "Traceback" not in watch.err
    gate.touch()
    assert served.run("watch", id).returncode == 0


def test_a_job_that_has_ended_is_told_from_its_log_or_as_it_is(served: Place) -> None:
    id = served.submit("greet", name="Ada")
    last = served.ok("watch", id).splitlines()[-1]
    assert last.split()[2] == "completed"
    seq = last.split()[0]
    assert served.ok("watch", id, "--after", str(int(seq) - 1)) == last
    nothing_new = served.ok("watch", id, "--after", seq).splitlines()
    assert [line.split()[:3:2] for line in nothing_new] == [[seq, "snapshot"]]
    beyond = served.ok("watch", id, "--after", "9999").splitlines()
    assert [line.split()[2] for line in beyond] == ["reset", "snapshot"]


def test_in_a_pipe_nothing_from_the_server_steers_the_terminal(served: Place) -> None:
    printed = served.ok("watch", served.submit("greet", name="\u001b]0;x\u0007\u202e\u009b31m"))
    assert r"Hello \x1b]0;x\x07\u202e\x9b31m, 0\n" in printed
    assert printed.replace("\n", "").isprintable()


def test_on_a_terminal_it_is_drawn_live(served: Place) -> None:
    id = served.submit("greet", name="\u001b[31mAda")
    shown = on_terminal(served, "watch", id)
    assert "\u001b[?25l" in shown  # the cursor is hidden while it draws
    assert "part 2" in shown
    assert r"Hello \x1b[31mAda, 2" in shown
    assert "100 %" in shown


def test_on_a_terminal_without_colours_there_are_none(served: Place) -> None:
    shown = on_terminal(served, "watch", served.submit("fail", why="no luck"), NO_COLOR="1")
    assert "handler_error: no luck" in shown
    assert "\u001b[3" not in shown


def test_a_dumb_terminal_gets_lines(served: Place) -> None:
    shown = on_terminal(served, "watch", served.submit("greet", name="Ada"), TERM="dumb")
    assert "\u001b" not in shown
    assert "completed     Hello Ada" in shown


def on_terminal(place: Place, *words: str, **env: str) -> str:
    """All that a command writes to a terminal."""
    ours, theirs = pty.openpty()
    env = place.env | {"TERM": "xterm"} | env
    with subprocess.Popen([*COMMAND, *words], env=env, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # how Linux says that nobody has the terminal open any more
            pass
    os.close(ours)
    return shown.decode()
