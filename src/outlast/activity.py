"""What runs and what waits within one slice, and so whether its job should park."""

import asyncio
from typing import Protocol

from outlast.job import Waiting
from outlast.stores.base import Clock

QUIET = 1.0
"""Seconds without a running step after which a wait beside other tasks parks the job."""


class Stirred(Protocol):
    """Who looks again, once stirred, at what is to become of a slice."""

    def stir(self) -> None: ...


class Activity:
    """The steps and waits of one slice; a step runs `with` it.

    Parameters
    ----------
    clock: the store's.
    stirred: the attempt, which is to look again when a step ends or a wait begins.
    """

    def __init__(self, clock: Clock, stirred: Stirred) -> None:
        self._clock = clock
        self._stirred = stirred
        self._running = 0
        self._ending = False
        self._quiet_since = clock.now()
        self._waits: dict[str, tuple[Waiting, bool]] = {}
        self._changed: asyncio.Event | None = None

    def __enter__(self) -> None:
        self._running += 1

    def __exit__(self, *exc: object) -> None:
        self._running -= 1
        self._quiet_since = self._clock.now()
        if self._waits or self._ending:
            self._stirred.stir()

    @property
    def busy(self) -> bool:
        """True while a step runs or is being recorded."""
        return self._running > 0

    def end_soon(self) -> None:
        """The slice ends once no step runs."""
        self._ending = True

    def begins(self, key: str, waiting: Waiting, alone: bool) -> None:
        """The step of this key waits; `alone` if it is the handler itself that does, and no task of it."""
        self._waits[key] = waiting, alone
        self._stirred.stir()

    def ends(self, key: str) -> None:
        """It waits no more."""
        self._waits.pop(key, None)

    @property
    def changed(self) -> asyncio.Event:
        """Set once others left something on the job, for those who wait to look again."""
        self._changed = self._changed or asyncio.Event()
        return self._changed

    def turned(self) -> None:
        """Others left something on the job: all that waits is to look again before anything parks."""
        self._waits.clear()
        self.changed.set()

    def parking(self, now: float) -> tuple[Waiting | None, float | None]:
        """What the job should park for now, if it should; else when to ask again."""
        if not self._waits or self.busy:
            return None, None
        if not all(alone for _, alone in self._waits.values()) and now < self._quiet_since + QUIET:
            return None, self._quiet_since + QUIET
        waits = [waiting for waiting, _ in self._waits.values()]
        until = min((waiting.until for waiting in waits if waiting.until is not None), default=None)
        names = tuple(name for waiting in waits for name in waiting.signals)
        return Waiting(reason="signal" if names else "sleep", until=until, signals=names), None
