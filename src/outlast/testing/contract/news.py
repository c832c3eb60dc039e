"""News: every write is heard, with the ids of its jobs, on the event loop that listens."""

import asyncio
import threading
from collections.abc import Callable
from typing import Self

from outlast import lifecycle
from outlast.stores.base import News, Store
from outlast.testing.contract.ground import (
    TYPE,
    WORKER,
    completed,
    current,
    delayed,
    log,
    new_jobs,
    processing,
    queued,
    wrote,
)

PATIENCE = 10.0
"""Seconds after which news that did not come is given up; no test that passes waits that long."""


class Newscast:
    async def test_every_write_is_heard_with_its_ids(self, store: Store) -> None:
        with _Listener(store) as heard:
            job = await queued(store)
            await heard.of(job.id)
            [job] = (await store.claim(1, [TYPE], WORKER)).jobs
            await heard.of(job.id)
            await wrote(store, lifecycle.append(job, events=[log(store.now())]))
            await heard.of(job.id)
            await wrote(store, lifecycle.cancel(job, store.now()))
            await heard.of(job.id)
            await wrote(store, lifecycle.complete(await current(store, job.id), "1", store.now()))
            await heard.of(job.id)
            await store.purge([job.id])
            await heard.of(job.id)

    async def test_what_becomes_claimable_is_announced_as_ready(self, store: Store) -> None:
        later, running = await delayed(store), await processing(store)
        with _Listener(store) as heard:
            await heard.of((await queued(store)).id, ready=True)
            await wrote(store, lifecycle.ready(later, store.now()))
            await heard.of(later.id, ready=True)
            await wrote(store, lifecycle.hand_back(running, "deploy", store.now()))
            await heard.of(running.id, ready=True)

    async def test_all_jobs_of_a_call_are_named(self, store: Store) -> None:
        with _Listener(store) as heard:
            for job in await store.insert(new_jobs(store, 20)):
                await heard.of(job.id, keep=True)

    async def test_several_listeners_hear_the_same_until_they_stop(self, store: Store) -> None:
        with _Listener(store) as one:
            with _Listener(store) as other:
                job = await queued(store)
                await one.of(job.id)
                await other.of(job.id)
            late = await queued(store)
            await one.of(late.id)
            assert late.id not in other.ids

    async def test_a_listener_is_called_on_its_own_loop(self, store: Store) -> None:
        """The store is written to on this loop, and listened to on that of another thread."""
        listens, wrote_to = threading.Event(), list[str]()

        async def listen() -> None:
            with _Listener(store) as heard:
                listens.set()
                await heard.until(lambda: bool(wrote_to) and wrote_to[0] in heard.ids, "news of another thread's write")

        listener = asyncio.create_task(asyncio.to_thread(asyncio.run, listen()))
        await asyncio.to_thread(listens.wait, PATIENCE)
        wrote_to.append((await queued(store)).id)
        await wrote(store, lifecycle.cancel(await current(store, wrote_to[0]), store.now()))
        await listener

    async def test_a_listener_whose_loop_is_gone_disturbs_nobody(self, store: Store) -> None:
        async def listen() -> None:
            store.listen(lambda news: None)

        await asyncio.to_thread(asyncio.run, listen())
        with _Listener(store) as heard:
            await heard.of((await completed(store)).id)


class _Listener:
    """Collects what it hears, and notes should it ever be called on a loop that is not its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()
        self.ids: set[str] = set()
        self.ready: set[str] = set()
        self.astray = False

    def __enter__(self) -> Self:
        self._stop = self._store.listen(self._hear)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    def _hear(self, news: News) -> None:
        self.astray |= asyncio.get_running_loop() is not self._loop
        ids = news.ids or frozenset()
        self.ids |= ids
        self.ready |= ids if news.ready else frozenset()
        self._came.set()

    async def of(self, id: str, *, ready: bool = False, keep: bool = False) -> None:
        """Wait until this job was named, and forget what was heard so far."""
        await self.until(lambda: id in (self.ready if ready else self.ids), f"news of {id}")
        if not keep:
            self.ids, self.ready = set(), set()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise AssertionError(f"{what} was not heard") from None
        assert not self.astray, "a listener was called on another loop than its own"
