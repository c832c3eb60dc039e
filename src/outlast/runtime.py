"""What all attempts of a process share, and the verbs that bring jobs in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from outlast.alarms import Alarms
from outlast.context import Context
from outlast.follow import Hub
from outlast.hooks import Hooks
from outlast.job import Job, NewJob
from outlast.observe import Observe
from outlast.policy import Limits
from outlast.push import Caller
from outlast.stores.base import Store
from outlast.stores.batching import Batched
from outlast.tracing import Tracing
from outlast.webhooks import Courier


@dataclass(slots=True)
class Runtime:
    """Of one event loop. `courier` and `caller` are None where others see to deliveries and calls."""

    store: Store
    one: Batched
    hub: Hub
    alarms: Alarms
    observe: Observe
    hooks: Hooks
    limits: Limits
    grace: float
    tracing: Tracing | None = None
    context: Callable[..., Context] = Context
    courier: Courier | None = None
    caller: Caller | None = None
    state: Any = None

    def owing_new(self, new: NewJob) -> NewJob:
        """A new job as it is to be stored."""
        return new if self.caller is None else self.caller.owing_new(new)

    async def submitted(self, job: Job[Any]) -> None:
        """A new job was stored; returns once it is called for, where that is to be done."""
        self.hooks.fire("submitted", job)
        if self.caller is not None:
            await self.caller.submitted(job)

    async def called(self) -> None:
        """Wait until the jobs that became claimable are called for."""
        if self.caller is not None:
            await self.caller.idle()
