"""Many times to be rung at, and one timer for all."""

import asyncio

from outlast.alarms import Alarms
from outlast.testing import FakeClock


class Sleeper:
    """Writes down that it was stirred."""

    def __init__(self, name: str, rung: list[str]) -> None:
        self._name, self._rung = name, rung

    def stir(self) -> None:
        self._rung.append(self._name)


class Bells:
    """Alarms, and which of them have rung."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.alarms = Alarms(self.clock)
        self.rung: list[str] = []
        self.sleepers = {name: Sleeper(name, self.rung) for name in ("a", "b", "c")}

    def ring_in(self, seconds: float, name: str) -> None:
        self.alarms.ring_at(self.clock.now() + seconds, self.sleepers[name])

    async def after(self, seconds: float) -> list[str]:
        self.clock.advance(seconds)
        for _ in range(3):
            await asyncio.sleep(0)
        return self.rung


async def test_each_rings_once_when_its_time_has_come() -> None:
    bells = Bells()
    for seconds, name in ((3, "c"), (1, "a"), (2, "b")):
        bells.ring_in(seconds, name)
    assert await bells.after(0.5) == []
    assert await bells.after(0.5) == ["a"]
    assert await bells.after(5) == ["a", "c", "b"]
    assert await bells.after(5) == ["a", "c", "b"]


async def test_what_was_called_off_does_not_ring_and_holds_up_nobody() -> None:
    bells = Bells()
    bells.ring_in(1, "a")
    bells.ring_in(2, "b")
    bells.alarms.call_off(bells.sleepers["a"])
    bells.alarms.call_off(bells.sleepers["c"])
    assert await bells.after(3) == ["b"]


async def test_a_time_that_has_passed_rings_at_once() -> None:
    bells = Bells()
    bells.ring_in(-1, "a")
    assert await bells.after(0) == ["a"]
