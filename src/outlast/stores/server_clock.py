"""The clock of a store's server, as this process reckons it.

Leases and due times of many machines must be by one clock, and that of the server is the one they share. It is asked
now and then; in between, time passes by this process's own monotonic clock, which nobody can set.
"""

import time
from collections.abc import Awaitable, Callable

from outlast.stores.base import Clock

ASKED = 3
"""Times the server is asked; the answer that came back the fastest counts."""

AGAIN = 60.0
"""Seconds after which it is asked again, for no two clocks run equally fast."""


class ServerClock(Clock):
    """Until it was set for the first time, the wall clock of this machine."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._server = time.time()
        self.set_at: float | None = None
        """When it was last set, by `time.monotonic()`."""

    def now(self) -> float:
        return self._server + (time.monotonic() - self._at)

    async def set_by(self, ask: Callable[[], Awaitable[float]]) -> None:
        """Set it by what the server answers, in seconds since 1970. An error of `ask` leaves it as it was."""
        answers = []
        for _ in range(ASKED):
            before = time.monotonic()
            server = await ask()
            after = time.monotonic()
            answers.append((after - before, (before + after) / 2, server))
        _, self._at, self._server = min(answers)
        self.set_at = time.monotonic()
