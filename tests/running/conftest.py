"""An app with a worker in this process, once on each store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from outlast import Outlast
from outlast.stores import open_store
from outlast.testing import FakeClock

Until = Callable[[Callable[[], Awaitable[bool]], str], Awaitable[None]]


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
async def app(url: str) -> AsyncIterator[Outlast]:
    """Connected, with no worker: a test that wants one says `async with app.working()`."""
    async with Outlast(url, grace=5.0) as app:
        yield app


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def timeless(url: str, clock: FakeClock) -> AsyncIterator[Outlast]:
    """An app whose time passes by `clock.advance` alone."""
    async with Outlast(open_store(url, clock=clock), grace=5.0) as app:
        yield app


@pytest.fixture
def until() -> Until:
    """Wait for a condition; the test fails with its description if it does not come."""

    async def wait(condition: Callable[[], Awaitable[bool]], description: str) -> None:
        with anyio.move_on_after(20):
            while not await condition():
                await anyio.sleep(0.005)
            return
        pytest.fail(f"it did not come about that {description}")

    return wait
