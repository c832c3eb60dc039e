"""For tests: your app on a fresh store and a clock that stands still; and the contract that holds a store to its word.

with using(app) as jobs:
    job = await jobs.run_now(media_plan, objective="more visitors", keywords=["tides"])
"""

from typing import TYPE_CHECKING, Any

from outlast.testing.clock import FakeClock
from outlast.testing.faults import FailAt, InjectedFailure
from outlast.testing.jobs import Jobs, using
from outlast.testing.stuck import Stuck

if TYPE_CHECKING:
    from outlast.testing.contract import StoreContract

__all__ = ["FailAt", "FakeClock", "InjectedFailure", "Jobs", "StoreContract", "Stuck", "using"]


def __getattr__(name: str) -> Any:
    # Only who proves a store needs it, and with it pytest.
    if name == "StoreContract":
        from outlast.testing.contract import StoreContract

        return StoreContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
