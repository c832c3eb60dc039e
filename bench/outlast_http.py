"""Outlast by HTTP as it is measured: one server in one process, and its callers in others."""

import asyncio
import time
from collections.abc import Sequence

from bench.http_calls import Served, get, post, rate, served
from bench.http_readers import Readers
from bench.measured import Numbers, awaiting, run
from bench.outlast_claims import FILL, apart
from outlast import lifecycle
from outlast.job import Job
from outlast.stores import open_store
from outlast.stores.base import Store
from outlast.verbs import new_id

ME = "me"
SUBMIT = {"type": "noop", "payload": {"n": 1}}


async def submits(url: str, seconds: float) -> Numbers:
    """Each job is on disk before its 202; no worker runs. Raises RuntimeError if one that was answered is not there."""
    with served("outlast", OUTLAST_STORE=url) as server:
        measured = rate(f"{server.url}/jobs", seconds, body=SUBMIT)
        queued = get(f"{server.url}/jobs/summary").json()["queued"]
    if queued < measured * seconds:
        raise RuntimeError(f"{queued} jobs are there, and {measured * seconds:.0f} were answered")
    return {"rate": measured}


async def gets(url: str, seconds: float) -> Numbers:
    """A job that has not changed, by a caller who has its ETag."""
    with served("outlast", OUTLAST_STORE=url) as server:
        one = f"{server.url}/jobs/{post(f'{server.url}/jobs', SUBMIT)['id']}"
        return {"rate": rate(one, seconds, headers={"If-None-Match": get(one).headers["etag"]})}


async def summaries(url: str, seconds: float) -> Numbers:
    with served("outlast", OUTLAST_STORE=url) as server:
        for _ in range(100):
            post(f"{server.url}/jobs", SUBMIT)
        return {"rate": rate(f"{server.url}/jobs/summary", seconds)}


# -- streams --------------------------------------------------------------------------------------------------------


async def streams(url: str, clients: int, idle: float, beats: int, between: float) -> Numbers:
    """Memory of each open stream, what they cost while nothing happens, and when the last of them has an event."""
    with served("outlast", "--worker", OUTLAST_STORE=url) as server:
        order = {"count": beats, "seconds": between}
        job = f"{server.url}/jobs/{post(f'{server.url}/jobs', {'type': 'beats', 'payload': order})['id']}"
        await asyncio.to_thread(_parked, job)
        before = server.resident
        async with Readers(f"{job}/events", clients) as readers:
            grown = server.resident - before
            percent = await _idle(server, idle)
            await asyncio.to_thread(post, f"{job}/signals/go", None)
            last = await readers.last_heard()
    return {"kib": grown / 1024 / clients, "percent": percent, "ms": [seconds * 1000 for seconds in last]}


async def tokens(url: str, count: int, readers: int) -> Numbers:
    """Seconds for so many tokens, a thousand a second, while so many read them."""
    with served("outlast", "--worker", OUTLAST_STORE=url) as server:
        job = f"{server.url}/jobs/{post(f'{server.url}/jobs', {'type': 'tokens', 'payload': {'count': count}})['id']}"
        await asyncio.to_thread(_parked, job)
        async with Readers(f"{job}/events", readers) as watching:
            await asyncio.to_thread(post, f"{job}/signals/go", None)
            while (shown := (await asyncio.to_thread(get, job)).json())["status"] != "completed":
                await asyncio.sleep(0.2)
            await watching.ended()
    return {f"with {readers}": shown["result"]}


def _parked(job: str) -> None:
    while get(job).json()["status"] != "waiting":
        time.sleep(0.02)


async def _idle(server: Served, seconds: float) -> float:
    await asyncio.sleep(4)  # what opening them has left to do
    before = server.cpu
    await asyncio.sleep(seconds)
    return (server.cpu - before) / seconds * 100


# -- many jobs ------------------------------------------------------------------------------------------------------


async def million(url: str, jobs: dict[str, int], own: int, rounds: int, seconds: float) -> Numbers:
    """Milliseconds of one caller's requests beside few jobs and many; so many are the caller's own in both."""
    urls = {name: apart(url, name) for name in jobs}
    for name, count in jobs.items():
        async with open_store(urls[name]) as store:
            await _fill(store, count - own, [f"owner-{number}" for number in range(1000)])
            await _fill(store, own, [ME])
    numbers: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in jobs:
            with served("outlast", OUTLAST_STORE=urls[name], OWNER=ME) as server:
                one = get(f"{server.url}/jobs?limit=1").json()["data"][0]["id"]
                for what, path in (("get", f"/{one}"), ("list", ""), ("summary", "/summary")):
                    per_second = rate(f"{server.url}/jobs{path}", seconds, connections=1)
                    numbers.setdefault(f"{what}-{name}", []).append(1000 / per_second)
    return dict(numbers)


async def _fill(store: Store, jobs: int, owners: Sequence[str]) -> None:
    """In turns for each owner; half of them have ended."""
    for begin in range(0, jobs, FILL):
        now, count = store.now(), min(FILL, jobs - begin)
        new = [
            Job[None](id=new_id(now), type="noop", payload_json="{}", owner=owners[n % len(owners)])
            for n in range(count)
        ]
        await store.insert([lifecycle.submit(job, now) for job in new])
        claimed = await store.claim(count // 2, ["noop"], "bench")
        now = store.now()
        await store.apply([lifecycle.complete(job, "null", now) for job in claimed.jobs])


if __name__ == "__main__":
    commands = (submits, gets, summaries, streams, tokens, million)
    run({command.__name__: awaiting(command) for command in commands})
