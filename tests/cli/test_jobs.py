"""The client commands against a real server: what they print, and their exit codes."""

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.ground import Place, until
from tests.ports import free_port

ID = re.compile(r"job_[0-9A-Z]{29}")


def test_a_job_from_submit_to_delete(served: Place, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    id = served.ok("submit", "hold", "--json", json.dumps({"gate": str(gate)}))
    assert ID.fullmatch(id)
    until(gate.with_suffix(".slices").exists)
    assert re.search("^status +processing$", served.ok("get", id), re.MULTILINE)

    assert served.ok("cancel", id, "--reason", "enough").startswith(f"{id} processing, cancel asked for")
    assert re.search("^cancelReason +enough$", served.ok("get", id), re.MULTILINE)
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


def test_the_attempts_of_a_job_are_shown_with_their_log_and_traceback(served: Place) -> None:
    id = served.run("submit", "fail", "--json", '{"why": "no luck"}', "--watch").stdout.split()[0]
    assert "attempt 1" not in served.ok("get", id)
    shown = served.ok("get", id, "--attempts")
    head, log, *traceback = shown[shown.index("attempt 1  ") :].splitlines()
    assert re.fullmatch(r"attempt 1  \S+Z - \S+Z  worker_\w+  failed  handler_error: no luck", head)
    assert re.fullmatch(r" {4}\S+Z  WARNING  shop  about to fail: \\x1b\[31mno luck", log)
    assert traceback[0] == "    Traceback (most recent call last):"
    assert traceback[-1].endswith("Fail: no luck")
    [attempt] = json.loads(served.ok("get", id, "--attempts", "--json"))["attempts"]
    assert (attempt["code"], attempt["lines"][0]["level"]) == ("handler_error", "WARNING")


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

    job = json.loads(served.ok("get", id, "--json"))
    assert job["result"] == "Hello A\u001b[31m\u202eda"
    assert json.loads(served.ok("list", "--json", "--limit", "1"))["data"][0]["id"] == id
    again = json.loads(served.inside("retry", id, "--force", "--from-start", "--json").stdout)
    assert (again["retryOf"], again["status"]) == (id, "queued")
    assert json.loads(served.inside("cancel", id, "--json").stdout)["status"] == "completed"


def test_a_list_goes_on_where_it_ended(served: Place) -> None:
    ids = [served.submit("greet", name=str(number)) for number in range(3)]
    page = json.loads(served.inside("list", "--json", "--limit", "2", "--type", "greet").stdout)
    rest = served.inside("list", "--json", "--limit", "2", "--type", "greet", "--cursor", page["nextCursor"])
    assert [job["id"] for job in page["data"] + json.loads(rest.stdout)["data"]][:3] == ids[::-1]
    shown = served.inside("list", "--limit", "1")
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
        (["submit", "greet", "--json", '{"name": "\udcff"}'], "UTF-8"),
        (["submit", "greet", "--idempotency-key", "ü"], "visible ASCII"),
        (["list", "--key", "a\nb"], "--key (OUTLAST_KEY)"),
        (["submit", "greet", "--delay", "soon"], "a duration is written like 90s"),
        (["list", "--status", "done"], "queued"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--cursor", "forged"], "\n  cursor: take the cursor as it came"),
        (["get"], "Missing argument 'ID'"),
        (["frobnicate"], "No such command"),
    ],
)
def test_what_can_never_work_exits_with_2_and_says_why(served: Place, words: list[str], said: str) -> None:
    done = served.inside(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_what_is_wrong_is_said_once(served: Place) -> None:
    assert served.inside("get", "job_1").stderr.count("no such job") == 1
    wrong = served.inside("list", "--status", "done")
    assert wrong.stderr.count("one or more of") == 1
    assert "\n  status: one or more of" in wrong.stderr


def test_what_http_says_in_its_words_is_said_in_those_of_the_command(served: Place) -> None:
    id = served.submit("greet", name="Ada")
    assert served.job(id, wait=20)["status"] == "completed"
    refused = served.inside("retry", id)
    assert (refused.exit_code, refused.stderr) == (2, "Error: the job is completed; --force runs it again\n")


def test_an_address_may_end_with_jobs(served: Place) -> None:
    for url in (f"{served.env['OUTLAST_URL']}/jobs", f"{served.env['OUTLAST_URL']}/jobs/"):
        assert "ID" in served.inside("list", "--url", url).stdout


def test_a_server_that_does_not_listen_yet_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"id": "job_1", "type": "greet", "status": "queued", "progress": None, "attempt": 0}
    reply = f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{json.dumps(job)}".encode()
    with socket.socket() as late, ThreadPoolExecutor() as pool:
        late.bind(("127.0.0.1", 0))
        tries: list[float] = []

        def listens_at_last(seconds: float) -> None:
            tries.append(seconds)
            if len(tries) == 3:
                late.listen()
                pool.submit(answer, late, reply)

        monkeypatch.setattr("outlast.cli.client.sleep", listens_at_last)
        done = place.inside("get", "job_1", "--url", f"http://127.0.0.1:{late.getsockname()[1]}")
    assert (done.exit_code, len(tries)) == (0, 3), done.output
    assert "job_1" in done.stdout


