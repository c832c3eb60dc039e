"""Several processes on one file."""

import asyncio
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import apsw
import pytest

from outlast.errors import StoreUnavailable
from outlast.stores import sqlite_file
from outlast.stores.base import News, Query
from tests.stores.sqlite_ground import line_of, new, opened, process, read, tell, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


SUBMIT_ON_REQUEST = """
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            await store.insert([new(store)])
            print(time.monotonic(), flush=True)
"""


async def test_a_write_in_one_process_wakes_another_within_10_ms_at_the_median(path: Path) -> None:
    async with opened(path) as store:
        heard: list[float] = []

        def hear(news: News) -> None:
            assert news == News(None, ready=True)
            heard.append(time.monotonic())

        with process(path, SUBMIT_ON_REQUEST) as child:
            assert await asyncio.to_thread(line_of, child) == "ready"
            store.listen(hear)
            delays = []
            for _ in range(50):
                heard.clear()
                tell(child, "submit")
                written = float(await asyncio.to_thread(line_of, child))
                await until(lambda: len(heard) > 0, "the write of the other process was heard")
                delays.append(heard[0] - written)
        median = statistics.median(delays)
        assert median < 0.010, f"{median * 1000:.1f} ms at the median"


SUBMIT_FOR_EVER = """
        while True:
            jobs = await asyncio.gather(*(store.insert([new(store)]) for _ in range(5)))
            print(*(job.id for (job,) in jobs), flush=True)
"""


async def test_a_process_killed_while_it_submits_loses_no_job_it_acknowledged(path: Path) -> None:
    acknowledged = set()
    with process(path, SUBMIT_FOR_EVER) as child:
        for _ in range(20):
            acknowledged.update(line_of(child).split())
        child.kill()
        assert child.stdout is not None
        # The last line may have been cut by the kill.
        acknowledged.update(id for line in child.stdout.read().splitlines()[:-1] for id in line.split())
    async with opened(path) as store:
        stored = {job.id for job in await store.find(Query(limit=1_000_000))}
    assert len(acknowledged) >= 100
    assert acknowledged <= stored
    assert read(path, "pragma integrity_check") == [("ok",)]


CLAIM_ALL = """
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        mine = []
        while jobs := (await store.claim(3, ["report"], f"worker_{os.getpid()}")).jobs:
            mine += [job.id for job in jobs]
        print(*mine, flush=True)
"""


async def test_claimers_in_four_processes_never_get_one_job_twice(path: Path) -> None:
    async with opened(path) as store:
        stored = {job.id for job in await store.insert([new(store) for _ in range(300)])}
        with ExitStack() as stack:
            children = [stack.enter_context(process(path, CLAIM_ALL)) for _ in range(4)]
            assert [await asyncio.to_thread(line_of, child) for child in children] == ["ready"] * 4
            for child in children:
                tell(child, "go")
            claimed = [(await asyncio.to_thread(line_of, child)).split() for child in children]
    assert sorted(job_id for some in claimed for job_id in some) == sorted(stored)
    assert sum(bool(some) for some in claimed) > 1, "more than one process claimed"


async def test_a_write_waits_for_another_process_and_then_succeeds(path: Path) -> None:
    async with opened(path) as store:
        other = apsw.Connection(str(path))
        other.execute("begin immediate")
        write = asyncio.create_task(store.insert([new(store)]))
        done, _ = await asyncio.wait([write], timeout=0.1)
        assert not done
        other.execute("rollback")
        other.close()
        assert len(await write) == 1


async def test_a_file_that_stays_locked_is_an_unavailable_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.05)
    async with opened(path) as store:
        other = apsw.Connection(str(path))
        other.execute("begin immediate")
        with pytest.raises(StoreUnavailable, match="locked") as refused:
            await store.insert([new(store)])
        assert isinstance(refused.value.__cause__, apsw.BusyError)
        assert await store.find(Query()) == [], "reads go on"
        other.close()
        assert len(await store.insert([new(store)])) == 1
