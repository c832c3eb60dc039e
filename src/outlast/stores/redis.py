"""Jobs in Redis or Valkey: many machines, one server, each move one script.

    redis.py         the store: each method is one call of a script, or a few (this file)
    redis_place.py   what a URL says
    redis_link.py    scripts, commands, errors
    redis_pool.py    the connections of each event loop
    redis_check.py   may the server be trusted with jobs
    redis_news.py    news of other processes, and the server's clock
    redis_rows.py    records to what scripts take, and back
    redis_*.lua      the scripts; the keys are in redis_common.lua, which every one of them begins with

A script runs alone on the server and is written to its log whole, so what it does is one atomic move. It must not fail
half way: it looks at everything first, and then writes. Every method's promise stands in stores/base.py.
"""

import os
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from json import JSONEncoder
from pathlib import Path
from typing import Any, Self

from outlast import lifecycle
from outlast.errors import JobNotFound, StoreUnavailable
from outlast.job import Change, Event, Job, NewJob, Signal, Status, Step
from outlast.report import REPORTS, Report
from outlast.stores import redis_rows as texts
from outlast.stores import rows
from outlast.stores.base import (
    ANY,
    IDEMPOTENCY,
    LEASE,
    Batch,
    Claimed,
    Clock,
    Description,
    Head,
    Lease,
    Listeners,
    News,
    Owner,
    Query,
    Record,
)
from outlast.stores.redis_check import SCHEMA, describe
from outlast.stores.redis_link import Link
from outlast.stores.redis_news import Newsroom
from outlast.stores.redis_place import place_of
from outlast.stores.server_clock import ServerClock

LOOK = 1000
"""Jobs that one call looks at for a list or a count, so that no other call waits for long."""

PAGE = 500
"""Events that are read at once where output is left out."""

