"""The client commands against a real server: what they print, and their exit codes."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from outlast.cli import commands
from tests.cli.ground import Place, free_port, until

ID = re.compile(r"job_[0-9A-Z]{29}")


def test_a_job_from_submit_to_delete(served: Place, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    id = served.submit("hold", gate=str(gate))
    assert ID.fullmatch(id)
    until(gate.with_suffix(".slices").exists)
    assert re.search("^status +processing$", served.ok("get", id), re.MULTILINE)

    assert served.ok("cancel", id, "--reason", "enough").startswith(f"{id} processing, cancel asked for")
    assert served.run("watch", id).returncode == 1
    assert "cancelled" in served.ok("list", "--status", "cancelled", "--type", "hold")

    gate.touch()
    again = served.ok("retry", id)
    assert again != id
    assert "waiting" in served.ok("watch", again)
    assert served.job(again)["retryOf"] == id

    assert served.ok("delete", id) == ""
    assert served.run("get", id).returncode == 2


def test_submit_with_watch_ends_as_the_job_does(served: Place) -> None:
    done = served.run("submit", "greet", "--json", '{"name": "Ada"}', "--watch")
    assert done.returncode == 0
    id, *lines, last = done.stdout.splitlines()
    assert ID.fullmatch(id)
    assert [int(line.split()[0]) for line in [*lines, last]] == list(range(1, len(lines) + 2))
    assert last.endswith("completed     Hello Ada")

    failed = served.run("submit", "fail", "--json", '{"why": "no luck"}', "--watch")
    assert failed.returncode == 1
    assert failed.stdout.endswith("handler_error: no luck (try another)\n")


def test_options_of_a_submit_reach_the_job(served: Place) -> None:
    options = ["--priority", "high", "--delay", "1h", "--deadline", "2h", "--retries", "7", "--tag", "a", "--tag", "b"]
    key = ["--idempotency-key", "one"]
    id = served.ok("submit", "greet", "--json", '{"name": "Ada"}', *options, *key)
    job = served.job(id)
    assert (job["priority"], job["maxRetries"], job["tags"], job["status"]) == ("high", 7, ["a", "b"], "queued")
    assert job["deadline"] is not None
    assert served.ok("submit", "greet", "--json", '{"name": "Ada"}', *options, *key) == id
    served.ok("cancel", id)


def test_a_payload_comes_from_a_file_or_from_stdin(served: Place, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"name": "Zoë"}', "utf-8")
    assert "Hello Zoë" in served.ok("submit", "greet", "--json", f"@{file}", "--watch")
    assert "Hello Bo" in served.ok("submit", "greet", "--json", "-", "--watch", stdin='{"name": "Bo"}')
    missing = served.run("submit", "greet", "--json", "@nowhere.json")
    assert missing.returncode == 2
    assert "No such file" in missing.stderr


def test_json_is_the_wire_form(served: Place) -> None:
    id = served.submit("greet", name="A\u001b[31m\u202eda")
    printed = served.ok("watch", id, "--json")
    events = [json.loads(line) for line in printed.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "job.completed"
    assert not set(printed) & {"\u001b", "\u202e"}

    job = served.job(id)
    assert job["result"] == "Hello A\u001b[31m\u202eda"
    assert json.loads(served.ok("list", "--json", "--limit", "1"))["data"][0]["id"] == id
    again = json.loads(served.ok("retry", id, "--force", "--from-start", "--json"))
    assert (again["retryOf"], again["status"]) == (id, "queued")
    assert json.loads(served.ok("cancel", id, "--json"))["status"] == "completed"


def test_a_list_goes_on_where_it_ended(served: Place) -> None:
    ids = [served.submit("greet", name=str(number)) for number in range(3)]
    page = json.loads(served.ok("list", "--json", "--limit", "2", "--type", "greet"))
    rest = json.loads(served.ok("list", "--json", "--limit", "1", "--type", "greet", "--cursor", page["nextCursor"]))
    assert [job["id"] for job in page["data"] + rest["data"]] == ids[::-1]
    shown = served.run("list", "--limit", "1")
    assert "--cursor " in shown.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "job_00000000000000000000000000000"], "there is no such job"),
        (["watch", "job_00000000000000000000000000000"], "there is no such job"),
        (["get", "../healthz"], "a job's id looks like"),
        (["submit", "greet", "--json", "{'name': 1}"], "--json is no JSON: Expecting property name"),
        (["submit", "greet", "--json", '{"name": 1}'], "\n  /payload/name: Input should be a valid string"),
        (["submit", "gret"], "known are greet"),
        (["submit", "greet", "--delay", "soon"], "a duration is written like 90s"),
        (["list", "--status", "done"], "queued"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--cursor", "forged"], "/cursor: take the cursor as it came"),
        (["get"], "Missing argument 'ID'"),
        (["frobnicate"], "No such command"),
    ],
)
def test_what_can_never_work_exits_with_2_and_says_why(served: Place, words: list[str], said: str) -> None:
    done = CliRunner().invoke(commands, words, env={"OUTLAST_URL": served.env["OUTLAST_URL"]})
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_server_that_is_not_there_exits_with_3_and_says_how_to_start_one(place: Place) -> None:
    url = f"http://user:secret@127.0.0.1:{free_port()}"
    done = place.run("get", "job_1", env={"OUTLAST_URL": url})
    assert done.returncode == 3
    assert "outlast serve MODULE:APP" in done.stderr
    assert "OUTLAST_URL" in done.stderr
    assert "secret" not in done.stderr


def test_a_submit_of_unknown_outcome_says_how_to_make_sure(place: Place) -> None:
    done = place.run("submit", "greet", "--url", f"http://127.0.0.1:{free_port()}", "--idempotency-key", "mine")
    assert done.returncode == 3
    assert "--idempotency-key mine" in done.stderr


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://a:secret@host:port"])
def test_an_address_that_is_none_exits_with_2(url: str) -> None:
    done = CliRunner().invoke(commands, ["list"], env={"OUTLAST_URL": url})
    assert done.exit_code == 2
    assert "--url (OUTLAST_URL)" in done.stderr
    assert "secret" not in done.stderr


def test_a_key_is_asked_for_and_sent(place: Place) -> None:
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of the word `secret`
    with place.serving(env={"OUTLAST_KEYS": f"one:ada:jobs:read+jobs:write:{digest}"}):
        refused = place.run("list")
        assert refused.returncode == 2
        assert "--key or OUTLAST_KEY" in refused.stderr
        assert "ID" in place.ok("list", env={"OUTLAST_KEY": "secret"})
        forbidden = place.run("cancel", "job_1", "--key", "secret")
        assert forbidden.returncode == 2
        assert "jobs:cancel" in forbidden.stderr
