"""The contract of all stores: what `outlast.stores.base` promises, as tests.

A store proves itself in a few lines; with the clock it is given, no test ever waits for seconds:

    class TestMine(StoreContract):
        @pytest.fixture
        def clock(self) -> FakeClock:
            return FakeClock()

        @pytest.fixture
        async def store(self, clock: FakeClock) -> AsyncIterator[Store]:
            async with MyStore("mine://localhost", clock=clock) as store:
                yield store

The tests are `async def`; anyio's pytest plugin runs them. For readable failures put
`pytest.register_assert_rewrite("outlast.testing.contract")` into a `conftest.py`.
"""

from outlast.testing.contract.claims import Claims
from outlast.testing.contract.due import DueJobs
from outlast.testing.contract.events import Events
from outlast.testing.contract.inserts import Inserts
from outlast.testing.contract.keys import IdempotencyKeys
from outlast.testing.contract.leases import Leases
from outlast.testing.contract.lists import Lists
from outlast.testing.contract.moves import Moves
from outlast.testing.contract.news import Newscast
from outlast.testing.contract.order import OrderOfClaims
from outlast.testing.contract.owners import Owners
from outlast.testing.contract.purges import Purges
from outlast.testing.contract.records import Notes
from outlast.testing.contract.reports import Reports
from outlast.testing.contract.signals import Signals
from outlast.testing.contract.steps import Steps

__all__ = ["StoreContract"]


class StoreContract(
    Inserts,
    IdempotencyKeys,
    Moves,
    Claims,
    OrderOfClaims,
    Leases,
    Events,
    Steps,
    Signals,
    Reports,
    DueJobs,
    Lists,
    Owners,
    Purges,
    Newscast,
    Notes,
):
    """Inherit from it in a test file, and give it the fixtures `store` and `clock`."""