_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class RedisStore:
    """Implements Store and Records.

    Parameters
    ----------
    url: `redis://host:6379/0`, `rediss://...` with TLS, or `unix:///path/of/socket`; `?namespace=` tells several
        stores of one server apart, `?allow_volatile=true` takes a server that may lose jobs, `?min_replicas_ack=N`
        waits for replicas.
    clock: replaces the server's clock, for tests.

    Raises ConfigurationError if the URL is wrong.
    """

    # A server keeps all that a script wrote until its end, to log it whole: of larger ones each write costs more.
    batch = Batch(most=100, lanes=2)
    locks: Path | None = None

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self._place = place_of(url)
        self.clock: Clock = clock or ServerClock(self._ask_time)
        self._listeners = Listeners()
        self._me = secrets.token_hex(8)
        self._link: Link | None = None
        self._news: Newsroom | None = None
        self._description: Description | None = None

    # -- open and closed --------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def open(self) -> None:
        if self._link is not None:
            return
        self._link = link = Link(self._place)
        try:
            self._description = await describe(link, self._place)
            with suppress(StoreUnavailable):
                # A server that takes nothing in just now says nothing of rights, and may still be read.
                await link.run("probe", _encode({"me": self._me, "schema": SCHEMA}), writes=False)
            channel = f"{self._place.prefix}news"
            self._news = Newsroom(link, channel, self._me, self._listeners, self.clock)
            await self._news.start()
            await self.clock.checked()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        news, self._news = self._news, None
        link, self._link = self._link, None
        if news is not None:
            await news.stop()
        if link is not None:
            await link.close()

    def describe(self) -> Description:
        return self._description or Description(self._place.shown, "redis", "?", "not known before it is open")

    def now(self) -> float:
        return self.clock.now()

    def listen(self, hear: Callable[[News], None]) -> Callable[[], None]:
        return self._listeners.add(hear)

    async def _ask_time(self) -> float:
        [(seconds, microseconds)] = await self._opened().ask(("TIME",))
        return int(seconds) + int(microseconds) / 1e6

    def _opened(self) -> Link:
        if self._link is None:
            raise StoreUnavailable("the store is not open")
        return self._link

    async def _read(self, script: str, **arguments: Any) -> Any:
        return await self._opened().run(script, _encode(arguments), writes=False)

    async def _write(self, script: str, **arguments: Any) -> Any:
        link = self._opened()
        try:
            return await link.run(script, _encode(arguments | {"me": self._me}), writes=True)
        except StoreUnavailable:
            # It may be written all the same, and our own message about it is passed over.
            self._listeners.tell(News(None, ready=True))
            raise

    def _tell(self, ids: Collection[str], *, ready: bool) -> None:
        if ids:
            self._listeners.tell(News(frozenset(ids), ready))

    # -- writes -----------------------------------------------------------------------------------------------------

    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        if not new:
            return []
        since = texts.number(await self.clock.checked() - IDEMPOTENCY)
        answers = await self._write("insert", new=[texts.new_job(one) for one in new], since=since)
        stored = [_inserted(one, *answer) for one, answer in zip(new, answers, strict=True)]
        self._tell([job.id for job in stored], ready=True)
        return stored

    async def claim(
        self, n: int, types: Collection[str], worker: str, *, ids: Sequence[str] | None = None, ttl: float = LEASE
    ) -> Claimed:
        now = await self.clock.checked()
        taken, wished, next_at = await self._write(
            "claim",
            n=max(n, 0),
            types=sorted(set(types)),
            ids=False if ids is None else list(ids),
            worker=worker,
            now=texts.number(now),
            till=texts.number(now + ttl),
            leases=os.urandom(16 * max(n, 0)).hex(),
        )
        jobs = [texts.job_of(shown) for shown in taken]
        self._tell([job.id for job in jobs], ready=False)
        if wished:
            await self._end_wished([texts.job_of(shown) for shown in wished], worker, now, alone=not jobs)
        return Claimed(jobs, None if next_at is None else float(next_at))

    async def _end_wished(self, jobs: Sequence[Job[Any]], worker: str, now: float, *, alone: bool) -> None:
        """Cancel those that somebody wants cancelled. If others are claimed, these shall run even if that fails."""
        try:
            await self.apply([_cancelled(job, worker, now) for job in jobs])
        except Exception:
            if alone:
                raise

    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE) -> list[Head | None]:
        if not leases:
            return []
        till = texts.number(await self.clock.checked() + ttl)
        heads = await self._write("renew", leases=leases, till=till)
        return [_head(head) for head in heads]

    async def apply(self, changes: Sequence[Change]) -> list[Job[Any] | None]:
        if not changes:
            return []
        answers = await self._write("apply", changes=[texts.change(one) for one in changes], reports=REPORTS)
        if isinstance(answers, str):
            raise JobNotFound(answers)
        ready = any(change.place is not None for change in changes)
        self._tell([change.id for change in changes], ready=ready)
        return [None if answer is None else texts.job_of(answer) for answer in answers]

    async def purge(self, ids: Sequence[str], *, owner: Owner = ANY) -> list[str]:
        if not ids:
            return []
        removed: list[str] = await self._write("purge", ids=list(ids), owner=texts.owner_text(owner))
        self._tell(removed, ready=False)
        return removed

    # -- reads ------------------------------------------------------------------------------------------------------

    async def get(self, ids: Sequence[str], *, owner: Owner = ANY, payload: bool = False) -> list[Job[Any] | None]:
        if not ids:
            return []
        found = await self._read("get", ids=list(ids), payload=payload)
        jobs = [None if shown is None else texts.job_of(shown) for shown in found]
        return [job if job is not None and owner in (ANY, job.owner) else None for job in jobs]

    async def find(self, query: Query) -> list[Job[Any]]:
        found: list[Job[Any]] = []
        before: Any = False if query.before is None else query.before
        while len(found) < query.limit:
            want = query.limit - len(found)
            part, before = await self._look(query, before, want=want, counting=False)
            found += [texts.job_of(shown) for shown in part]
            if before is None:
                break
        return found

    async def count(self, query: Query) -> dict[tuple[str, Status], int]:
        if _is_indexed(query):
            status = [status.value for status in (Status if query.status is None else query.status)]
            return _counts(await self._read("count", type=query.type or False, status=status))
        counts: dict[tuple[str, Status], int] = {}
        before: Any = False
        while before is not None:
            part, before = await self._look(query, before, want=-1, counting=True)
            for key, n in _counts(part).items():
                counts[key] = counts.get(key, 0) + n
        return counts

    async def _look(self, query: Query, before: Any, *, want: int, counting: bool) -> tuple[list[Any], str | None]:
        part, last = await self._read(
            "find",
            **texts.query(query),
            before=before,
            oldest_first=query.oldest_first,
            want=want,
            most=LOOK if counting else min(LOOK, 4 * want + 100),
            counting=counting,
        )
        return part, last

    async def due(self, limit: int, *, dead: Collection[str] = ()) -> list[Job[Any]]:
        if limit <= 0:
            return []
        now = texts.number(await self.clock.checked())
        found = await self._read("due", now=now, limit=limit, dead=sorted(dead))
        return [texts.job_of(shown) for shown in found]

    async def events(self, job_id: str, *, after: int = 0, limit: int = 500, output: bool = True) -> list[Event]:
        if limit <= 0:
            return []
        if output:
            log = await self._range(f"e:{job_id}", after, after + limit - 1)
            return [texts.event_of(seq, text) for seq, text in enumerate(log, after + 1)]
        found = await self._read("events", id=job_id, after=after, limit=limit, page=PAGE)
        return [texts.event_of(seq, text) for seq, text in found]

    async def steps(self, job_id: str) -> list[Step]:
        steps = [texts.step_of(text) for text in await self._command("HVALS", f"s:{job_id}")]
        return sorted(steps, key=lambda step: step.index)

    async def signals(self, job_id: str) -> list[Signal]:
        return [texts.signal_of(n, text) for n, text in enumerate(await self._range(f"g:{job_id}", 0, -1), 1)]

    async def reports(self, job_id: str) -> list[Report]:
        return [rows.report_of((text,)) for text in await self._range(f"t:{job_id}", 0, -1)]

    async def changed(self, seen: Mapping[str, Head]) -> dict[str, Head | None]:
        if not seen:
            return {}
        heads = await self._read("changed", ids=list(seen))
        now = {id: _head(head) for id, head in zip(seen, heads, strict=True)}
        return {id: head for id, head in now.items() if head != seen[id]}

    async def _range(self, key: str, first: int, last: int) -> list[str]:
        return await self._command("LRANGE", key, first, last)

    async def _command(self, name: str, key: str, *arguments: int | str) -> list[Any]:
        [answer] = await self._opened().ask((name, self._place.prefix + key, *arguments))
        answered: list[Any] = answer
        return answered

    # -- records ----------------------------------------------------------------------------------------------------

    async def put(
        self, key: str, value: Mapping[str, Any], *, version: int | None = None, ttl: float | None = None
    ) -> Record | None:
        now = self.now()
        expires = None if ttl is None else now + ttl
        written = await self._write(
            "put",
            key=key,
            value=rows.dumps(dict(value)),
            version=False if version is None else str(version),
            now=texts.number(now),
            expires=False if expires is None else texts.number(expires),
        )
        return None if written is None else Record(key, dict(value), int(written), expires)

    async def fetch(self, key: str) -> Record | None:
        [text] = await self._command("HMGET", "nv", key)
        return self._alive(texts.record_of(key, text)) if text is not None else None

    async def scan(self, prefix: str) -> list[Record]:
        found = [self._alive(texts.record_of(key, text)) for key, text in await self._read("scan", prefix=prefix)]
        return [record for record in found if record is not None]

    async def drop(self, keys: Collection[str]) -> None:
        await self._write("drop", keys=list(keys), now=texts.number(self.now()))

    def _alive(self, record: Record) -> Record | None:
        return None if record.expires_at is not None and record.expires_at <= self.now() else record


def _inserted(new: NewJob, holder: Sequence[Any] | None, tag: str | None) -> Job[Any]:
    if holder is not None:
        return texts.job_of(holder)
    job = Change(id=new.job.id, events=new.events).applied(new.job)
    return job if tag is None else job.evolve(tag=int(tag))


def _cancelled(job: Job[Any], worker: str, now: float) -> Change:
    """What lifecycle makes of the claim of a job that somebody wants cancelled."""
    return lifecycle.claim(job, "", worker, now, now)


def _head(head: Sequence[str] | None) -> Head | None:
    return None if head is None else Head(int(head[0]), int(head[1]))


def _is_indexed(query: Query) -> bool:
    filters = (query.tag, query.batch_id, query.created_after, query.created_before, query.updated_after)
    return query.owner is ANY and all(one is None for one in filters)


def _counts(found: Sequence[tuple[str, int]]) -> dict[tuple[str, Status], int]:
    split = [(*key.partition(":"), n) for key, n in found]
    return {(type, Status(status)): n for status, _, type, n in split}
