"""cancel, retry and delete of many jobs: counted first, done with --yes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outlast.cli.client import Answer, Client
from outlast.cli.exits import Unreachable
from tests.cli.ground import Place, until


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server without a worker: what is submitted stays queued."""
    place = Place(tmp_path_factory.mktemp("idle"))
    with place.serving("--no-worker"):
        yield place


def test_many_are_counted_first_and_cancelled_with_yes(idle: Place) -> None:
    ids = [idle.submit("greet", name=str(number)) for number in range(250)]
    other = idle.submit("fail", why="never")
    counted = idle.inside("cancel", "--type", "greet")
    assert (counted.exit_code, counted.stdout) == (2, "")
    assert "250 jobs found (250 queued); with --yes they are cancelled" in counted.stderr
    assert idle.job(ids[0])["status"] == "queued"
    done = idle.inside("cancel", "--type", "greet", "--reason", "enough", "--yes")
    assert (done.exit_code, done.stdout) == (0, "250 jobs cancelled or asked to stop\n")
    assert [idle.job(ids[n])["cancelReason"] for n in (0, 249)] == ["enough", "enough"]
    assert idle.job(other)["status"] == "queued"
    assert idle.inside("cancel", "--type", "greet", "--yes").stdout == "0 jobs cancelled or asked to stop\n"

    kept = idle.inside("delete", "--older", "1h", "--status", "cancelled", "--yes", "--json")
    assert json.loads(kept.stdout) == {"action": "delete", "matched": 0, "done": 0, "skipped": 0}
    gone = idle.inside("delete", "--older", "0s", "--status", "cancelled", "--yes", "--json")
    assert json.loads(gone.stdout) == {"action": "delete", "matched": 250, "done": 250, "skipped": 0}
    assert idle.inside("cancel", "--all", "--yes").stdout == "1 job cancelled or asked to stop\n"


def test_where_the_server_goes_no_further_it_is_said_how_many_it_was_and_the_same_later_does_the_others(
    idle: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(203):
        idle.submit("greet", name=str(number))
    ask, asked = Client.ask, list[str]()

    def stops(self: Client, method: str, path: str, **how: Any) -> Answer:
        asked.append(path)
        if len(asked) > 2:
            raise Unreachable("it is full")
        return ask(self, method, path, **how)

    monkeypatch.setattr(Client, "ask", stops)
    done = idle.inside("cancel", "--type", "greet", "--yes")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "200 jobs cancelled or asked to stop, and then: it is full" in done.stderr
    monkeypatch.undo()
    assert idle.inside("cancel", "--type", "greet", "--yes").stdout == "3 jobs cancelled or asked to stop\n"


def test_failed_jobs_are_retried_once(served: Place, tmp_path: Path) -> None:
    for _ in range(3):
        assert served.job(served.submit("fail", why="no luck"), wait=20)["status"] == "failed"
    assert "3 jobs found (3 failed)" in served.inside("retry", "--status", "failed,cancelled").stderr
    assert served.inside("retry", "--type", "fail", "--from-start", "--yes").stdout == "3 jobs retried\n"
    until(lambda: served.inside("list", "--status", "failed", "--json").stdout.count('"id"') == 6)
    again = served.inside("retry", "--type", "fail", "--yes").stdout
    assert again == "3 jobs retried, 3 skipped as they had moved\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cancel"], "give an ID; or for many a filter"),
        (["retry", "--yes"], "give an ID; or for many a filter"),
        (["delete", "job_1", "--type", "greet"], "not both"),
        (["delete", "job_1", "--yes"], "not both"),
        (["retry", "--type", "greet", "--force"], "--force is for one job"),
        (["cancel", "--older", "soon"], "a duration is written like 90s"),
        (["cancel", "--status", "failed"], "cancel is for"),
        (["delete", "--status", "done"], "a status or a list of them"),
    ],
)
def test_what_can_never_work_exits_with_2_and_says_why(idle: Place, words: list[str], said: str) -> None:
    done = idle.inside(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
