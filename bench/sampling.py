"""Where the time goes, by thread: a look at every stack each millisecond, printed with BENCH_PROFILE set.

It looks from within, so it sees a thread where that lets go of the interpreter's lock: a hint, and no measurement.
"""

import os
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

EACH = 0.001
SHOWN = 25


@asynccontextmanager
async def sampled() -> AsyncIterator[None]:
    """Sample while the block lasts, if BENCH_PROFILE is set, and print to stderr what was seen."""
    if "BENCH_PROFILE" not in os.environ:
        yield
        return
    sampler = Sampler()
    sampler.start()
    try:
        yield
    finally:
        sampler.stop()
        print(sampler.report(), file=sys.stderr)


class Sampler(threading.Thread):
    """Counts in which function each thread was, and in which it was below."""

    def __init__(self) -> None:
        super().__init__(name="sampler", daemon=True)
        self._end = threading.Event()
        self._self: Counter[tuple[str, str]] = Counter()
        self._below: Counter[tuple[str, str]] = Counter()

    def run(self) -> None:
        # The default of 5 ms would show each thread only at the end of a long turn.
        before = sys.getswitchinterval()
        sys.setswitchinterval(EACH / 10)
        while not self._end.wait(EACH):
            self._look()
        sys.setswitchinterval(before)

    def stop(self) -> None:
        self._end.set()
        self.join()

    def report(self) -> str:
        """For each thread its functions, those first in which it was most: of its samples in it, and in or below it."""
        lines = []
        for thread in sorted({thread for thread, _ in self._below}):
            total = sum(count for (its, _), count in self._self.items() if its == thread)
            lines.append(f"\n{thread}: {total} samples\n   self  below")
            for place, below in Counter({p: n for (its, p), n in self._below.items() if its == thread}).most_common(
                SHOWN
            ):
                lines.append(f"  {self._self[thread, place] / total:5.1%} {below / total:6.1%}  {place}")
        return "\n".join(lines)

    def _look(self) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if ident != self.ident:
                self._count(names.get(ident, "?"), frame)

    def _count(self, thread: str, frame: FrameType) -> None:
        self._self[thread, _place(frame)] += 1
        places = set()
        below: FrameType | None = frame
        while below is not None:
            places.add(_place(below))
            below = below.f_back
        self._below.update((thread, place) for place in places)


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(code.co_filename.rsplit('/', 2)[-2:])}:{code.co_qualname}"
