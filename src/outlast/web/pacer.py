"""One timer for all open streams: it sees who has heard nothing for long, and who takes nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol


class Paced(Protocol):
    """What is looked after."""

    def look(self, now: float) -> None:
        """Called every now and then, with the time of the monotonic clock."""
        ...


class Pacer:
    """Calls each open stream about once a second. A timer for each of thousands would cost more than they do."""

    def __init__(self) -> None:
        self._open: dict[Paced, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def pacing(self, stream: Paced, every: float) -> Iterator[None]:
        """Look after a stream as long as the block lasts, every so many seconds at least."""
        self._open[stream] = None
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._arm(every)
        try:
            yield
        finally:
            del self._open[stream]

    def _arm(self, every: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(every, self._look, every)

    def _look(self, every: float) -> None:
        self._timer = None
        if self._open:
            self._arm(every)
        now = monotonic()
        for stream in list(self._open):
            stream.look(now)
