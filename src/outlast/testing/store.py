"""The memory store as a test needs it: it says what was submitted and claimed, and keeps leases while time jumps."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from outlast.job import Job, NewJob, Status
from outlast.stores.base import LEASE, Claimed, Clock, Description
from outlast.stores.memory import MemoryStore


class WatchedStore(MemoryStore):
    """`memory://`, watched.

    only:      the one job that may be claimed; None: any.
    submitted: every job as it was submitted, with its payload, also once it is removed.
    claimed:   the id of the job of each claim, in order.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.only: str | None = None
        self.submitted: dict[str, Job[Any]] = {}
        self.claimed: list[str] = []

    def describe(self) -> Description:
        # In a test everybody knows that memory keeps nothing, and a failed one shows all warnings.
        return super().describe()._replace(warnings=())

    async def insert(self, new: Sequence[NewJob]) -> list[Job[Any]]:
        stored = await super().insert(new)
        for job in stored:
            self.submitted.setdefault(job.id, job)
        return stored

    async def claim(
        self, n: int, types: Collection[str], worker: str, *, ids: Sequence[str] | None = None, ttl: float = LEASE
    ) -> Claimed:
        allowed = ids if self.only is None else [self.only]
        claimed = await super().claim(n, types, worker, ids=allowed, ttl=ttl)
        self.claimed += [job.id for job in claimed.jobs]
        return claimed

    def now_is(self, job: Job[Any]) -> Job[Any]:
        """The job as it now is, with its payload; as it was submitted if it is removed."""
        with self._lock:
            return self._jobs.get(job.id, job)

    def live(self) -> list[Job[Any]]:
        """The jobs that have not ended, oldest first."""
        with self._lock:
            return sorted((job for job in self._jobs.values() if not job.ended), key=lambda job: job.id)

    def next_due(self) -> float | None:
        """When the clock will next move a live job; None: never."""
        times = [time for job in self.live() for time in (job.next_at, job.lease_until)]
        return min((time for time in times if time is not None), default=None)

    def keep(self, leases: Collection[str | None], until: float) -> None:
        """Renew these leases, as a worker's renewer does while time passes."""
        with self._lock:
            for job in self.live():
                if job.status is Status.PROCESSING and job.lease in leases:
                    self._jobs[job.id] = replace(job, lease_until=until)
