"""How fast Outlast claims from a long queue, and beside many ended jobs, against itself with few of both."""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from statistics import median

from bench.measured import Numbers
from outlast import lifecycle
from outlast.job import Job, NewJob
from outlast.stores import open_store
from outlast.stores.base import Store
from outlast.verbs import new_id

AT_ONCE = 100
"""Jobs of one claim."""

FILL = 1000
"""Jobs of one insert."""


async def claims(url: str, queued: Mapping[str, int], ended: Mapping[str, int], rounds: int, jobs: int) -> Numbers:
    """Stores in turns, each with so many queued jobs, and those named in `ended` with so many ended ones besides."""
    async with AsyncExitStack() as stack:
        stores = {name: await stack.enter_async_context(open_store(apart(url, name))) for name in queued}
        for name, store in stores.items():
            await end(store, ended.get(name, 0))
            await fill(store, queued[name])
        rates: dict[str, list[float]] = {name: [] for name in stores}
        for _ in range(rounds):
            for name, store in stores.items():
                rates[name].append(await rate(store, jobs))
                await fill(store, jobs)
        return {name: median(measured) for name, measured in rates.items()}


async def rate(store: Store, jobs: int) -> float:
    """Jobs claimed in a second, so many at once, one claim after the other."""
    began = time.perf_counter()
    claimed = 0
    while claimed < jobs:
        claimed += len((await store.claim(AT_ONCE, ["noop"], "bench")).jobs)
    return claimed / (time.perf_counter() - began)


async def fill(store: Store, jobs: int) -> None:
    for _ in range(0, jobs, FILL):
        now = store.now()
        await store.insert([new(new_id(now), now) for _ in range(FILL)])


async def end(store: Store, jobs: int) -> None:
    """Jobs with all that a life leaves behind: claimed, and completed with a result."""
    for _ in range(0, jobs, FILL):
        await fill(store, FILL)
        claimed = await store.claim(FILL, ["noop"], "bench")
        now = store.now()
        await store.apply([lifecycle.complete(job, "null", now) for job in claimed.jobs])


def new(id: str, now: float) -> NewJob:
    return lifecycle.submit(Job(id=id, type="noop", payload_json="{}"), now)


def apart(url: str, name: str) -> str:
    """A store of its own in the same place: a file, a schema, a namespace."""
    if url.startswith("sqlite:"):
        return url.replace(".db", f"-{name}.db")
    return f"{url}?{'schema' if url.startswith('postgresql:') else 'namespace'}={name}"
