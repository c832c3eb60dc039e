"""The owner's feed: each of an owner's jobs as it is, and again whenever it has changed; states, not history.

What has changed is found by the time of its last event. A look begins some seconds before the last one, for a write may
be seen later than its time says; what was told already is passed over by its version, which output does not raise.

No look but the first walks all that is kept. An ended job never changes again, so nothing can that was submitted before
the oldest live one; ids rise with time, and a store finds those above one of them by an index.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from random import uniform
from time import monotonic
from typing import Any, NamedTuple

from outlast.follow import Hub
from outlast.job import LIVE, Job
from outlast.notation import job_id
from outlast.stores.base import Owner, Query, Store

OVERLAP = 60.0
"""Seconds before a reader's cursor from which it is told anew: clocks differ, and a commit may take its time."""

LATE = 10.0
"""Seconds for which a write may be seen later than its time says, while the feed is followed."""

BETWEEN = 0.25
"""Seconds between two looks, at least."""

REST = 10
"""For so many times the time that the store took for a look, the next one waits."""

FLOOR = 30.0
"""Seconds for which it is not looked for the oldest live job anew."""

BACKSTOP = 30.0
"""Seconds after which it looks even if it heard nothing, give or take a fifth."""

PAGE = 200


class Seen(NamedTuple):
    """Jobs as they now are, without payloads and results.

    `cursor` is the time of the store from which a reader of these would go on: until then it has been told all.
    None: there is no such time yet. `last` is the cursor behind the last of these jobs.
    """

    jobs: list[Job[Any]]
    cursor: float | None
    last: float | None


async def feed(
    hub: Hub, store: Store, owner: Owner, after: float | None, stopping: asyncio.Event
) -> AsyncGenerator[Seen, None]:
    """What is live, or has changed since a cursor; then what changes, until `stopping`, which stops the hub too.

    The first look ends with one whose `last` is set, be it empty. A cursor of the future is none.
    """
    looks = Looks(store, owner, after)
    while not stopping.is_set():
        heard = hub.heard()
        async with aclosing(looks.look()) as all_seen:
            async for seen in all_seen:
                yield seen
        if await _set_within(stopping, max(BETWEEN, REST * looks.took)):
            return
        await _set_within(heard, BACKSTOP * uniform(0.8, 1.2))


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


class Looks:
    """One reader's looks at the store. `took` is how many seconds of the last one were spent there."""

    def __init__(self, store: Store, owner: Owner, after: float | None) -> None:
        self._store = store
        self._owner = owner
        self._cursor = None if after is None or after > store.now() else after
        self._since = None if self._cursor is None else self._cursor - OVERLAP
        self._floor: str | None = None
        self._floor_until = 0.0
        self._told: dict[str, int] = {}
        self._is_first = True
        self.took = 0.0

    async def look(self) -> AsyncGenerator[Seen, None]:
        """What has changed since the last look."""
        at, self.took = self._store.now(), 0.0
        floor, told = await self._next_floor(at), dict[str, int]()
        wanted = self._changed() if self._since is not None else self._live()
        while True:
            page = await self._find(wanted)
            is_end = len(page) < PAGE
            fresh = [job for job in page if self._told.get(job.id) != job.version]
            if fresh or (is_end and self._is_first):
                yield Seen(fresh, self._cursor, at if is_end else self._cursor)
            told |= {job.id: job.version for job in page if job.updated_at > at - LATE}
            if is_end:
                break
            wanted = replace(wanted, before=page[-1].id)
        self._cursor, self._since, self._floor, self._told, self._is_first = at, at - LATE, floor, told, False

    def _live(self) -> Query:
        return Query(owner=self._owner, status=LIVE, oldest_first=True, limit=PAGE)

    def _changed(self) -> Query:
        return Query(owner=self._owner, updated_after=self._since, before=self._floor, oldest_first=True, limit=PAGE)

    async def _next_floor(self, at: float) -> str:
        """What stands below the ids of all jobs that are live, and of all that were submitted a moment ago or will be.

        It is for the next look: a job that ends while this one is under way was live as it began. An old one still
        holds, and only makes looks longer.
        """
        if self._floor is not None and at < self._floor_until:
            return self._floor
        self._floor_until = at + FLOOR
        oldest = await self._find(replace(self._live(), before=self._floor, limit=1))
        recent = job_id(at - OVERLAP, bytes(12))
        return min([recent, *(job.id[:-1] for job in oldest)])

    async def _find(self, query: Query) -> list[Job[Any]]:
        began = monotonic()
        try:
            return await self._store.find(query)
        finally:
            self.took += monotonic() - began
