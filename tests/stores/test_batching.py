"""Many awaiting callers become one call, and each gets the answer, or the error, that is its own."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from outlast import lifecycle
from outlast.errors import InvalidRequest, JobNotFound, StoreUnavailable
from outlast.job import Change, Job
from outlast.stores import batching
from outlast.stores.base import Batch
from outlast.stores.batching import Alike, Batched, Batcher
from outlast.stores.memory import MemoryStore


class Item(NamedTuple):
    job: str
    number: int
    size: int = 1


class Engine:
    """Answers each item with its number, one call after the gate was opened for it."""

    def __init__(self) -> None:
        self.calls: list[list[Item]] = []
        self.in_flight = self.most_in_flight = 0
        self.gate = asyncio.Semaphore(1_000_000)
        self.bad: dict[int, Exception] = {}

    async def call(self, items: list[Item]) -> Sequence[int]:
        self.calls.append(items)
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            await self.gate.acquire()
        finally:
            self.in_flight -= 1
        for item in items:
            if item.number in self.bad:
                raise self.bad[item.number]
        return [item.number for item in items]

    def numbers(self) -> list[list[int]]:
        return [[item.number for item in call] for call in self.calls]

    def batcher(self, lanes: int = 1) -> Batcher[Item, int]:
        return Batcher(self.call, job=lambda item: item.job, size=lambda item: item.size, batch=Batch(lanes=lanes))


@pytest.fixture
def engine() -> Engine:
    return Engine()


async def settle() -> None:
    """Let every task that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_idle_batcher_hands_an_item_straight_on(engine: Engine) -> None:
    batcher = engine.batcher()
    assert await batcher.add(Item("a", 1)) == 1
    assert await batcher.add(Item("a", 2)) == 2
    assert engine.numbers() == [[1], [2]]


async def test_items_that_come_while_a_call_is_in_flight_go_together_in_the_next(engine: Engine) -> None:
    engine.gate = asyncio.Semaphore(0)
    batcher = engine.batcher()
    tasks = [asyncio.ensure_future(batcher.add(Item("a", 0)))]
    await settle()
    tasks += [asyncio.ensure_future(batcher.add(Item(f"job_{n}", n))) for n in range(1, 6)]
    await settle()
    assert engine.numbers() == [[0]]
    engine.gate.release()
    await settle()
    assert engine.numbers() == [[0], [1, 2, 3, 4, 5]]
    engine.gate.release()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4, 5]
    assert engine.most_in_flight == 1


async def test_a_batch_is_sorted_by_job_and_one_jobs_items_keep_their_order(engine: Engine) -> None:
    batcher = engine.batcher()
    items = [Item("b", 1), Item("a", 2), Item("b", 3), Item("a", 4)]
    assert await asyncio.gather(*map(batcher.add, items)) == [1, 2, 3, 4]
    assert engine.numbers() == [[2, 4, 1, 3]]


async def test_a_batch_holds_at_most_500_items(engine: Engine) -> None:
    batcher = engine.batcher()
    await asyncio.gather(*(batcher.add(Item("a", n)) for n in range(1_201)))
    assert [len(call) for call in engine.calls] == [500, 500, 201]


async def test_a_batch_holds_at_most_4_mib_unless_one_item_alone_is_more(engine: Engine) -> None:
    batcher = engine.batcher()
    sizes = [batching.MOST_BYTES + 1, batching.MOST_BYTES // 2, batching.MOST_BYTES // 2, 1]
    await asyncio.gather(*(batcher.add(Item("a", n, size)) for n, size in enumerate(sizes)))
    assert engine.numbers() == [[0], [1, 2], [3]]


async def test_lanes_are_in_flight_side_by_side_but_one_job_stays_in_one_lane(engine: Engine) -> None:
    engine.gate = asyncio.Semaphore(0)
    batcher = engine.batcher(lanes=4)
    tasks = [asyncio.ensure_future(batcher.add(Item(f"job_{n % 50}", n))) for n in range(100)]
    await settle()
    assert engine.most_in_flight > 1
    lanes = [{item.job for item in call} for call in engine.calls]
    assert sum(len(lane) for lane in lanes) == len(set().union(*lanes)) == 50
    for _ in engine.calls:
        engine.gate.release()
    assert await asyncio.gather(*tasks) == list(range(100))


async def test_a_bad_item_fails_alone(engine: Engine) -> None:
    engine.bad = {n: InvalidRequest(f"item {n}") for n in (3, 11)}
    batcher = engine.batcher()
    answers = await asyncio.gather(*(batcher.add(Item("a", n)) for n in range(16)), return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, int)] == [n for n in range(16) if n not in engine.bad]
    assert [str(answers[n]) for n in (3, 11)] == ["item 3", "item 11"]


