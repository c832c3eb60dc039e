"""Keeps the leases of a worker: a thread with an event loop of its own, which no handler can block."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from outlast.errors import StoreUnavailable
from outlast.job import Job
from outlast.stores.base import Head, Lease, Store

MARGIN = 5 / 30
"""The part of a lease before whose end an attempt stops itself when no renewal got through."""


class Holder(Protocol):
    """Who works under a lease; told on the worker's loop what became of it."""

    @property
    def job(self) -> Job[Any]: ...

    @property
    def lease(self) -> Lease: ...

    def turned(self) -> None:
        """Others left something on the job."""

    def lose(self) -> None:
        """The lease could not be renewed: somebody else has the job, or soon may."""


@dataclass(slots=True)
class Held:
    """A lease in hand; times are monotonic."""

    by: Holder
    turn: int
    good_until: float
    stop_at: float | None


class Renewer:
    """Renews every lease at a third of its life, and brings back wishes and losses.

    Parameters
    ----------
    ttl: seconds a renewal is good for.
    beat: called on the worker's loop with each renewal, for its sign of life.
    failed: called there with the error of a renewal that did not get through.
    blocked: called on the renewer's own thread with the seconds for which the worker's loop has not moved.
    """

    def __init__(
        self,
        store: Store,
        ttl: float,
        beat: Callable[[], None],
        failed: Callable[[Exception], None],
        blocked: Callable[[float], None],
    ) -> None:
        self._store = store
        self._ttl = ttl
        self._beat = beat
        self._failed = failed
        self._blocked = blocked
        self._unheard: float | None = None
        self._held: dict[str, Held] = {}
        self._loop = asyncio.get_running_loop()
        self._stop, self._ended = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="outlast renewer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._stop.set()
        await self._ended.wait()
        self._thread.join()  # which said that with the last it does

    def hold(self, holder: Holder, run_for: float | None) -> None:
        """Renew its lease until `drop`, but no longer than `run_for` seconds, so that a hung handler is recovered."""
        now = time.monotonic()
        stop_at = None if run_for is None else now + run_for
        self._held[holder.lease.lease] = Held(holder, holder.job.turn, now + self._ttl, stop_at)

    def drop(self, lease: Lease) -> None:
        """The slice is over."""
        self._held.pop(lease.lease, None)

    def _run(self) -> None:
        try:
            # Most slices are over before the first renewal is due, and need no second event loop.
            if not self._stop.wait(self._ttl / 3):
                asyncio.run(self._renew_for_ever())
        finally:
            self._on_worker_loop(self._ended.set)

    async def _renew_for_ever(self) -> None:
        pause = 0.0
        while not await asyncio.to_thread(self._stop.wait, pause):
            self._knock()
            try:
                await self._renew()
                pause = self._ttl / 3
            except Exception as error:
                pause = self._ttl / 15
                # Whatever it is, a renewer that gave up would lose every lease; what is late stops itself below.
                self._on_worker_loop(partial(self._failed, error))
            self._give_up()

    def _knock(self) -> None:
        if self._unheard is not None:
            self._blocked(time.monotonic() - self._unheard)
            return
        self._unheard = time.monotonic()
        self._on_worker_loop(self._heard)

    def _heard(self) -> None:
        self._unheard = None
        self._beat()

    async def _renew(self) -> None:
        asked = time.monotonic()
        held = [one for one in list(self._held.values()) if one.stop_at is None or asked < one.stop_at]
        try:
            async with asyncio.timeout(self._ttl / 3):
                heads = await self._store.renew([one.by.lease for one in held], ttl=self._ttl)
        except TimeoutError as error:
            raise StoreUnavailable(f"the store did not renew leases within {self._ttl / 3:g} s") from error
        for one, head in zip(held, heads, strict=True):
            self._answered(one, head, asked)

    def _answered(self, one: Held, head: Head | None, asked: float) -> None:
        if head is None:
            self._held.pop(one.by.lease.lease, None)
            self._on_worker_loop(one.by.lose)
            return
        one.good_until = asked + self._ttl
        if head.turn != one.turn:
            one.turn = head.turn
            self._on_worker_loop(one.by.turned)

    def _give_up(self) -> None:
        # By our own clock, for the store's is out of reach: what is not renewed may soon be another's.
        late = time.monotonic() + self._ttl * MARGIN
        for one in list(self._held.values()):
            if one.good_until <= late:
                self._on_worker_loop(one.by.lose)

    def _on_worker_loop(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)
