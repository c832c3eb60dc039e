"""For tests: a clock that stands still, and the contract that holds a store to its promises."""

from outlast.testing.clock import FakeClock
from outlast.testing.contract import StoreContract

__all__ = ["FakeClock", "StoreContract"]
