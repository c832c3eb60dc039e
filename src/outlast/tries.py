"""How often a step is called within one attempt, for how long at a time, and after which pauses. Pure."""

from typing import NamedTuple

from outlast.errors import HandlerError, Retry, StepTimeout, decisive
from outlast.policy import Duration, Limits, backoff, seconds

LONGEST = 60.0
"""Seconds that the longest pause between two tries takes, where none is named."""


class Tries(NamedTuple):
    """What `ctx.options(...)` asks for. Times in seconds; `cap` is the longest pause, `timeout` that of one try."""

    retries: int = 0
    timeout: float | None = None
    base: float = 1.0
    cap: float = LONGEST

    def pause(self, number: int, error: BaseException, chance: float) -> float | None:
        """Seconds until the try after number `number`, which raised this; None: there is no other.

        `chance` is uniform in [0, 1). What Outlast itself raises would be raised again, and so would a Fail.
        """
        why = decisive(error)
        if number > self.retries or (isinstance(why, HandlerError) and not isinstance(why, Retry | StepTimeout)):
            return None
        if isinstance(why, Retry) and why.after is not None:
            return why.after
        return backoff(number, self.base, self.cap, chance)


def asked(retries: int, timeout: Duration | None, pause: Duration | tuple[Duration, Duration], limits: Limits) -> Tries:
    """The arguments of `ctx.options(...)`. Raises ValueError for what cannot be meant."""
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= limits.max_retries:
        raise ValueError(f"retries is a whole number from 0 to {limits.max_retries}, not {retries!r}")
    limit = None if timeout is None else seconds(timeout)
    if limit == 0:
        raise ValueError("the timeout of a step is more than 0 seconds")
    first, longest = pause if isinstance(pause, tuple) else (pause, max(LONGEST, seconds(pause)))
    return Tries(retries, limit, seconds(first), seconds(longest))
