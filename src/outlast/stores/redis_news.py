"""News of other processes, and the server's clock: a thread with an event loop of its own.

Every script that writes publishes one short message, with the id of the process that called it. Messages may be lost
with a connection: whoever listens is told to look for itself once it is back, and now and then while it is not.
"""

import asyncio
import threading
from contextlib import suppress
from random import uniform

from outlast.stores.base import Clock, Listeners, News
from outlast.stores.redis_link import Link

POLL = 1.0
"""Seconds between two looks while there is nothing to listen to, give or take a fifth."""

QUIET = 15.0
"""Seconds of silence after which the connection is tried."""


class Newsroom:
    """Listens to a channel until it is stopped.

    Parameters
    ----------
    me: the id by which own messages are known, and passed over.
    clock: doubted with each new connection.
    """

    def __init__(self, link: Link, channel: str, me: str, listeners: Listeners, clock: Clock) -> None:
        self._link, self._channel, self._me = link, channel, me
        self._listeners, self._clock = listeners, clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="outlast-redis-news", daemon=True)
        self.listening = threading.Event()

    async def start(self) -> None:
        """Returns once it listens, or knows that it cannot."""
        self._thread.start()
        await asyncio.to_thread(self.listening.wait)

    async def stop(self) -> None:
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        while self._thread.is_alive():
            await asyncio.sleep(0.001)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._listen_for_ever())

    async def _listen_for_ever(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        while True:
            try:
                await self._listen()
            except Exception:
                # Nothing to listen to, so whoever waits has to look. The store's own calls say what is wrong.
                self.listening.set()
            self._listeners.tell(News(None, ready=True))
            await asyncio.sleep(POLL * uniform(0.8, 1.2))

    async def _listen(self) -> None:
        async with self._link.pools.listener() as client, client.pubsub() as channel:
            await channel.subscribe(self._channel)
            while True:
                message = await channel.get_message(timeout=QUIET)
                if message is None:
                    await channel.ping()
                elif message["type"] == "subscribe":
                    await self._begin()
                elif message["type"] == "message":
                    self._hear(message["data"])

    async def _begin(self) -> None:
        # Whatever was said before is lost, and it may be another server that says it from now on.
        self._listeners.tell(News(None, ready=True))
        self._clock.doubt()
        self.listening.set()

    def _hear(self, message: str) -> None:
        if message[1:] != self._me:
            self._listeners.tell(News(None, ready=message[0] == "1"))
