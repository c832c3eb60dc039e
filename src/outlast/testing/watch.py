"""What a test sees of running handlers: the Context of production, with an eye on it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from time import monotonic
from typing import Any

from outlast.calls import called
from outlast.context import Context
from outlast.job import Job, Waiting
from outlast.replay import Frame
from outlast.stores.base import LEASE
from outlast.testing.clock import FakeClock
from outlast.testing.faults import FailAt, Faults
from outlast.testing.store import WatchedStore

SOON = 0.005
"""Real seconds after which a short sleep is over."""


class PassingClock(FakeClock):
    """A clock that a test moves; the short pauses of a handler that keeps its worker pass by themselves.

    While time passes, the leases in hand are renewed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.renew: Callable[[float], None] = lambda until: None
        self._wanted: list[float] = []
        self._passed = monotonic()

    def move_to(self, time: float) -> None:
        # Before, so that nobody sees a lease run out whose holder lives.
        self.renew(max(time, self.now()) + LEASE)
        super().move_to(time)

    def soon(self, time: float) -> None:
        """Let it be this time soon; of several, the earliest comes first, and a pause lies between them."""
        heappush(self._wanted, time)
        asyncio.get_running_loop().call_later(SOON, self._pass)

    def _pass(self) -> None:
        if monotonic() < self._passed + SOON:
            asyncio.get_running_loop().call_later(SOON, self._pass)
        elif self._wanted:
            self.move_to(self._wanted[0])
            self._passed = monotonic()
            while self._wanted and self._wanted[0] <= self.now():
                heappop(self._wanted)


@dataclass
class Watch:
    """What happened in the handlers, and what is planned to happen.

    calls:  job id and name of each step whose function was really called, in order.
    slices: the Context of each slice, in order.
    """

    clock: PassingClock = field(default_factory=PassingClock)
    faults: Faults = field(default_factory=Faults)
    calls: list[tuple[str, str]] = field(default_factory=list)
    slices: "list[WatchedContext]" = field(default_factory=list)

    def keeping(self, store: WatchedStore) -> Callable[[float], None]:
        """What renews the leases of all slices that are open."""
        return lambda until: store.keep([slice.job.lease for slice in self.running()], until)

    def running(self) -> "list[WatchedContext]":
        """The slices that are open."""
        return [slice for slice in self.slices if slice.open]

    def raised(self, job: Job[Any]) -> BaseException | None:
        """What the handler raised in the job's last slice."""
        last = next((slice for slice in reversed(self.slices) if slice.job.id == job.id), None)
        return None if last is None else last.raised


class WatchedContext(Context):
    """The Context of one slice: it notes which steps are called, and fails where a test has planned it."""

    def __init__(self, watch: Watch, *parts: Any) -> None:
        super().__init__(*parts)
        self._watch = watch
        watch.slices.append(self)

    @property
    def open(self) -> bool:
        return not self._recorder.closed and self._recorder.lost is None

    def die(self) -> None:
        """What a dead worker does: nothing any more. The lease stays, and runs out."""
        self._recorder.lose(self.job)

    async def _sleep_here(self, seconds: float) -> None:
        self._watch.clock.soon(self._store.now() + seconds)
        await super()._sleep_here(seconds)

    def parking(self, now: float) -> tuple[Waiting | None, float | None]:
        waiting, ask_at = super().parking(now)
        if ask_at is not None:
            self._watch.clock.soon(ask_at)
        return waiting, ask_at

    async def _paused(self, pause: float, frame: Frame) -> bool:
        self._watch.clock.soon(self._store.now() + pause)
        return await super()._paused(pause, frame)

    async def _run(self, frame: Frame, fn: Callable[..., Any], *rest: Any, **more: Any) -> Any:
        fault = self._watch.faults.take(frame.index + 1, frame.name)

        async def watched(*args: Any, **kwargs: Any) -> Any:
            await self._fail("before", fault)
            self._watch.calls.append((self.job.id, frame.name))
            value = await called(fn, args, kwargs, self.threads)
            await self._fail("unrecorded", fault)
            return value

        value = await super()._run(frame, watched, *rest, **more)
        await self._fail("after", fault)
        return value

    async def _fail(self, moment: str, fault: FailAt | None) -> None:
        if fault is None or fault.when != moment:
            return
        if not fault.kill:
            raise fault.raised()
        self.die()
        await self._never()
