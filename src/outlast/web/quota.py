"""How many submits an owner has within a minute, in the words of draft-ietf-httpapi-ratelimit-headers-10.

Each process counts for itself: a count that all share would cost every submit another round trip to the store. A window
begins with an owner's first submit, so that what is left needs no more than two numbers of each owner.
"""

from math import ceil

from outlast.policy import NO_LIMIT
from outlast.web.problems import Problem

WINDOW = 60
"""Seconds."""


class Quota:
    """The windows of all owners that submitted to this process within the last minute or two."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[float, int]] = {}
        self._tidy_at = 0.0

    def take(self, owner: str | None, count: int, most: int, now: float) -> dict[str, str]:
        """Count submits; answers the headers that say what is left. Raises Problem if there are not so many left.

        Nobody in particular, on an open server, has no quota.
        """
        if owner is None or most == NO_LIMIT:
            return {}
        began, used = self._window(owner, now)
        fits = used + count <= most
        if fits:
            used += count
            self._windows[owner] = (began, used)
        left, until = max(most - used, 0), ceil(began + WINDOW - now)
        headers = {
            "RateLimit-Policy": f'"submit";q={most};w={WINDOW}',
            "RateLimit": f'"submit";r={left};t={until}',
        }
        if not fits:
            raise _exceeded(count, most, left, until, headers)
        return headers

    def _window(self, owner: str, now: float) -> tuple[float, int]:
        if now >= self._tidy_at:
            self._windows = {name: one for name, one in self._windows.items() if _holds(one[0], now)}
            self._tidy_at = now + WINDOW
        began, used = self._windows.get(owner, (now, 0))
        return (began, used) if _holds(began, now) else (now, 0)


def _holds(began: float, now: float) -> bool:
    return began <= now < began + WINDOW


def _exceeded(count: int, most: int, left: int, until: int, headers: dict[str, str]) -> Problem:
    asked = "" if count == 1 else f"{count} were asked for, "
    detail = f"at most {most} submits of one owner in {WINDOW} s: {asked}{left} are left for the next {until} s"
    more = {"retryAfterMs": until * 1000, "violated-policies": ["submit"]}
    return Problem("quota_exceeded", detail, headers=headers | {"Retry-After": str(until)}, more=more)
