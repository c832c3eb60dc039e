"""How many jobs may be queued, delayed ones too: of one owner, and of all together.

Both are counted by the store, so they hold over all processes. All together are counted now and then, the more rarely
the more room there is, so that a submit need not wait for it: near the cap some hundreds more may come in.
"""

from outlast.app import Outlast
from outlast.job import Status
from outlast.policy import NO_LIMIT
from outlast.verbs import Query
from outlast.web.problems import Problem

QUEUED = frozenset({Status.QUEUED})

FASTEST = 20_000.0
"""Jobs a second by which the queue may grow at most, as far as this is concerned."""

LOOK_EVERY = 1.0, 60.0
"""Seconds between two counts of all, at least and at most."""

RETRY_SECONDS = 5


class Backlog:
    """What this process knows of the jobs that wait."""

    def __init__(self) -> None:
        self._all = 0
        self._looked_at, self._look_at = 0.0, 0.0

    async def require_room(self, app: Outlast, owner: str | None, count: int) -> None:
        """Raise Problem if so many more of this owner are too many. Nobody in particular has no cap of their own."""
        limits = app.limits
        if limits.queued != NO_LIMIT and await self._waiting(app) + count > limits.queued:
            detail = (
                f"{limits.queued:,} jobs wait already, which is all that this server keeps waiting; try again later"
            )
            raise _full("queue_full", detail)
        if owner is None or limits.queued_by_owner == NO_LIMIT:
            return
        waiting = await _count(app, Query(owner=owner, status=QUEUED))
        if waiting + count > limits.queued_by_owner:
            detail = f"at most {limits.queued_by_owner:,} jobs of one owner wait at once, and {waiting:,} do"
            raise _full("quota_exceeded", detail)

    async def _waiting(self, app: Outlast) -> int:
        now = await app.now()
        if not self._looked_at <= now < self._look_at:
            least, most = LOOK_EVERY
            # Until it is known; others meanwhile go by what was.
            self._looked_at, self._look_at = now, now + least
            self._all = await _count(app, Query(status=QUEUED))
            self._look_at = now + min(max((app.limits.queued - self._all) / FASTEST, least), most)
        return self._all


async def _count(app: Outlast, query: Query) -> int:
    return sum((await app.count(query)).values())


def _full(code: str, detail: str) -> Problem:
    more = {"retryAfterMs": RETRY_SECONDS * 1000} | (
        {"violated-policies": ["queued"]} if code == "quota_exceeded" else {}
    )
    return Problem(code, detail, headers={"Retry-After": str(RETRY_SECONDS)}, more=more)
