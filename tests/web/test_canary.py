"""Two owners, every route, every verb: nothing of the other is seen, counted, or told apart from what is not there.

The same requests are made in two worlds. In one, another owner has jobs of every kind, and the requests name them; in
the other there is nobody else, and they name what never was. The replies have to be the same. The routes are those of
the surface itself, so that a new one is tried too, with the body that BODIES gives it or an empty object.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import httpx2
import pytest

from outlast import Outlast
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.web.api import JOBS
from outlast.web.service import SERVICE, service
from tests.web.ground import SECRET, as_, client, ended, entry, make_app, until

USUAL = "jobs:read+jobs:write+jobs:cancel"
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH")
QUERIES = (
    "",
    "?tag=of-ann&batchId=night&limit=1&after=0&include=payload",
    "?since=2020-01-01T00:00:00Z&order=createdAt",
)
UNKNOWN = [f"job_{'0' * 27}{number:02}" for number in range(4)]
BATCH = "night"

ANNS = f"attachment:sha256:{sha256(b'canary').hexdigest()}"
MINE: dict[str, Any] = {"type": "greet", "payload": {"name": "Ben"}}
BODIES: dict[str, Any] = {
    "": MINE,
    "/attachments": {"of": "Ben"},
    "/batch": {"jobs": [MINE, {"type": "greet", "payload": {"name": ANNS}}]},
    "/bulk": {"action": "cancel", "all": True},
    "/tokens": {"scope": ["submit"], "type": "greet"},
}


@dataclass
class World:
    """A service with ben in it, and what his requests name of somebody else's."""

    http: httpx2.AsyncClient
    app: Outlast
    clock: FakeClock
    theirs: list[str]
    callers: dict[str, dict[str, str]]


@asynccontextmanager
async def world(monkeypatch: pytest.MonkeyPatch, *, with_ann: bool) -> AsyncIterator[World]:
    keys = [entry(name, name, USUAL) for name in ("ann", "ben")] + [entry("shop", "shop", f"{USUAL}+owner:any")]
    monkeypatch.setenv("OUTLAST_KEYS", ",".join(keys))
    monkeypatch.setenv("OUTLAST_SECRET", SECRET)
    clock = FakeClock()
    app = make_app(MemoryStore(clock=clock))
    async with app.lifespan(worker=False), client(service(app)) as http:
        async with app.working():
            theirs = await jobs_of_ann(http) if with_ann else UNKNOWN
            own = (await http.post("/jobs", json=MINE, headers=as_("ben"))).json()
            async with app_as(http, "ben"):
                await ended(http, own["id"])
        callers = {"ben": as_("ben"), "shop for ben": as_("shop", "ben"), "shop": as_("shop")}
        callers["share token"] = as_((await app.tokens.job(own["id"], scopes=["read", "cancel"])).token)
        callers["feed token"] = as_((await app.tokens.feed("ben")).token)
        callers["submit token"] = as_((await app.tokens.submit("greet", owner="ben")).token)
        yield World(http, app, clock, theirs, callers)


@asynccontextmanager
async def app_as(http: httpx2.AsyncClient, key: str) -> AsyncIterator[None]:
    """Requests without headers of their own are this key's for a while."""
    http.headers.update(as_(key))
    yield
    del http.headers["Authorization"]


async def jobs_of_ann(http: httpx2.AsyncClient) -> list[str]:
    """Of every kind, each full of canaries."""
    async with app_as(http, "ann"):
        marks: dict[str, Any] = {
            "tags": ["of-ann"],
            "metadata": {"note": "canary"},
            "externalId": "canary",
            "batchId": BATCH,
        }
        bodies: list[dict[str, Any]] = [
            {"type": "greet", "payload": {"name": "canary"}},
            {"type": "ask", "payload": {"question": "canary"}},
            {"type": "broken"},
            {"type": "greet", "payload": {"name": "canary"}, "delayMs": 86_400_000},
        ]
        keys = [{"Idempotency-Key": f"same-{number}"} for number in range(4)]
        made = [
            (await http.post("/jobs", json=body | marks, headers=key)).json()["id"]
            for body, key in zip(bodies, keys, strict=True)
        ]
        assert (await http.post("/jobs/attachments", content=b"canary")).json()["attachment"] == ANNS
        await ended(http, made[0])
        await until(http, made[1], lambda job: job["status"] == "waiting")
        await ended(http, made[2])
    return made


def requests(theirs: list[str]) -> Iterator[tuple[str, str, Any]]:
    """Every route and every verb: method, address, body."""
    for prefix, route in [*(("/jobs", one) for one in JOBS), *(("", one) for one in SERVICE if one.scope is not None)]:
        body = {"ids": theirs} if route.path == "/status" else BODIES.get(route.path, {})
        for method in METHODS:
            for query in QUERIES if method == "GET" else ("",):
                for named in [*theirs, BATCH] if "{id}" in route.path else [""]:
                    path = route.path.replace("{id}", named).replace("{name}", "answer")
                    yield method, f"{prefix}{path}{query}", body if method in ("POST", "PUT", "PATCH") else None


async def heard(here: World) -> AsyncIterator[tuple[str, str, httpx2.Response]]:
    """What each caller asks, with the reply."""
    for caller, headers in here.callers.items():
        for method, path, body in requests(here.theirs):
            here.clock.advance(1)
            more = {"Accept": "application/json", "Idempotency-Key": "same-0"}
            reply = await here.http.request(method, path, json=body, headers=headers | more)
            yield f"{caller}: {method} {path}", plain(reply), reply


def plain(reply: httpx2.Response) -> str:
    """A reply without what is new in every one: ids, times, tokens, and what is made of them."""
    told = {name: value for name, value in reply.headers.items() if name not in ("x-request-id", "content-length")}
    if not told.get("etag", "").startswith('"v'):
        told.pop("etag", None)
    text = f"{reply.status_code} {sorted(told.items())} {reply.text}"
    for pattern in (
        r"(job|batch|req)_[0-9A-Za-z]+",
        r"\d{4}-\d\d-\d\dT[\d:.]+Z",
        r"\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT",
        r"eyJ[\w.-]+",
        r'(?<="durationMs":)\d+',
        r'(?<="nextCursor":)"[^"]+"',
        r"cursor=[\w%.=-]+",
    ):
        text = re.sub(pattern, "#", text)
    return text


async def test_what_belongs_to_another_cannot_be_told_from_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, with_ann=False) as empty:
        alone = [(asked, said) async for asked, said, _ in heard(empty)]
    async with world(monkeypatch, with_ann=True) as full:
        before = await all_of(full, "ann")
        with_ann = []
        async for asked, said, reply in heard(full):
            assert "canary" not in f"{reply.text} {reply.headers}", asked
            assert not (set(full.theirs) & set(re.findall(r"job_\w+", reply.text)) - named_by(asked, full.theirs)), (
                asked
            )
            with_ann.append((asked, said))
        assert await all_of(full, "ann") == before
    assert len(alone) == len(with_ann) > 1_000
    different = [
        (asked, said, other) for (asked, said), (_, other) in zip(with_ann, alone, strict=True) if said != other
    ]
    assert different == []


def named_by(asked: str, theirs: list[str]) -> set[str]:
    """The ids that the caller has sent itself, which may come back."""
    return set(theirs) if "/status" in asked else {id for id in theirs if id in asked}


async def all_of(here: World, owner: str) -> Any:
    """Everything an owner has, to the last event."""
    jobs = await here.app.list(owner=owner, limit=200)
    return [(await here.app.get(job.id, payload=True), await here.app.log(job.id)) for job in jobs]
