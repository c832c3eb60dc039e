"""How many jobs may wait before a submit is refused: of one owner, and of all together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from outlast.policy import Limits
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.service import service
from tests.web.ground import as_, client, entry, make_app

GREET = {"type": "greet", "payload": {"name": "Ada"}}
USUAL = "jobs:read+jobs:write+jobs:cancel"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", ",".join(entry(name, name, USUAL) for name in ("ann", "ben")))


@asynccontextmanager
async def with_limits(clock: FakeClock, **limits: int) -> AsyncIterator[httpx2.AsyncClient]:
    """Without a worker: what is submitted waits."""
    app = make_app(MemoryStore(clock=clock), limits=Limits(**limits))
    async with app.lifespan(worker=False), client(service(app)) as http:
        yield http


async def submitted(http: httpx2.AsyncClient, owner: str) -> httpx2.Response:
    return await http.post("/jobs", json=GREET, headers=as_(owner))


def refused(reply: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = reply.json()
    assert (reply.status_code, problem["code"]) == (status, code), reply.text
    assert (reply.headers["retry-after"], problem["retryAfterMs"]) == ("5", 5000)
    return problem


async def test_of_one_owner_no_more_wait_than_may_and_others_are_let_in(clock: FakeClock) -> None:
    async with with_limits(clock, queued_by_owner=2) as http:
        first = (await submitted(http, "ann")).json()
        assert (await submitted(http, "ann")).status_code == 202
        problem = refused(await submitted(http, "ann"), 429, "quota_exceeded")
        assert problem["violated-policies"] == ["queued"]
        assert (await submitted(http, "ben")).status_code == 202
        await http.post(f"/jobs/{first['id']}/cancel", headers=as_("ann"))
        assert (await submitted(http, "ann")).status_code == 202


async def test_a_batch_that_does_not_fit_is_refused_whole(clock: FakeClock) -> None:
    async with with_limits(clock, queued_by_owner=3) as http:
        await submitted(http, "ann")
        reply = await http.post("/jobs/batch", json={"jobs": [GREET] * 3}, headers=as_("ann"))
        refused(reply, 429, "quota_exceeded")
        assert len((await http.get("/jobs", headers=as_("ann"))).json()["data"]) == 1


async def test_where_the_queue_is_full_nobody_submits_until_there_is_room(clock: FakeClock) -> None:
    async with with_limits(clock, queued=2) as http:
        jobs = [(await submitted(http, owner)).json() for owner in ("ann", "ben")]
        clock.advance(1)
        for owner in ("ann", "ben"):
            refused(await submitted(http, owner), 503, "queue_full")
        await http.post(f"/jobs/{jobs[0]['id']}/cancel", headers=as_("ann"))
        clock.advance(1)
        assert (await submitted(http, "ben")).status_code == 202


async def test_while_there_is_much_room_it_is_rarely_counted(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = 0
    count = MemoryStore.count

    async def counted(self: MemoryStore, query: Any) -> Any:
        nonlocal counts
        counts += 1
        return await count(self, query)

    monkeypatch.setattr(MemoryStore, "count", counted)
    async with with_limits(clock, queued=1_000_000) as http:
        for _ in range(59):
            await submitted(http, "ann")
            clock.advance(0.8)
    assert counts == 1
