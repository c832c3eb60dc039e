"""A job that is submitted to one process and runs in another is one trace."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.ports import free_port

OUTLAST = [sys.executable, "-c", "from outlast.cli import main; main()"]
APP = f"{Path(__file__).parent / 'traced.py'}:app"

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_job_across_two_processes_is_one_trace(tmp_path: Path) -> None:
    env = os.environ | {"OUTLAST_STORE": f"sqlite:///{tmp_path}/jobs.db", "TRACED_SPANS": str(tmp_path)}
    with serving(env) as (server, url):
        body = {"type": "plan", "payload": {"topic": "tides"}}
        reply = httpx2.post(f"{url}/jobs", json=body, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        assert reply.status_code == 202, reply.text
        subprocess.run([*OUTLAST, "worker", APP, "--burst"], env=env, check=True, timeout=60)
        job = httpx2.get(f"{url}/jobs/{reply.json()['id']}").json()
    assert (job["status"], job["result"]) == ("completed", "about tides")

    spans = {span["name"]: span | {"file": file.stem} for file in tmp_path.glob("*.json") for span in read(file)}
    line = [spans[name] for name in ("submit plan", "process plan", "step draft", "ask a model")]
    assert {span["context"]["trace_id"] for span in line} == {f"0x{TRACE}"}
    assert [span["parent_id"] for span in line] == [f"0x{SPAN}", *(span["context"]["span_id"] for span in line[:3])]
    processes = [span["file"] for span in line]
    assert processes == [str(server), *processes[1:2] * 3]
    assert processes[0] != processes[1]


@contextmanager
def serving(env: dict[str, str]) -> Iterator[tuple[int, str]]:
    """A server without a worker, by its process and address; it has ended when this has."""
    port = free_port()
    server = subprocess.Popen([*OUTLAST, "serve", APP, "--no-worker", "--port", str(port)], env=env)
    try:
        with httpx2.Client(transport=httpx2.HTTPTransport(retries=10)) as http:
            assert http.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        yield server.pid, f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def read(file: Path) -> list[Any]:
    spans: list[Any] = json.loads(file.read_text())
    return spans
