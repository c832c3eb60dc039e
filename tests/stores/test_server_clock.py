"""A server's clock, as a process reckons it."""

import time

import pytest

from outlast.stores import server_clock
from outlast.stores.server_clock import AGAIN, ServerClock


async def unheard() -> float:
    raise ConnectionError


async def test_it_is_the_wall_clock_of_this_machine_until_it_is_set() -> None:
    assert ServerClock(unheard).now() == pytest.approx(time.time(), abs=1)


async def test_it_runs_on_from_what_the_server_said() -> None:
    async def ask() -> float:
        return time.time() + 300

    clock = ServerClock(ask)
    first = await clock.checked()
    assert first == pytest.approx(time.time() + 300, abs=0.1)
    assert clock.now() >= first


async def test_a_clock_of_this_machine_that_is_set_back_does_not_move_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ServerClock(unheard)
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert before <= clock.now() < before + 10


async def test_of_the_first_answers_the_one_that_came_back_the_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([1_000.0, 2_000.0, 3_000.0])

    async def ask() -> float:
        return next(answers)

    clock = ServerClock(ask)
    ticks = iter([0.0, 0.0, 9.0, 10.0, 10.2, 20.0, 25.0])  # the first tells that it was never set
    monkeypatch.setattr(server_clock, "passed", lambda: next(ticks, 30.1))
    assert await clock.checked() == pytest.approx(2_000.0 + 20.0)


async def test_a_server_that_does_not_answer_leaves_it_as_it_was_and_is_asked_again() -> None:
    clock = ServerClock(unheard)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await clock.checked()
    assert clock.now() == pytest.approx(time.time(), abs=1)


# -- when the server is asked again -----------------------------------------------------------------------------------


class Machine:
    """Its two clocks, and a server that is 300 s ahead of the wall clock at first and counts how often it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed, self.wall, self.server, self.asked = 50.0, 1_000.0, 1_300.0, 0
        monkeypatch.setattr(server_clock, "passed", lambda: self.passed)
        monkeypatch.setattr(time, "time", lambda: self.wall)

    def runs(self, seconds: float, *, counted: bool = True) -> None:
        """Time goes by; not counted while the machine is stopped as a whole, but its wall clock is put right after."""
        self.passed += seconds if counted else 0.0
        self.wall += seconds
        self.server += seconds

    async def ask(self) -> float:
        self.asked += 1
        return self.server


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
async def clock(machine: Machine) -> ServerClock:
    clock = ServerClock(machine.ask)
    await clock.checked()
    machine.asked = 0
    return clock


async def test_it_is_not_asked_with_each_check(machine: Machine, clock: ServerClock) -> None:
    machine.runs(AGAIN - 1)
    assert (await clock.checked(), machine.asked) == (machine.server, 0)


async def test_it_is_asked_now_and_then(machine: Machine, clock: ServerClock) -> None:
    machine.runs(AGAIN + 1)
    machine.server += 0.25
    assert (await clock.checked(), machine.asked) == (machine.server, 1)


async def test_after_a_machine_was_stopped_as_a_whole_it_is_asked(machine: Machine, clock: ServerClock) -> None:
    machine.runs(30, counted=False)
    assert clock.now() == machine.server - 30
    assert await clock.checked() == machine.server


async def test_a_wall_clock_that_is_set_has_it_asked_once_and_changes_nothing(
    machine: Machine, clock: ServerClock
) -> None:
    machine.wall -= 3_600
    for _ in range(2):
        assert (await clock.checked(), machine.asked) == (machine.server, 1)


async def test_it_is_asked_where_it_may_be_another_server_now(machine: Machine, clock: ServerClock) -> None:
    machine.server += 7
    clock.doubt()
    for _ in range(2):
        assert (await clock.checked(), machine.asked) == (machine.server, 1)


async def test_a_doubt_that_comes_while_it_is_asked_has_it_asked_anew(
    machine: Machine, clock: ServerClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = machine.ask

    async def doubted() -> float:
        if machine.asked == 0:
            clock.doubt()
        return await ask()

    monkeypatch.setattr(clock, "_ask", doubted)
    clock.doubt()
    for _ in range(3):
        await clock.checked()
    assert machine.asked == 2


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this system has no clock that counts its sleep")
def test_the_time_that_a_machine_sleeps_is_counted() -> None:
    assert server_clock.passed() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=5)
