"""Two `outlast serve` on one store: a reader of the one sees what a job in the other writes, and goes on there."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import pytest

from tests.cli.ground import PATIENCE, Place, Running
from tests.stores.urls import URL

SPEAKER = f"{Path(__file__).with_name('speaker.py')}:app"


# A worker gathers words for 0.05 s; the rest is the way.
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "most"), [("postgres", 0.100), ("valkey", 0.100), ("pgbouncer", 1.0), ("mongo", 1.0)])
def test_tokens_cross_from_one_server_to_the_other(
    kind: str, most: float, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    assert crossing(URL[kind](request), tmp_path) < most


def crossing(url: str, folder: Path) -> float:
    """Seconds at the median from a word's writing to its reading by way of the other server; all words are read once.

    The server that was read from first is killed, and the reader goes on at the other one.
    """
    place, gate = Place(folder), folder / "gate"
    place.env["OUTLAST_STORE"] = url
    with ExitStack() as servers:
        told, told_at = _serving(place, servers, "--no-worker")
        _, works_at = _serving(place, servers)
        body = {"type": "speak", "payload": {"gate": str(gate), "least": 30}}
        job = httpx2.post(f"{told_at}/jobs", json=body).raise_for_status().json()["id"]
        reader = Reader(job)
        reader.read(told_at, until=lambda: len(reader.took) >= 20)
        told.process.kill()
        told.process.wait()
        gate.touch()
        reader.read(works_at, until=lambda: reader.result is not None)
    assert reader.words == list(range(reader.result or 0))
    assert reader.ids == sorted(set(reader.ids))
    return median(reader.took)


def _serving(place: Place, servers: ExitStack, *words: str) -> tuple[Running, str]:
    server = servers.enter_context(place.start("serve", SPEAKER, "--port", "0", *words))
    return server, server.line(r"serving (http://\S+)")[1]


class Reader:
    """Reads the stream of a job, from wherever it has come to."""

    def __init__(self, job: str) -> None:
        self._job, self._rest = job, ""
        self.ids, self.words, self.took = list[int](), list[int](), list[float]()
        self.result: int | None = None

    def read(self, server: str, until: Callable[[], bool]) -> None:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.ids[-1] if self.ids else 0)}
        with httpx2.stream("GET", f"{server}/jobs/{self._job}/events", headers=headers, timeout=PATIENCE) as answer:
            event: dict[str, Any] = {}
            for event in _events(answer):
                self._take(event)
                if until():
                    return
        raise AssertionError(f"the stream ended too soon, with {event}")

    def _take(self, event: dict[str, Any]) -> None:
        if "seq" in event:
            self.ids.append(event["seq"])
        if event["type"] == "job.output.delta":
            *whole, self._rest = (self._rest + event["text"]).split(" ")
            for word in whole:
                number, _, written_at = word.partition("@")
                self.words.append(int(number))
                self.took.append(time.time() - float(written_at))
        if event["type"] == "job.completed":
            self.result = event["job"]["result"]


def _events(answer: httpx2.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
