"""Numbers that are a matter of judgement: backoff, poll hints, estimates, caps. Pure; chance is an argument."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from math import inf

POLL_MIN = 1.0
POLL_MAX = 15.0
HISTORY = 20
"""How many of a type's last completed jobs an estimate looks at."""


def backoff(attempt: int, base: float, cap: float, chance: float) -> float:
    """Seconds until the try after attempt number `attempt`: exponential with full jitter.

    `base` and `cap` are seconds, `chance` is uniform in [0, 1). Source of the formula: M. Brooker, "Exponential
    Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return float(chance * min(cap, base * 2.0 ** min(attempt - 1, 60)))


def poll_after(age: float, remaining: float | None = None) -> float:
    """Seconds a poller should wait before it asks again.

    One second while the job is young, then 8 % of its age; where the end can be estimated, half of what remains.
    """
    wait = POLL_MIN if age < 5.0 else 0.08 * age
    if remaining is not None and remaining > 0:
        wait = remaining / 2
    return min(max(wait, POLL_MIN), POLL_MAX)


def remaining(durations: Sequence[float], elapsed: float) -> float | None:
    """Seconds a job that has run `elapsed` seconds probably still takes, from how long its like took.

    The median of those that took longer than this one already has; None without such a history.
    """
    from statistics import median  # brings fractions and decimals, which `import outlast` need not pay for

    longer = [duration for duration in durations if duration > elapsed]
    return median(longer) - elapsed if longer else None


def rate(times: Sequence[tuple[float, float]]) -> float:
    """Jobs that end in a second, from when each of the last ones started and ended; 0 if that tells nothing.

    One after the other at least, however far apart they came.
    """
    if not times:
        return 0.0
    ends, longest = [ended for _, ended in times], max(ended - started for started, ended in times)
    span = max(ends) - min(ends)
    fastest = (len(times) - 1) / span if span > 0 else 0.0
    return max(fastest, 1 / longest if longest > 0 else 0.0)


def ahead(queued: int, oldest: float, age: float) -> float:
    """About how many jobs wait before one, if they came evenly: their number, the oldest's age and its own, in s."""
    return queued * (1 - min(age / oldest, 1.0)) if oldest > 0 else 0.0


NO_LIMIT = 2**53 - 1
"""Stands for a cap that is none; every number of JSON up to here is exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps on what one job may hold, and on its owner. Sizes in bytes, times in seconds; `submits` within a minute;
    `attachment` is one, `attachments` how many a payload names, `attached` all of one owner.

    `queued` is how many jobs may wait before submits by HTTP are refused, and `queued_by_owner` the same of one owner.

    None, or NO_LIMIT where types are checked, means no limit; 0 means nothing at all. `delay` has a limit always.
    `wait` is how long a request waits for news, `stream` how long a stream or socket lives until its reader comes back:
    both are to end before whatever serves cuts them off.
    Raises ValueError for what is no such number.
    """

    payload: int = 1 << 20
    result: int = 4 << 20
    step: int = 1 << 20
    steps: int = 1_000
    output: int = 32 << 20
    event: int = 32 << 10
    metadata: int = 16 << 10
    tags: int = 10
    tag: int = 64
    name: int = 128
    max_retries: int = 100
    delay: float = 365 * 86400.0
    wait: float = 25.0
    submits: int = NO_LIMIT
    queued: int = 1_000_000
    queued_by_owner: int = NO_LIMIT
    stream: float = 3600.0
    attachment: int = 8 << 20
    attachments: int = 10
    attached: int = 256 << 20

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if value is None and one.name != "delay":
                object.__setattr__(self, one.name, NO_LIMIT)
            elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= NO_LIMIT:
                raise ValueError(f"limits.{one.name} is a number of 0 or more, not {value!r}")

    def require_name(self, name: object, what: str) -> None:
        """Raise ValueError unless this can name what it is to name: a signal, a channel."""
        if not isinstance(name, str) or not 1 <= len(name) <= self.name or not name.isprintable():
            raise ValueError(f"{what} is named by 1 to {self.name} printable characters")


Duration = str | float | timedelta


def seconds(duration: Duration) -> float:
    """A duration in seconds: a number of seconds, a timedelta, or text such as `90s`, `15m`, `2h`, `7d`, `1h30m`.

    Raises ValueError for anything else, and for what is negative or not finite.
    """
    if isinstance(duration, timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, str):
        value = _parsed(duration)
    else:
        value = _number(duration)
    if not 0 <= value < inf:
        raise ValueError(f"a duration is a finite number of seconds of 0 or more, not {duration!r}")
    return value


def _number(given: object) -> float:
    try:
        return float(given)  # type: ignore[arg-type]  # what is no number is refused
    except (TypeError, OverflowError):
        raise ValueError(f"a duration is a number of seconds, a timedelta or text like 90s, not {given!r}") from None


def _parsed(text: str) -> float:
    if not re.fullmatch(DURATION, text):
        raise ValueError(f"a duration is written like 90s, 15m, 2h, 7d or 1h30m, not {text[:64]!r}")
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([a-z]+)", text))


UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = rf"(?:[0-9]+(?:\.[0-9]+)?(?:{'|'.join(UNITS)}))+"


MOST_SLOTS = 10_000


def slots(concurrency: int) -> int:
    """How many jobs a worker runs at once, if it is a number of such. Raises ValueError."""
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= MOST_SLOTS:
        raise ValueError(f"concurrency is a whole number from 1 to {MOST_SLOTS}, not {concurrency!r}")
    return concurrency


def lease_time(lease: Duration) -> float:
    """For how many seconds a lease is good, if it is good at all. Raises ValueError."""
    if (time := seconds(lease)) == 0:
        raise ValueError("a lease lasts more than 0 seconds")
    return time
