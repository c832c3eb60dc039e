"""A fresh app with the example's handler, an offline model that does not pause, and a log of its calls."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from examples.journeys.jobs import CHECKING, FINDING, READING, transcript_to_journey
from examples.models import VENDORS
from outlast import Outlast

ModelCalls = Callable[[], list[dict[str, object]]]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks a vendor, whatever keys the machine has."""
    for variable in ("OUTLAST_MODEL", *(variable for variables, _ in VENDORS.values() for variable in variables)):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("EXAMPLES_OFFLINE_PACE", "0")


@pytest.fixture
def model_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelCalls:
    """The calls of the model that were really made so far."""
    path = tmp_path / "model-calls.jsonl"
    monkeypatch.setenv("EXAMPLES_MODEL_LOG", str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Outlast]:
    """An app of its own on a file of its own, with a worker."""
    app = Outlast(f"sqlite:///{tmp_path}/jobs.db")
    app.handler(name=transcript_to_journey.name, backoff="10ms", steps=[READING, FINDING, CHECKING])(
        transcript_to_journey.fn
    )
    async with app, app.working():
        yield app
