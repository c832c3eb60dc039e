"""How many submits an owner has within a minute, and how that is told."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from outlast.policy import Limits
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.quota import Quota
from outlast.web.service import service
from tests.web.ground import as_, client, entry, make_app

GREET = {"type": "greet", "payload": {"name": "Ada"}}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def http(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> AsyncIterator[httpx2.AsyncClient]:
    """Each owner has three submits a minute."""
    usual = "jobs:read+jobs:write+jobs:cancel"
    keys = [entry("ann", "ann", usual), entry("ben", "ben", usual), entry("shop", "shop", f"{usual}+owner:any")]
    monkeypatch.setenv("OUTLAST_KEYS", ",".join(keys))
    app = make_app(MemoryStore(clock=clock), limits=Limits(submits=3))
    async with app.lifespan(worker=False), client(service(app)) as http:
        yield http


async def submitted(http: httpx2.AsyncClient, key: str = "ann", owner: str | None = None) -> httpx2.Response:
    return await http.post("/jobs", json=GREET, headers=as_(key, owner))


def told(reply: httpx2.Response) -> tuple[str, str]:
    return reply.headers["ratelimit-policy"], reply.headers["ratelimit"]


async def test_each_reply_says_what_is_left_and_for_how_long(http: httpx2.AsyncClient, clock: FakeClock) -> None:
    left = []
    for _ in range(3):
        reply = await submitted(http)
        assert (reply.status_code, reply.headers["ratelimit-policy"]) == (202, '"submit";q=3;w=60')
        left.append(reply.headers["ratelimit"])
        clock.advance(10)
    assert left == ['"submit";r=2;t=60', '"submit";r=1;t=50', '"submit";r=0;t=40']


async def test_beyond_the_cap_nothing_is_stored_and_the_time_to_come_again_is_told(
    http: httpx2.AsyncClient, clock: FakeClock
) -> None:
    for _ in range(3):
        await submitted(http)
    clock.advance(29.5)
    reply = await submitted(http)
    assert (reply.status_code, reply.json()["code"]) == (429, "quota_exceeded")
    assert reply.json()["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert reply.json()["violated-policies"] == ["submit"]
    assert told(reply) == ('"submit";q=3;w=60', '"submit";r=0;t=31')
    assert (reply.headers["retry-after"], reply.json()["retryAfterMs"]) == ("31", 31_000)
    assert len((await http.get("/jobs", headers=as_("ann"))).json()["data"]) == 3
    clock.advance(30)
    assert (await submitted(http)).status_code == 429
    clock.advance(1)
    assert (await submitted(http)).status_code == 202


async def test_owners_do_not_use_up_each_others(http: httpx2.AsyncClient) -> None:
    for _ in range(3):
        await submitted(http, "shop", "ann")
    assert (await submitted(http, "ann")).status_code == 429
    for key, owner in [("ben", None), ("shop", "cy"), ("shop", None)]:
        assert (await submitted(http, key, owner)).status_code == 202


async def test_a_batch_counts_by_its_jobs_and_is_refused_whole(http: httpx2.AsyncClient) -> None:
    async def batch(size: int) -> httpx2.Response:
        return await http.post("/jobs/batch", json={"jobs": [GREET] * size}, headers=as_("ann"))

    for size, status, left in [(4, 429, 3), (2, 202, 1), (2, 429, 1), (1, 202, 0)]:
        reply = await batch(size)
        assert (reply.status_code, reply.headers["ratelimit"]) == (status, f'"submit";r={left};t=60')


async def test_a_retry_is_a_submit_too(http: httpx2.AsyncClient) -> None:
    own = (await submitted(http)).json()["urls"]["self"]
    await http.post(f"{own}/cancel", headers=as_("ann"))
    statuses = [(await http.post(f"{own}/retry", headers=as_("ann"))).status_code for _ in range(3)]
    assert statuses == [202, 202, 429]


async def test_what_is_refused_for_its_form_counts_as_nothing(http: httpx2.AsyncClient) -> None:
    for _ in range(5):
        wrong = await http.post("/jobs", json=GREET | {"delayMs": -1}, headers=as_("ann"))
        assert (wrong.status_code, "ratelimit" in wrong.headers) == (422, False)
    assert told(await submitted(http))[1] == '"submit";r=2;t=60'


@pytest.mark.parametrize(("settings", "key"), [({}, "ann"), ({"limits": Limits(submits=1)}, None)])
async def test_without_a_cap_or_an_owner_nothing_is_counted(
    monkeypatch: pytest.MonkeyPatch, settings: Any, key: str | None
) -> None:
    monkeypatch.setenv("OUTLAST_KEYS", entry("ann", "ann", "jobs:write") if key else "")
    app = make_app(**settings)
    async with app.lifespan(worker=False), client(service(app)) as http:
        for _ in range(3):
            reply = await http.post("/jobs", json=GREET, headers=as_(key) if key else {})
            assert (reply.status_code, "ratelimit" in reply.headers) == (202, False)


def test_owners_of_long_ago_are_forgotten() -> None:
    quota = Quota()
    for number in range(1_000):
        quota.take(f"owner {number}", 1, 9, now=float(number))
    assert len(quota._windows) <= 121


def test_a_clock_that_went_back_begins_anew() -> None:
    quota = Quota()
    quota.take("ann", 9, 9, now=1e9)
    assert re.search("r=8;t=60", quota.take("ann", 1, 9, now=1e8)["RateLimit"])
