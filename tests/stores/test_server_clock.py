"""A server's clock, as a process reckons it."""

import time

import pytest

from outlast.stores.server_clock import ServerClock


async def test_it_is_the_wall_clock_of_this_machine_until_it_is_set() -> None:
    assert ServerClock().now() == pytest.approx(time.time(), abs=1)


async def test_it_runs_on_from_what_the_server_said() -> None:
    clock = ServerClock()

    async def ask() -> float:
        return time.time() + 300

    await clock.set_by(ask)
    assert clock.now() == pytest.approx(time.time() + 300, abs=0.1)
    first = clock.now()
    assert clock.now() >= first


async def test_a_clock_of_this_machine_that_is_set_back_does_not_move_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ServerClock()
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert before <= clock.now() < before + 10


async def test_the_answer_that_came_back_the_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 9.0, 10.0, 10.2, 20.0, 25.0])
    passed = [0.0]

    def monotonic() -> float:
        passed[0] = next(ticks, 30.1)
        return passed[0]

    clock = ServerClock()
    monkeypatch.setattr(time, "monotonic", monotonic)
    answers = iter([1_000.0, 2_000.0, 3_000.0])

    async def ask() -> float:
        return next(answers)

    await clock.set_by(ask)
    assert clock.now() == pytest.approx(2_000.0 + 20.0)


async def test_a_server_that_does_not_answer_leaves_it_as_it_was() -> None:
    clock = ServerClock()

    async def ask() -> float:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await clock.set_by(ask)
    assert clock.now() == pytest.approx(time.time(), abs=1)
    assert clock.set_at is None
