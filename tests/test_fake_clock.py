"""A clock that stands still until a test moves it."""

import asyncio
import threading

import pytest

from outlast.stores.base import Clock
from outlast.testing import FakeClock


def test_time_begins_at_a_fixed_moment_and_passes_only_by_hand() -> None:
    clock = FakeClock()
    assert clock.now() == FakeClock().now()
    clock.advance(1.5)
    assert clock.now() == FakeClock().now() + 1.5


def test_a_duration_may_be_text() -> None:
    clock = FakeClock()
    clock.advance("1h30m")
    assert clock.now() == FakeClock().now() + 5400


def test_time_does_not_go_back() -> None:
    clock = FakeClock()
    with pytest.raises(ValueError, match="0 or more"):
        clock.advance(-1)
    clock.move_to(clock.now() - 1)
    assert clock.now() == FakeClock().now()


async def test_who_waits_is_woken_when_the_time_has_come_and_not_before() -> None:
    clock, never = FakeClock(), asyncio.Event()
    waits = asyncio.create_task(clock.wait(never, clock.now() + 10))
    await settled()
    clock.advance(9.5)
    await settled()
    assert not waits.done()
    clock.advance(0.5)
    assert await waits is False


async def test_who_waits_is_woken_by_the_event_before_its_time() -> None:
    clock, event = FakeClock(), asyncio.Event()
    waits = asyncio.create_task(clock.wait(event, clock.now() + 10))
    await settled()
    event.set()
    assert await waits is True
    clock.advance(100)


async def test_without_a_time_only_the_event_wakes() -> None:
    clock, event = FakeClock(), asyncio.Event()
    waits = asyncio.create_task(clock.wait(event, None))
    await settled()
    clock.advance(1e9)
    await settled()
    assert not waits.done()
    event.set()
    assert await waits is True


@pytest.mark.parametrize("clock", [Clock(), FakeClock()], ids=["wall clock", "fake clock"])
async def test_a_time_that_has_passed_is_not_waited_for(clock: Clock) -> None:
    event = asyncio.Event()
    assert await clock.wait(event, clock.now() - 1) is False
    event.set()
    assert await clock.wait(event, clock.now() - 1) is True


async def test_a_wait_that_is_cancelled_leaves_nothing_behind() -> None:
    clock = FakeClock()
    waits = asyncio.create_task(clock.wait(asyncio.Event(), clock.now() + 10))
    await settled()
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    clock.advance(10)
    await settled()


async def test_all_who_wait_are_woken_on_loops_of_their_own() -> None:
    clock, ready = FakeClock(), threading.Barrier(4)

    async def wait() -> bool:
        waits = asyncio.create_task(clock.wait(asyncio.Event(), clock.now() + 10))
        await settled()
        await asyncio.to_thread(ready.wait)
        return await waits

    loops = [asyncio.create_task(asyncio.to_thread(asyncio.run, wait())) for _ in range(3)]
    await asyncio.to_thread(ready.wait)
    clock.advance(10)
    assert await asyncio.gather(*loops) == [False] * 3


async def settled() -> None:
    """Every task that can run has run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_alarm_rings_when_its_time_has_come_and_not_before() -> None:
    clock, rung = FakeClock(), asyncio.Event()
    clock.alarm(clock.now() + 10, rung.set)
    clock.advance(9.5)
    await settled()
    assert not rung.is_set()
    clock.advance(0.5)
    await settled()
    assert rung.is_set()


@pytest.mark.parametrize("clock", [Clock(), FakeClock()], ids=["wall clock", "fake clock"])
async def test_an_alarm_for_a_time_that_has_passed_rings_at_once(clock: Clock) -> None:
    rung = asyncio.Event()
    clock.alarm(clock.now() - 1, rung.set)
    await asyncio.wait_for(rung.wait(), 5)


async def test_an_alarm_that_was_called_off_does_not_ring() -> None:
    clock, rung = FakeClock(), asyncio.Event()
    call_off = clock.alarm(clock.now() + 10, rung.set)
    call_off()
    clock.advance(20)
    await settled()
    assert not rung.is_set()
