"""SIGTERM and Ctrl-C for a process that runs jobs: the first stops gently, the second at once.

Before the event loop is there nothing is held yet, and SIGTERM simply ends the process.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from outlast.cli.exits import INTERRUPTED

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Terminated(BaseException):
    """SIGTERM came before anything was begun. No Exception, so that no code on the way takes it for an error."""


@contextmanager
def ends_cleanly() -> Iterator[None]:
    """SIGTERM within the block raises Terminated, unless others have taken over the signal."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated


@contextmanager
def asked_to_stop() -> Iterator[asyncio.Event]:
    """An event that the first signal sets; the second ends the process, even where a handler blocks the loop."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    count = 0

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count > 1:
            os._exit(INTERRUPTED)
        loop.call_soon_threadsafe(asked.set)

    before = [signal.signal(one, stop) for one in STOPPING]
    try:
        yield asked
    finally:
        for one, handler in zip(STOPPING, before, strict=True):
            signal.signal(one, handler)
