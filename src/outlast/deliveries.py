"""The deliveries of an ended job: one for each webhook that wants to hear of this end, with the tries made so far.

They are derived from the job, and need no note before their first try. What became of the tries is a small record
beside the job, written after each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from outlast.job import Job
from outlast.lifecycle import owes
from outlast.notation import CROCKFORD, rfc3339
from outlast.posting import Answer
from outlast.stores.base import Record, Records

PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds from a failed try to the next, give or take a tenth; the last try is the tenth. Source: Standard Webhooks."""

JITTER = 0.1
LONGEST_PAUSE = 86400.0
"""Seconds that a receiver may ask for at most."""

FINAL = frozenset({"gone", "refused"})
"""Outcomes after which no other try is made."""

SHOWN = 20
"""Tries that are kept of a delivery, the newest."""

DELIVERY_ID = f"evt_[{CROCKFORD}]{{29}}_[0-9]+"

PREFIX = "webhook/"
KEPT_PAST_JOB = 4 * 86400.0
"""Seconds that the record may outlive its job's time, which is longer than all pauses together."""


class Try(NamedTuple):
    """When, by the store's clock, and what came of it."""

    at: float
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What one webhook is told of a job's end, or was.

    id:     also the `webhook-id` of the message, the same in every try.
    event:  the message's type, such as `job.completed`.
    status: `pending`, `delivered` or `given_up`.
    due:    when the next try is to be made, in seconds since 1970; None: there is none to come.
    failed: tries since it began, or began again by hand.
    tries:  the newest of them, oldest first.
    """

    id: str
    number: int
    url: str
    event: str
    status: Literal["pending", "delivered", "given_up"] = "pending"
    due: float | None = None
    failed: int = 0
    tries: tuple[Try, ...] = ()

    def tried(self, answer: Answer, now: float, chance: float) -> "Delivery":
        """The delivery after a try; `chance` is uniform in [0, 1)."""
        tries = (*self.tries, Try(now, answer.outcome))[-SHOWN:]
        if answer.outcome == "delivered":
            return replace(self, status="delivered", due=None, tries=tries)
        failed = self.failed + 1
        if answer.outcome in FINAL or failed > len(PAUSES):
            return replace(self, status="given_up", due=None, failed=failed, tries=tries)
        pause = PAUSES[failed - 1] * (1 + JITTER * (2 * chance - 1))
        due = now + max(pause, min(answer.retry_after or 0.0, LONGEST_PAUSE))
        return replace(self, due=due, failed=failed, tries=tries)

    def again(self, now: float) -> "Delivery":
        """The delivery, begun again by hand."""
        return replace(self, status="pending", due=now, failed=0)

    def wire(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "url": self.url,
            "type": self.event,
            "status": self.status,
            "nextAt": rfc3339(self.due),
            "tries": [{"at": rfc3339(one.at), "outcome": one.outcome} for one in self.tries],
        }


def job_of(delivery_id: str) -> str:
    """The id of the job that a delivery belongs to, whatever it is that looks like one."""
    return "job_" + delivery_id.removeprefix("evt_").rpartition("_")[0]


class Log(NamedTuple):
    """All deliveries of a job, and the version of the record they were read from (0: there is none yet)."""

    deliveries: Sequence[Delivery]
    version: int

    def with_(self, changed: Mapping[int, Delivery]) -> "Log":
        return Log([changed.get(one.number, one) for one in self.deliveries], self.version)

    @property
    def next_due(self) -> float | None:
        return min((one.due for one in self.deliveries if one.due is not None), default=None)


async def read(records: Records, job: Job[Any]) -> Log:
    """What is known of an ended job's deliveries; none of a live one's."""
    record = await records.fetch(PREFIX + job.id) if job.ended and job.webhooks else None
    known = {} if record is None else _of(record)
    event = f"job.{job.status}"
    fresh = [
        Delivery(id=f"evt_{job.id.removeprefix('job_')}_{n}", number=n, url=hook.url, event=event, due=job.completed_at)
        for n, hook in enumerate(job.webhooks)
        if event in hook.events and (record is not None or owes(job))
    ]
    return Log([replace(one, **known.get(one.number, {})) for one in fresh], 0 if record is None else record.version)


async def write(records: Records, job: Job[Any], log: Log, now: float) -> bool:
    """Keep it for as long as the job, and a while; False if another process has written meanwhile."""
    tries = [[one.number, one.status, one.due, one.failed, one.tries] for one in log.deliveries]
    ttl = max((job.expires_at or now) - now, 0.0) + KEPT_PAST_JOB
    return await records.put(PREFIX + job.id, {"deliveries": tries}, version=log.version, ttl=ttl) is not None


def _of(record: Record) -> dict[int, dict[str, Any]]:
    return {
        number: {"status": status, "due": due, "failed": failed, "tries": tuple(Try(*one) for one in tries)}
        for number, status, due, failed, tries in record.value["deliveries"]
    }
