"""The demo as a process of its own that tests start, kill and start again on the same file and the same port."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx2

from tests.ports import free_port

ROOT = Path(__file__).parents[2]


class Demo:
    """A server at `url`. `pace` is the speed of the offline model, in seconds for each piece of its answer."""

    def __init__(self, folder: Path, pace: float) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._environment = os.environ | {
            "OUTLAST_STORE": f"sqlite:///{folder}/jobs.db",
            "EXAMPLES_MODEL_LOG": str(folder / "model-calls.jsonl"),
            "EXAMPLES_OFFLINE_PACE": str(pace),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx2.Client(base_url=self.url, timeout=10)

    def start(self, module: str = "examples.demo", **environment: str) -> None:
        """Answers once the server does."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, "--port", str(self.port)],
                cwd=ROOT,
                env=self._environment | environment,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "the server answers")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
        try:
            return self._client.get("/healthz").status_code == 200
        except httpx2.TransportError:
            return False

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def wait_for_death(self) -> None:
        assert self._process is not None
        assert self._process.wait(60) == -signal.SIGKILL

    def stop(self) -> float:
        """Seconds that the server took to end by itself."""
        assert self._process is not None
        began = monotonic()
        self._process.terminate()
        assert self._process.wait(30) == 0
        return monotonic() - began

    def close(self) -> None:
        self._client.close()
        if self._process is not None and self._process.poll() is None:
            self.kill()

    # -- what it answers --------------------------------------------------------------------------------------------

    def submit(self, transcript: str) -> str:
        body = {"type": "transcript_to_journey", "payload": {"transcript": transcript}}
        return str(self._client.post("/jobs", json=body).raise_for_status().json()["id"])

    def job(self, id: str) -> dict[str, Any]:
        job: dict[str, Any] = self._client.get(f"/jobs/{id}").raise_for_status().json()
        return job

    def output(self, id: str) -> str:
        return self._client.get(f"/jobs/{id}/output").raise_for_status().text

    def events(self, id: str) -> list[dict[str, Any]]:
        """The whole log of a job that ends."""
        found: list[dict[str, Any]] = []
        while not found or found[-1]["type"] not in ENDS:
            page = self._client.get(f"/jobs/{id}/events?after={len(found)}&limit=1000", headers=AS_JSON)
            found += page.raise_for_status().json()["data"]
        return found

    def model_calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self._folder / "model-calls.jsonl").read_text().splitlines()]


AS_JSON = {"Accept": "application/json"}
ENDS = ("job.completed", "job.failed", "job.cancelled")


def assert_no_finished_call_is_repeated(demo: Demo, id: str) -> None:
    """Each step that asks the model was recorded once; a second call of it was cut off before its record."""
    events = demo.events(id)
    recorded = Counter(e["name"] for e in events if e["type"] == "job.step" and e["status"] == "completed")
    begun = Counter(e["name"] for e in events if e["type"] == "job.step" and e["status"] == "running")
    calls = Counter(call["step"] for call in demo.model_calls())

    assert set(recorded.values()) == {1}
    assert calls.keys() == {name for name in recorded if name.startswith(("Finding", "Describing"))}
    assert all(calls[name] <= begun[name] for name in calls)
    assert calls.total() - len(calls) <= 1, "only the step that was cut off is asked for again"


def wait_until(holds: Callable[[], bool], what: str, timeout: float = 30) -> None:
    until = monotonic() + timeout
    while not holds():
        assert monotonic() < until, f"it did not come to be that {what}"
        sleep(0.02)
