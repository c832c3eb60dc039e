"""Each process's totals as a record of the store, so that any server can show those of all."""

import asyncio
import os

from outlast import presence
from outlast.errors import StoreError
from outlast.metrics import Totals
from outlast.observe import Observe
from outlast.stores.base import Records, Store

PREFIX = "totals/"

EVERY = 10.0
"""Seconds between two times that a process writes its totals down."""

TTL = 900.0
"""Seconds for which the totals of a process that is gone stay, so that whoever asks now and then sees its last ones."""


async def write(records: Records, observe: Observe) -> None:
    """Write down what this process has counted."""
    process = f"{presence.host()}:{os.getpid()}:{observe.meter.id}"
    await records.put(PREFIX + process, observe.totals(process).value(), ttl=TTL)


async def read(records: Records) -> list[Totals]:
    """What all processes have written down."""
    return [Totals.of(record.value) for record in await records.scan(PREFIX)]


async def keep(store: Store, observe: Observe) -> None:
    """Write them down every so often, and a last time when cancelled."""
    try:
        while True:
            await store.clock.wait(asyncio.Event(), store.now() + EVERY)
            await _try_to_write(store, observe)
    finally:
        await _try_to_write(store, observe)


async def _try_to_write(store: Store, observe: Observe) -> None:
    try:
        await write(store, observe)
    except StoreError:
        # The store's absence is told by those who need it; totals only grow, so the next time makes up for this one.
        pass