async def test_an_unavailable_store_fails_the_whole_batch_at_once(engine: Engine) -> None:
    engine.bad = {3: StoreUnavailable("away")}
    batcher = engine.batcher()
    answers = await asyncio.gather(*(batcher.add(Item("a", n)) for n in range(8)), return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert len(engine.calls) == 1
    engine.bad = {}
    assert await batcher.add(Item("a", 9)) == 9, "the next call is tried again"


async def test_a_caller_that_goes_away_does_not_stop_its_item_nor_the_others(engine: Engine) -> None:
    engine.gate = asyncio.Semaphore(0)
    batcher = engine.batcher()
    tasks = [asyncio.ensure_future(batcher.add(Item("a", n))) for n in range(3)]
    await settle()
    tasks[1].cancel()
    waiting = asyncio.ensure_future(batcher.add(Item("a", 3)))
    await settle()
    waiting.cancel()
    engine.gate.release()
    await settle()
    engine.gate.release()
    assert [await tasks[0], await tasks[2]] == [0, 2]
    await asyncio.wait([tasks[1], waiting])
    assert tasks[1].cancelled()
    assert waiting.cancelled()
    assert engine.numbers() == [[0, 1, 2], [3]]


async def test_each_event_loop_is_answered_on_its_own(engine: Engine) -> None:
    batcher = engine.batcher()
    answers: list[int] = []

    async def elsewhere() -> None:
        answers.append(await batcher.add(Item("a", 2)))

    assert await batcher.add(Item("a", 1)) == 1
    await asyncio.to_thread(asyncio.run, elsewhere())
    assert answers == [2]


# -- a store, one job at a time --------------------------------------------------------------------------------------


async def test_single_inserts_changes_and_gets_go_to_the_store_together() -> None:
    calls: list[int] = []

    class Counting(MemoryStore):
        async def apply(self, changes: Sequence[Change]) -> list[Job[object] | None]:
            calls.append(len(changes))
            return await super().apply(changes)

    one = Batched(Counting())
    born = [lifecycle.submit(Job(id=f"job_{n}", type="report", owner=f"owner_{n % 2}"), 1.0) for n in range(4)]
    jobs = await asyncio.gather(*map(one.insert, born))
    assert [job.id for job in jobs] == ["job_0", "job_1", "job_2", "job_3"]

    changes = [Change(id=job.id, set={"message": "half"}) for job in jobs]
    assert await asyncio.gather(*map(one.apply, changes)) == [None] * 4
    assert calls == [4]

    asked = [one.get("job_0"), one.get("job_0", owner="owner_1"), one.get("job_1", owner="owner_1", payload=True)]
    mine, foreign, full = await asyncio.gather(*asked)
    assert foreign is None
    assert mine is not None
    assert full is not None
    assert (mine.id, full.id) == ("job_0", "job_1")


async def test_a_change_to_a_job_that_is_gone_fails_only_its_own_caller() -> None:
    one = Batched(MemoryStore())
    await one.insert(lifecycle.submit(Job(id="job_1", type="report"), 1.0))
    changes = [Change(id=job_id, set={"message": "half"}) for job_id in ("job_0", "job_1", "job_2")]
    answers = await asyncio.gather(*map(one.apply, changes), return_exceptions=True)
    assert [type(answer) for answer in answers] == [JobNotFound, type(None), JobNotFound]
    job = await one.get("job_1")
    assert job is not None
    assert job.message == "half"


# ---- the same question at once ------------------------------------------------------------------


async def test_those_who_ask_the_same_share_an_answer_that_was_asked_for_after_they_had_asked() -> None:
    asked: list[str] = []
    open_ = asyncio.Event()

    async def answer(item: str) -> int:
        asked.append(item)
        await open_.wait()
        return len(asked)

    alike: Alike[str, int] = Alike(answer)
    first = alike.ask("a")
    await asyncio.sleep(0)
    later, other = [alike.ask("a") for _ in range(3)], alike.ask("b")
    await asyncio.sleep(0)
    assert asked == ["a", "b"]
    open_.set()
    assert await first == 2
    assert await asyncio.gather(*later) == [3, 3, 3]
    assert await other in (2, 3)
    assert asked == ["a", "b", "a"]


async def test_an_error_is_of_those_who_asked_the_same_and_of_nobody_else() -> None:
    async def answer(item: str) -> str:
        if item == "bad":
            raise StoreUnavailable("away")
        return item

    alike: Alike[str, str] = Alike(answer)
    answers = await asyncio.gather(
        *(alike.ask(item) for item in ("good", "bad", "bad", "fine")), return_exceptions=True
    )
    assert [answers[0], answers[3]] == ["good", "fine"]
    assert all(isinstance(one, StoreUnavailable) for one in answers[1:3])


async def test_a_caller_that_goes_away_leaves_the_others_their_answer() -> None:
    open_ = asyncio.Event()

    async def answer(item: str) -> str:
        await open_.wait()
        return item

    alike: Alike[str, str] = Alike(answer)
    asks = [asyncio.ensure_future(alike.ask("a")) for _ in range(2)]
    asks[0].cancel()
    open_.set()
    assert await asks[1] == "a"
    assert await alike.ask("a") == "a"
