"""The time of a slice where time is limited: until when it may begin another step, and when it must be over. Pure."""

from collections import deque
from collections.abc import Iterable, Sequence
from math import ceil, inf

RECENT = 20
"""How many of the last steps tell how long the next one may take."""

PART, MOST = 0.05, 5.0
"""What is kept of a budget for the end of the slice (to commit, to call for the next one, to answer): a part of it, and
seconds at most."""

WAYS_OUT = (
    "split the step, give the job to a worker that pulls (to which it can pass in its middle), or have the provider "
    "work in the background and wait for that"
)
"""For what is longer than any slice."""


class Window:
    """From the first moment of a slice to its last.

    Parameters
    ----------
    begins: by the store's clock.
    budget: seconds that the slice has in all.
    history: seconds that the last steps of this type took; those of this slice are added to it.
    costs: whether an attempt is used up if the slice records no step.
    """

    def __init__(
        self, begins: float, budget: float, history: "deque[float] | None" = None, *, costs: bool = True
    ) -> None:
        self.costs = costs
        self._kept = min(PART * budget, MOST)
        self.ends = begins + budget - self._kept
        self._middle = (begins + self.ends) / 2
        self._history: deque[float] = deque(maxlen=RECENT) if history is None else history
        self._recorded: Sequence[float] = ()

    @property
    def closes(self) -> float:
        """From then on no step begins: it would not be over in time, if it took as long as 19 of 20 lately have.

        In its first half a slice begins steps however long they are; else those that take long would never be called.
        A step that asks whether it should yield has at least as long to return as is kept for the end.
        """
        return max(self._middle, self.ends - max(usual([*self._history, *self._recorded]), self._kept))

    def recorded(self, seconds: Iterable[float]) -> None:
        """How long the steps took that the job has on record."""
        self._recorded = list(seconds)[-RECENT:]

    def took(self, seconds: float) -> None:
        """A step of this slice took so long."""
        self._history.append(seconds)


def pauses_by(until: float | None, window: Window | None, progressed: bool) -> float:
    """By when a pause between two tries of a step must be over, where the attempt ends at `until`.

    A slice that has recorded nothing is better failed by what the try raised than cut off, for that would cost the
    attempt as well, say nothing of the error, and have the next slice try again at once.
    """
    ends = inf if until is None else until
    return ends if window is None or progressed or not window.costs else min(ends, window.ends)


def usual(seconds: Sequence[float]) -> float:
    """What 95 in 100 of these are not above (the nearest rank); 0 if there are none."""
    return sorted(seconds)[ceil(0.95 * len(seconds)) - 1] if seconds else 0.0