def test_a_name_that_nobody_has_is_not_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast.cli.client.sleep", lambda seconds: pytest.fail("it waits"))
    assert place.inside("list", "--url", "http://nobody.invalid:1").exit_code == 3


def test_a_server_that_is_not_there_exits_with_3_and_says_how_to_start_one(place: Place) -> None:
    url = f"http://user:secret@127.0.0.1:{free_port()}"
    done = place.run("get", "job_1", env={"OUTLAST_URL": url})
    assert done.returncode == 3
    assert "outlast serve MODULE:APP" in done.stderr
    assert "OUTLAST_URL" in done.stderr
    assert "secret" not in done.stderr


def test_a_submit_of_unknown_outcome_says_how_to_make_sure(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        hung_up = pool.submit(answer, listening, b"")
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        done = place.inside("submit", "greet", "--url", url, "--idempotency-key", "mine")
        hung_up.result()
    assert done.exit_code == 3
    assert "sent again with --idempotency-key mine it makes one job" in done.stderr
    nobody = place.inside("submit", "greet", "--url", f"http://127.0.0.1:{free_port()}")
    assert nobody.exit_code == 3
    assert "idempotency" not in nobody.stderr


def test_another_program_at_the_address_is_found_out(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        answered = pool.submit(answer, listening, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<p/>")
        done = place.inside("list", "--url", f"http://127.0.0.1:{listening.getsockname()[1]}")
        answered.result()
        assert (done.exit_code, "is --url (OUTLAST_URL) right?" in done.stderr) == (2, True)
        answered = pool.submit(answer, listening, b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n\x1b[2J")
        done = place.inside("get", "job_1", "--url", f"http://127.0.0.1:{listening.getsockname()[1]}")
        answered.result()
        assert (done.exit_code, "answers 404" in done.stderr, "\x1b" in done.stderr) == (2, True, False)


def answer(listening: socket.socket, reply: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(reply)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://a:secret@host:port"])
def test_an_address_that_is_none_exits_with_2(place: Place, url: str) -> None:
    done = place.inside("list", env={"OUTLAST_URL": url})
    assert done.exit_code == 2
    assert "--url (OUTLAST_URL)" in done.stderr
    assert "secret" not in done.stderr


def test_a_key_is_asked_for_and_sent(place: Place) -> None:
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of the word `secret`
    with place.serving(env={"OUTLAST_KEYS": f"one:ada:jobs:read+jobs:write:{digest}"}):
        refused = place.run("list")
        assert refused.returncode == 2
        assert "asks for a key; give one that it knows with --key or OUTLAST_KEY" in refused.stderr
        assert "does not know the key" in place.run("list", "--key", "wrong").stderr
        assert "ID" in place.ok("list", env={"OUTLAST_KEY": "secret"})
        forbidden = place.run("cancel", "job_1", "--key", "secret")
        assert forbidden.returncode == 2
        assert "jobs:cancel" in forbidden.stderr
