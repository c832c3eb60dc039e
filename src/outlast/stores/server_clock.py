"""The clock of a store's server, as this process reckons it.

Leases and due times of many machines must be by one clock, and that of the server is the one they share. It is asked
now and then; in between, time passes by a clock of this machine that nobody can set, and that goes on while it sleeps.
"""

import time
from collections.abc import Awaitable, Callable

from outlast.stores.base import Clock

ASKED = 3
"""Times the server is asked; the answer that came back the fastest counts."""

AGAIN = 60.0
"""Seconds after which it is asked again, for no two clocks run equally fast."""

JUMP = 1.0
"""Seconds by which this machine's two clocks may drift apart before the server is asked again.

A virtual machine that was stopped as a whole (a function between two calls, a snapshot) does not count that time. Once
it goes on, its wall clock is put right before long, and so tells.
"""


class ServerClock(Clock):
    """Until it was set for the first time, the wall clock of this machine."""

    def __init__(self) -> None:
        # One value, for other threads read it while it is set: when that was by either clock, and the server's time.
        self._set = passed(), time.time(), time.time()
        self._doubted = False

    def now(self) -> float:
        at, _, server = self._set
        return server + (passed() - at)

    @property
    def stale(self) -> bool:
        """True if the server should be asked again."""
        at, wall, _ = self._set
        since = passed() - at
        return self._doubted or since > AGAIN or abs(time.time() - wall - since) > JUMP

    def doubt(self) -> None:
        """It may be another server from now on."""
        self._doubted = True

    async def keep(self, ask: Callable[[], Awaitable[float]]) -> None:
        """Set it again if it is time to. A server that does not answer leaves it as it was, until the next call."""
        if self.stale:
            try:
                await self.set_by(ask)
            except Exception:
                # The call that follows meets the same error, and has somebody to tell.
                return

    async def set_by(self, ask: Callable[[], Awaitable[float]]) -> None:
        """Set it by what the server answers, in seconds since 1970. An error of `ask` leaves it as it was."""
        answers = []
        for _ in range(ASKED):
            before = passed()
            server = await ask()
            after = passed()
            answers.append((after - before, (before + after) / 2, server))
        _, at, server = min(answers)
        self._set, self._doubted = (at, time.time() - (passed() - at), server), False


def passed() -> float:
    """Seconds that passed since this machine was started, its sleep with them where the system counts that."""
    return time.clock_gettime(_PASSED) if _PASSED is not None else time.monotonic()


_PASSED: int | None = getattr(time, "CLOCK_BOOTTIME", None)
