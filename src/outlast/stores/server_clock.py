"""The clock of a store's server, as this process reckons it.

Leases and due times of many machines must be by one clock, and that of the server is the one they share. It is asked
now and then; in between, time passes by a clock of this machine that nobody can set, and that goes on while it sleeps.
"""

import time
from collections.abc import Awaitable, Callable

from outlast.stores.base import Clock

ASKED = 3
"""Times the server is asked at first; the answer that came back the fastest counts."""

AGAIN = 60.0
"""Seconds after which it is asked again, for no two clocks run equally fast."""

JUMP = 1.0
"""Seconds by which this machine's two clocks may drift apart before the server is asked again.

A virtual machine that was stopped as a whole (a function between two calls, a snapshot) does not count that time. Once
it goes on, its wall clock is put right before long, and so tells.
"""


class ServerClock(Clock):
    """Until it was checked for the first time, the wall clock of this machine.

    Parameters
    ----------
    ask: the server for its time, in seconds since 1970.
    """

    def __init__(self, ask: Callable[[], Awaitable[float]]) -> None:
        self._ask = ask
        # One value, for other threads read it while it is set: when that was by either clock, and the server's time.
        self._set = passed(), time.time(), time.time()
        self._doubts, self._settled = 1, 0

    def now(self) -> float:
        at, _, server = self._set
        return server + (passed() - at)

    async def checked(self) -> float:
        """Raises what `ask` does; the clock is then as it was, and asks with the next check."""
        if self._is_stale():
            await self._check()
        return self.now()

    def doubt(self) -> None:
        self._doubts += 1

    def _is_stale(self) -> bool:
        at, wall, _ = self._set
        since = passed() - at
        return self._doubts != self._settled or since > AGAIN or abs(time.time() - wall - since) > JUMP

    async def _check(self) -> None:
        doubts = self._doubts
        answers = [await self._answer() for _ in range(1 if self._settled else ASKED)]
        _, at, server = min(answers)
        self._set = at, time.time() - (passed() - at), server
        self._settled = doubts

    async def _answer(self) -> tuple[float, float, float]:
        """How long it took, when that was, and what the server said."""
        before = passed()
        server = await self._ask()
        after = passed()
        return after - before, (before + after) / 2, server


def passed() -> float:
    """Seconds that passed since this machine was started, its sleep with them where the system counts that."""
    return time.clock_gettime(_PASSED) if _PASSED is not None else time.monotonic()


_PASSED: int | None = getattr(time, "CLOCK_BOOTTIME", None)
