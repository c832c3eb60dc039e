"""Leases that are renewed beside the worker's own loop."""

import asyncio
from collections.abc import Sequence

from outlast.errors import StoreUnavailable
from outlast.renewer import Renewer
from outlast.stores.base import LEASE, Head, Lease
from outlast.stores.memory import MemoryStore


class Silent(MemoryStore):
    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE) -> list[Head | None]:
        await asyncio.Event().wait()
        return []


async def test_a_renewal_that_is_not_answered_in_time_is_told_as_a_store_that_is_away() -> None:
    told: asyncio.Queue[Exception] = asyncio.Queue()
    renewer = Renewer(Silent(), 0.3, lambda: None, told.put_nowait, lambda seconds: None)
    renewer.start()
    try:
        error = await asyncio.wait_for(told.get(), 10)
    finally:
        await renewer.stop()
    assert isinstance(error, StoreUnavailable) and "within 0.1 s" in str(error)
