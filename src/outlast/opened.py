"""What exists while an app is connected: the store, and on each event loop what hears, wakes, sweeps, runs, tells."""

from asyncio import AbstractEventLoop, Event, gather
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from outlast.observe import Observe
from outlast.runtime import Runtime
from outlast.slices import Slices
from outlast.stores import open_store
from outlast.stores.base import Store
from outlast.stores.default import require_lasting
from outlast.sweep import Sweeper

SETTLES, LEAST = 3.0, 0.5
"""Seconds that an answer is held back for hooks, calls and deliveries in flight: at most, and at least."""


@dataclass(slots=True)
class Opened:
    """What belongs to one event loop."""

    store: Store
    runtime: Runtime
    sweeper: Sweeper
    slices: Slices
    stopping: Event
    loop: AbstractEventLoop

    async def settled(self, until: float = inf) -> None:
        """Wait a while for what goes on beside the jobs: a process may be gone once it has answered.

        Of the time until `until`, by the store's clock, half is left to answer in.
        """
        runtime, patience = self.runtime, min(max((until - self.store.now()) / 2, LEAST), SETTLES)
        going = [one.idle(patience) for one in (runtime.hooks, runtime.caller, runtime.courier) if one is not None]
        await gather(*going)

    async def let_go(self) -> None:
        """The same for an app that closes; what is not over by then is cut off."""
        if self.runtime.caller is not None:
            await self.runtime.caller.idle()
        await self.runtime.hooks.drain()
        if self.runtime.courier is not None:
            await self.runtime.courier.drain()


async def connected(chosen: str | Store, observe: Observe, environ: Mapping[str, str]) -> Store:
    """The store, opened, and told of in the log with its warnings. Raises what `open_store` and `Store.open` do."""
    if isinstance(chosen, str):
        require_lasting(chosen, environ)
    store = open_store(chosen) if isinstance(chosen, str) else chosen
    await store.open()
    about = store.describe()
    observe(
        "store.opened",
        url=about.url,
        engine=about.engine,
        version=about.version,
        durability=about.durability,
    )
    for warning in about.warnings:
        observe("store.warning", warning=warning)
    return store
