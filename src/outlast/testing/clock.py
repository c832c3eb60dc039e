"""A clock that stands still until a test moves it."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from outlast.policy import seconds
from outlast.stores.base import Clock

START = 1_800_000_000.25
"""When every test begins: 15 January 2027, and a quarter of a second, so that nothing rests on whole numbers."""


@dataclass(frozen=True, eq=False)
class _Alarm:
    """Somebody on an event loop who wants to be rung at a time."""

    at: float
    loop: asyncio.AbstractEventLoop
    ring: Callable[[], None]


class FakeClock(Clock):
    """Give it to a store, and time passes only by `advance`; nobody ever sleeps.

    It may be waited on from several event loops and advanced from any thread.
    """

    def __init__(self, start: float = START) -> None:
        self._now = start
        self._lock = threading.RLock()
        self._alarms: set[_Alarm] = set()

    def now(self) -> float:
        return self._now

    def advance(self, duration: str | float | timedelta) -> None:
        """Let time pass, and wake everybody whose time has come. A duration is seconds, a timedelta or `2h`."""
        length = seconds(duration)
        with self._lock:
            self.move_to(self._now + length)

    def move_to(self, time: float) -> None:
        """The same up to a time in seconds since 1970; nothing if that has passed."""
        with self._lock:
            self._now = max(self._now, time)
            come = [alarm for alarm in self._alarms if alarm.at <= self._now]
        for alarm in come:
            alarm.loop.call_soon_threadsafe(self._ring, alarm)

    async def wait(self, event: asyncio.Event, until: float | None) -> bool:
        loop = asyncio.get_running_loop()
        timeout = asyncio.timeout(None)
        call_off = None if until is None else self.alarm(until, lambda: timeout.reschedule(loop.time()))
        try:
            async with timeout:
                await event.wait()
        except TimeoutError:
            return event.is_set()
        finally:
            if call_off is not None:
                call_off()
        return True

    def alarm(self, at: float, ring: Callable[[], None]) -> Callable[[], object]:
        alarm = _Alarm(at, asyncio.get_running_loop(), ring)
        with self._lock:
            self._alarms.add(alarm)
            come = at <= self._now
        if come:
            alarm.loop.call_soon(self._ring, alarm)
        return partial(self._take_down, alarm)

    def _ring(self, alarm: _Alarm) -> None:
        """Runs on the loop that waits; whoever has called it off meanwhile is not rung."""
        if self._take_down(alarm):
            alarm.ring()

    def _take_down(self, alarm: _Alarm) -> bool:
        with self._lock:
            waits = alarm in self._alarms
            self._alarms.discard(alarm)
        return waits
