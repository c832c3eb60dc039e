"""An app that signs, once on each store, with a clock that stands still."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outlast import Outlast
from outlast.stores import open_store
from outlast.testing import FakeClock
from tests.webhooks.ground import MASTER, Receiver, make_app, receiving


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_SECRET", MASTER)


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def app(url: str, clock: FakeClock) -> AsyncIterator[Outlast]:
    async with make_app(open_store(url, clock=clock)) as app:
        yield app


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver
