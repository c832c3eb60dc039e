"""One request that was let in: the app it is for, who sent it, and what its address names."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from math import floor
from typing import Any, NamedTuple

from starlette.requests import Request

from outlast.app import Outlast
from outlast.job import Event, Job
from outlast.principal import Principal
from outlast.push.deadline import left
from outlast.verbs import Owner
from outlast.web.backlog import Backlog
from outlast.web.holder import Holder
from outlast.web.lately import Lately
from outlast.web.pacer import Pacer
from outlast.web.query import sought
from outlast.web.quota import Quota


class Shared:
    """What the requests to one surface have in common.

    Of each owner, `readers` counts the open streams in this process, `quota` submits; `backlog` is what waits, `frames`
    what readers were told lately, and `pacer` looks after them.
    """

    def __init__(self) -> None:
        self.readers: Counter[str | None] = Counter()
        self.quota = Quota()
        self.backlog = Backlog()
        self.frames: Lately[Any] = Lately(FRAMES)
        self.pacer = Pacer()


FRAMES = 256

ANSWERED = 2.0
"""Seconds that an answer has to leave in, before the platform ends its request."""


class Call(NamedTuple):
    """What an endpoint is given."""

    app: Outlast
    request: Request
    request_id: str
    principal: Principal
    params: Mapping[str, str]
    shared: Shared

    @property
    def id(self) -> str:
        """The job, batch or delivery that the address names."""
        return sought(self.params["id"])

    @property
    def sees(self) -> Owner:
        """Whose jobs are there for this caller."""
        return self.principal.sees

    @property
    def root(self) -> str:
        """The path the surface is mounted under; every address in a reply begins with it."""
        root: str = self.request.scope.get("root_path", "")
        return root.rstrip("/")

    def told(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a job or an event, without those that name an owner if the caller is not to know them."""
        if self.is_told_owners:
            return dict(fields)
        return {name: value for name, value in fields.items() if name not in ("owner", "by")}

    @property
    def is_told_owners(self) -> bool:
        """False for the holder of a token, which may have been passed on."""
        return not isinstance(self.principal, Holder)

    @property
    def longest_wait(self) -> float:
        """Seconds that this request may wait for news."""
        return self.within(self.app.limits.wait)

    def within(self, cap: float) -> float:
        """Seconds: a cap of ours, or what the platform leaves this request less 2 s to answer in, if that is less."""
        told = left(self.request.scope)
        return cap if told is None else min(cap, max(floor(told - ANSWERED), 0))

    async def submits(self, count: int = 1) -> dict[str, str]:
        """Count submits of the caller's; answers the headers that say how many are left. Raises Problem at a cap."""
        await self.shared.backlog.require_room(self.app, self.principal.owner, count)
        return self.shared.quota.take(self.principal.owner, count, self.app.limits.submits, await self.app.now())

    async def job(self, *, payload: bool = False) -> Job[Any]:
        """The job the address names, if it is there for this caller; looked after if stale. Raises JobNotFound."""
        job = await self.app.get(self.id, owner=self.sees, payload=payload)
        if await self.app.look_after(job):
            job = await self.app.get(self.id, owner=self.sees, payload=payload)
        return job

    def follow(self, after: int) -> AsyncGenerator[Event, None]:
        """The job's events from number `after` + 1 on, as they come; to be closed by who asked for it."""
        return self.app.follow(self.id, after, owner=self.sees)
