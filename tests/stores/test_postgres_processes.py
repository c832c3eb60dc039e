"""Worker processes on one PostgreSQL: they are killed, paused past their leases, and their server is restarted."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from outlast import Status
from tests.stores import postgres_server
from tests.stores.postgres_ground import fresh
from tests.stores.postgres_server import Server
from torture.crew.torment import Torment, asking
from torture.crew.workers import Crew

pytestmark = pytest.mark.slow


@pytest.fixture
def own(postgres: Server) -> Iterator[Server]:
    """A server that a test may stop; there is one wherever the session's is."""
    with Server(postgres_server.wheel()) as server:
        yield server


async def test_workers_that_are_killed_and_paused_lose_and_double_nothing(postgres: Server, tmp_path: Path) -> None:
    with Crew(tmp_path, url=fresh(postgres.url()), lease=2.0) as crew:
        async with asking(crew) as app:
            damage = await Torment(crew, app, 20261125, seconds=0.4).run(kills=8, jobs=80)
    assert (damage.lost, damage.doubled) == ([], [])
    assert damage.takeovers > 0


async def test_workers_go_on_by_themselves_after_their_server_was_restarted(own: Server, tmp_path: Path) -> None:
    with Crew(tmp_path, url=fresh(own.url()), lease=2.0) as crew:
        async with asking(crew) as app:
            crew.start()
            for how in (signal.SIGQUIT, signal.SIGINT):
                jobs = [await app.submit("three_steps", {"seconds": 0.05}) for _ in range(20)]
                await asyncio.to_thread(own.stop, how)
                await asyncio.to_thread(own.start)
                for job in jobs:
                    ended = await app.wait(job.id, 60)
                    assert ended.status is Status.COMPLETED
            crew.check()
