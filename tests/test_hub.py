"""The live feed where many read one job: whenever news comes, nobody waits for it longer than the others."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import anyio
import pytest

from outlast.follow import Hub, Reader
from outlast.job import Event
from outlast.stores.base import News, Store

JOB = "job_1"


class Log:
    """As much of a store as a hub reads: one job's log, and who hears of it."""

    def __init__(self) -> None:
        self.events_there: list[Event] = []
        self.hear: Callable[[News], None] = lambda news: None
        self.fails = False

    def listen(self, hear: Callable[[News], None]) -> Callable[[], None]:
        self.hear = hear
        return lambda: None

    async def events(self, job_id: str, *, after: int, limit: int) -> Sequence[Event]:
        await asyncio.sleep(0)
        if self.fails:
            raise ZeroDivisionError("a defect")
        return [event for event in self.events_there if event.seq > after][:limit]

    async def changed(self, seen: Any) -> dict[str, Any]:
        return {}

    def add(self, seq: int) -> None:
        self.events_there.append(Event(type="job.log", time=0.0, attempt=1, seq=seq, data={}))
        self.hear(News(frozenset({JOB}), ready=False))


@pytest.fixture
def log() -> Log:
    return Log()


async def told(hub: Hub, log: Log, heard: list[int], after: int = 0) -> None:
    """Reads on as `follow` does, for ever."""
    with hub.reading(JOB) as reader:
        while True:
            after = await _next(hub, log, heard, reader, after)


async def _next(hub: Hub, log: Log, heard: list[int], reader: Reader, after: int) -> int:
    reader.clear()
    reader.after = after
    page = hub.tail(JOB, after) or await log.events(JOB, after=after, limit=500)
    heard += [event.seq for event in page]
    reader.after = page[-1].seq if page else after
    await reader.wait()
    return reader.after


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(2):
        while not condition():
            await asyncio.sleep(0.001)


async def test_news_in_the_very_turn_in_which_a_read_ends_is_told_at_once(log: Log) -> None:
    hub = Hub(cast(Store, log))
    hub.start()
    both: tuple[list[int], list[int]] = ([], [])
    readers = [asyncio.create_task(told(hub, log, heard)) for heard in both]
    await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    for turns in range(12):
        seq = 2 * turns + 1
        log.add(seq)

        def later(left: int, seq: int) -> None:
            if left:
                loop.call_soon(later, left - 1, seq)
            else:
                log.add(seq)

        later(turns, seq + 1)
        await until(lambda: all(heard and heard[-1] == 2 * turns + 2 for heard in both))  # noqa: B023
    assert both[0] == both[1] == list(range(1, 25))
    for reader in readers:
        reader.cancel()


async def test_who_comes_later_is_not_shown_what_was_read_before_the_last_news(log: Log) -> None:
    hub = Hub(cast(Store, log))
    hub.start()
    first: list[int] = []
    second: list[int] = []
    late: list[int] = []
    readers = [asyncio.create_task(told(hub, log, heard)) for heard in (first, second)]
    await asyncio.sleep(0.01)
    log.add(1)
    await until(lambda: first == second == [1])
    readers[1].cancel()
    await asyncio.sleep(0.01)
    log.add(2)
    await until(lambda: first == [1, 2])
    readers.append(asyncio.create_task(told(hub, log, late)))
    await until(lambda: late == [1, 2])
    for reader in readers:
        reader.cancel()


async def test_where_a_read_for_all_breaks_they_look_themselves(log: Log) -> None:
    hub = Hub(cast(Store, log))
    hub.start()
    with hub.reading(JOB) as one, hub.reading(JOB) as other:
        one.after = other.after = 0
        log.fails = True
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        log.add(1)
        await until(lambda: one.is_set() and other.is_set())
        one.clear()
        log.fails = False
        log.add(2)
        await until(one.is_set)
