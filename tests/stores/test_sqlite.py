"""What is special to one file of SQLite: group commit, the threads, the tables, what a write touches."""

import asyncio
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from outlast import lifecycle
from outlast.errors import ConfigurationError, JobNotFound, StoreError, StoreRefused, StoreUnavailable
from outlast.job import Change, Event, Job, Signal, Step
from outlast.report import Report
from outlast.stores import (
    sqlite_checkpoint,
    sqlite_claims,
    sqlite_completions,
    sqlite_file,
    sqlite_reads,
    sqlite_writes,
)
from outlast.stores.base import News, Query
from outlast.stores.sqlite import SqliteStore
from outlast.stores.sqlite_many import Many
from tests.stores.sqlite_ground import claim_one, each_connection, new, opened, read, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


# -- group commit ---------------------------------------------------------------------------------------------------


async def test_calls_that_wait_together_are_committed_together(path: Path) -> None:
    commits: list[int] = []

    def count() -> bool:
        commits.append(1)
        return False

    with each_connection(lambda connection: connection.set_commit_hook(count)):
        async with opened(path) as store:
            await store.insert([new(store)])
            before = len(commits)
            await asyncio.gather(*(store.insert([new(store)]) for _ in range(200)))
            # The first call may find the writer idle and go alone; the others gather behind it.
            assert len(commits) - before <= 3


async def test_a_call_that_fails_leaves_the_others_of_its_commit_alone(path: Path) -> None:
    async with opened(path) as store:
        (job,) = await store.insert([new(store)])
        good = Change(id=job.id, set={"message": "half"})
        answers = await asyncio.gather(
            store.apply([good]),
            store.apply([Change(id=job.id, set={"message": "lost"}), Change(id="job_absent")]),
            store.insert([new(store)]),
            return_exceptions=True,
        )
        assert answers[0] == [None]
        assert isinstance(answers[1], JobNotFound)
        (found,) = await store.get([job.id])
        assert found is not None
        assert found.message == "half"
        assert len(await store.find(Query())) == 2


async def test_what_a_caller_asked_for_is_written_though_the_caller_went_away(path: Path) -> None:
    async with opened(path) as store:
        asked = new(store)
        caller = asyncio.create_task(store.insert([asked]))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        (after,) = await store.insert([new(store)])
        assert None not in await store.get([asked.job.id, after.id])


async def test_an_idle_claim_takes_no_lock_and_commits_nothing(path: Path) -> None:
    async with opened(path) as store:
        await store.insert([new(store)])
        blocker = apsw.Connection(str(path))
        blocker.execute("begin immediate")
        try:
            claimed = await store.claim(5, ["other"], "worker_1")
            assert claimed.jobs == []
        finally:
            blocker.close()


async def test_one_store_serves_several_event_loops(path: Path) -> None:
    async with opened(path) as store:
        stored: list[Job[Any]] = []

        def elsewhere() -> None:
            stored.extend(asyncio.run(store.insert([new(store) for _ in range(10)])))

        threads = [threading.Thread(target=elsewhere) for _ in range(4)]
        for thread in threads:
            thread.start()
        await until(lambda: not any(thread.is_alive() for thread in threads), "all loops have been answered")
        assert {job.id for job in await store.find(Query())} == {job.id for job in stored}
        assert len(stored) == 40


async def test_text_that_is_no_unicode_fails_its_own_call_with_a_named_error(path: Path) -> None:
    async with opened(path) as store:
        good, bad = new(store), new(store, owner="\ud800")
        answers = await asyncio.gather(store.insert([good]), store.insert([bad]), return_exceptions=True)
        assert isinstance(answers[1], StoreError)
        assert isinstance(answers[1].__cause__, UnicodeEncodeError)
        assert [job.id for job in await store.find(Query())] == [good.job.id]


# -- what a write touches -------------------------------------------------------------------------------------------


async def test_an_append_touches_neither_the_hot_row_nor_its_indexes(path: Path) -> None:
    touched: set[str] = set()
    with each_connection(lambda connection: connection.set_update_hook(lambda *what: touched.add(what[2]))):
        async with opened(path) as store:
            await store.insert([new(store)])
            job = await claim_one(store)
            touched.clear()
            output = Event(type="job.output.delta", time=store.now(), attempt=1, data={"text": "a"})
            await store.apply([lifecycle.append(job, set={"progress": 5.0}, events=[output])])
            # SQLite tells of no table without rowid, so `event` is not among them.
            assert touched == {"live"}


async def test_what_an_attempt_wrote_does_not_lie_in_the_row_that_claims_read(path: Path) -> None:
    async with opened(path) as store:
        text = Event(type="job.output.delta", time=1.0, attempt=1, data={"text": "long"})
        line = Event(type="job.log", time=1.0, attempt=1, data={"message": "long"})
        first = new(store)
        await store.insert([replace(first, events=(*first.events, text, line))])
        job = await claim_one(store)
        back = lifecycle.hand_back(job, "deploy", store.now())
        await store.apply([replace(back, events=(text, line, *back.events))])
        await claim_one(store)
        types = ["created", "output.delta", "log", "started", "output.delta", "log", "queued", "started"]
        assert [event.type for event in await store.events(job.id)] == [f"job.{type}" for type in types]
        assert [log for (log,) in read(path, "select log from job") if "long" in log] == []


async def test_a_removed_job_leaves_no_row_behind(path: Path) -> None:
    async with opened(path) as store:
        await store.insert([new(store, idempotency_key="once", batch_id="batch_1")])
        job = await claim_one(store)
        step = Step(key="k", name="draft", index=0, status="completed", value="1")
        output = Event(type="job.output.delta", time=store.now(), attempt=1, data={"text": "a"})
        await store.apply([lifecycle.append(job, events=[output], steps=[step])])
        (job,) = [one for one in await store.get([job.id]) if one is not None]
        left = lifecycle.signal(job, Signal(name="go", value="1"), store.now())
        assert left is not None
        await store.apply([left])
        (job,) = [one for one in await store.get([job.id]) if one is not None]
        await store.apply([replace(lifecycle.complete(job, "{}", store.now()), report=Report(attempt=1))])
        tables = [name for (name,) in read(path, "select name from sqlite_schema where type = 'table'")]
        assert all(read(path, f"select * from {table}") for table in tables if table != "record")
        assert await store.purge([job.id]) == [job.id]
        assert {table: read(path, f"select * from {table}") for table in tables} == {table: [] for table in tables}


@pytest.mark.parametrize("count", [1, 3, 4, 31, 32, 255, 256, 1_000])
def test_any_number_of_rows_is_written_in_their_order_by_a_few_statements(count: int) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("create table kept (place integer primary key autoincrement, a, b)")
    statements: list[str] = []

    def execute(statement: str, values: Any) -> apsw.Cursor:
        statements.append(statement)
        return connection.execute(statement, values)

    rows = [(number, f"{number}") for number in range(count)]
    Many("insert into kept (a, b) values {rows}", 2).run(execute, rows)
    assert connection.execute("select a, b from kept order by place").fetchall() == rows
    assert len(statements) <= count // 256 + 7 + 7 + 3
    connection.close()


async def test_a_log_of_many_moves_leaves_the_row_that_claims_read(path: Path) -> None:
    async with opened(path) as store:
        await store.insert([new(store)])
        for _ in range(100):
            job = await claim_one(store)
            await store.apply([lifecycle.hand_back(job, "deploy", store.now())])
        logged = await store.events(job.id)
        assert [event.seq for event in logged] == list(range(1, 202))
    connection = sqlite_file.connect(sqlite_file.place_of(f"sqlite:///{path}"))
    length: int = connection.execute("select length(log) from job").get
    assert length <= sqlite_claims.LOGGED + 300
    connection.close()


async def test_several_changes_of_one_job_in_one_call_are_all_written(path: Path) -> None:
    async with opened(path) as store:
        await store.insert([new(store)])
        job = await claim_one(store)
        signals = [Signal(name=name, value="1", key=name) for name in "abc"]
        changes = []
        for signal in signals:
            change = lifecycle.signal(job, signal, store.now())
            assert change is not None
            changes.append(change)
            job = change.applied(job)
        assert await store.apply(changes) == [None, None, None]
        assert [(s.number, s.name) for s in await store.signals(job.id)] == [(1, "a"), (2, "b"), (3, "c")]
        assert (await store.get([job.id]))[0] == job.evolve(payload_json=None)


# -- the log of commits ---------------------------------------------------------------------------------------------


async def test_the_log_is_copied_beside_the_commits_and_begins_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_checkpoint, "LONG", 100)
    monkeypatch.setattr(sqlite_checkpoint, "LONGER", 50)
    copied_by: list[str] = []
    copy = sqlite_checkpoint._copy

    def noted(connection: apsw.Connection) -> None:
        copied_by.append(threading.current_thread().name)
        copy(connection)

    monkeypatch.setattr(sqlite_checkpoint, "_copy", noted)
    async with opened(path) as store:
        longest = 0
        while len(copied_by) < 10:
            await store.insert([new(store, payload_json='"' + "x" * 2_000 + '"') for _ in range(20)])
            longest = max(longest, path.with_name(f"{path.name}-wal").stat().st_size)
        assert copied_by[:10] == ["outlast-sqlite-checkpoint", "outlast-sqlite-write"] * 5
        assert longest < 4_000 * 4_096, "however many commits there were"
        written = path.stat().st_size
    assert written > 100 * 4_096, "the pages are in the file before it is closed"


async def test_a_reader_that_keeps_the_log_from_beginning_anew_costs_no_copy_at_each_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_checkpoint, "LONG", 100)
    copies: list[int] = []
    copy = sqlite_checkpoint._copy

    def counted(connection: apsw.Connection) -> None:
        copies.append(1)
        copy(connection)

    monkeypatch.setattr(sqlite_checkpoint, "_copy", counted)
    async with opened(path) as store:
        await store.insert([new(store)])
        reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("begin")
        assert reader.execute("select count(*) from job").fetchall() == [(1,)]
        for _ in range(60):
            await store.insert([new(store)])
        await until(lambda: len(copies) == 2, "one of a thread, one of the writer")
        reader.close()


async def test_a_log_that_cannot_be_copied_takes_nothing_from_the_commits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_checkpoint, "LONG", 10)
    tried: list[int] = []

    def full(connection: apsw.Connection) -> None:
        tried.append(1)
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(sqlite_checkpoint, "_copy", full)
    async with opened(path) as store:
        jobs: list[Job[Any]] = []
        while len(tried) < 2:
            jobs += await store.insert([new(store)])
        assert await store.get([job.id for job in jobs]) == [job.evolve(payload_json=None) for job in jobs]


# -- how it is read -------------------------------------------------------------------------------------------------

PLANS = {
    "job_ready": [sqlite_writes.READY, sqlite_writes.HEAD],
    "job_own": [sqlite_writes.OWN],
    "job_wakes": [sqlite_writes.NEXT_AT, sqlite_reads.DUE],
    "job_held": [sqlite_writes.NEXT_AT, sqlite_reads.DUE],
    "job_expires": [sqlite_reads.DUE],
    "job_key": [sqlite_writes.WHOLE_BY_KEY],
    "sqlite_autoindex_job_1": [
        *(sqlite_writes.STORED, sqlite_reads.GET, sqlite_reads.PAGE["", False]),
        *(statement for _, statement in sqlite_completions.COMPLETE.statements),
    ],
    "job_owner": [sqlite_reads.PAGE[sqlite_reads.BY_OWNER, False], sqlite_reads.COUNT_OF_OWNER],
    "job_shape": [sqlite_reads.PAGE[sqlite_reads.BY_SHAPE, True], sqlite_reads.COUNT],
    "job_batch": [sqlite_reads.PAGE[sqlite_reads.BY_BATCH, False]],
    "INTEGER PRIMARY KEY": [statement for _, statement in sqlite_writes.UPDATE_JOB.statements] + [sqlite_claims.CLAIM],
}


@pytest.mark.parametrize("index", PLANS)
async def test_what_is_read_often_goes_by_an_index_and_never_sorts_the_jobs(path: Path, index: str) -> None:
    async with opened(path):
        pass
    connection = sqlite_file.connect(sqlite_file.place_of(f"sqlite:///{path}"))
    for statement in PLANS[index]:
        names = set(re.findall(r":(\w+)", statement))
        values: Any = dict.fromkeys(names) if names else (None,) * statement.count("?")
        plan = [str(row[3]) for row in connection.execute(f"explain query plan {statement}", values)]
        assert any(index in line for line in plan), plan
        assert not any(re.search(r"SCAN (job|live|asked|result|event)$", line) for line in plan), plan
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan or statement is sqlite_reads.DUE, plan
    connection.close()


# -- news -----------------------------------------------------------------------------------------------------------


async def test_a_stores_own_writes_are_told_by_their_ids_and_never_as_anothers(path: Path) -> None:
    async with opened(path) as store, opened(path) as other:
        heard: list[News] = []
        heard_by_other: list[News] = []
        store.listen(heard.append)
        other.listen(heard_by_other.append)
        (job,) = await store.insert([new(store)])
        await until(lambda: News(None, ready=True) in heard_by_other, "the other store has heard")
        await until(lambda: len(heard) > 0, "the store's own listener has heard")
        assert heard == [News(frozenset({job.id}), ready=True)]
        assert heard_by_other == [News(None, ready=True)]


async def test_watching_for_others_costs_almost_no_cpu(path: Path) -> None:
    async with opened(path) as store:
        store.listen(lambda news: None)
        await store.claim(1, ["report"], "worker_1")
        cpu, began = time.process_time(), time.monotonic()
        await asyncio.sleep(2.0)
        share = (time.process_time() - cpu) / (time.monotonic() - began)
        assert share <= 0.02, f"an idle store uses {share:.1%} of a core"


# -- opened and closed ----------------------------------------------------------------------------------------------


async def test_close_lets_go_of_every_thread_and_file(path: Path) -> None:
    async with opened(path):  # so that what the process loads once is not counted
        pass
    threads, files = set(threading.enumerate()), os.listdir("/proc/self/fd")
    store = SqliteStore(f"sqlite:///{path}")
    await store.open()
    await store.open()
    await store.insert([new(store)])
    await store.close()
    await store.close()
    assert set(threading.enumerate()) == threads
    assert os.listdir("/proc/self/fd") == files
    assert sorted(file.name for file in path.parent.iterdir()) == ["jobs.db"], "the log is in the file"


async def test_close_finishes_what_was_asked_for(path: Path) -> None:
    store = SqliteStore(f"sqlite:///{path}")
    await store.open()
    asked = [asyncio.create_task(store.insert([new(store)])) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert len([await task for task in asked]) == 50
    assert read(path, "select count(*) from job") == [(50,)]


async def test_a_store_that_is_not_open_says_so(path: Path) -> None:
    store = SqliteStore(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.find(Query())
    await store.open()
    await store.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.insert([new(store)])
    async with store:
        assert await store.find(Query()) == []


async def test_a_store_opened_before_a_fork_refuses_to_work_after_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path) as store:
        with monkeypatch.context() as forked:
            forked.setattr("outlast.stores.sqlite_engine.os.getpid", lambda: -1)
            with pytest.raises(ConfigurationError, match="fork"):
                await store.insert([new(store)])
            with pytest.raises(ConfigurationError, match="fork"):
                await store.find(Query())


# -- when the engine fails ------------------------------------------------------------------------------------------


async def test_a_full_disk_is_an_unavailable_store_and_loses_nothing_that_was_accepted(path: Path) -> None:
    async with opened(path) as store:
        await store.insert([new(store)])

    def nearly_full(connection: apsw.Connection) -> None:
        connection.pragma("max_page_count", connection.pragma("page_count") + 5)

    with each_connection(nearly_full):
        async with opened(path) as store:
            with pytest.raises(StoreUnavailable) as refused:
                await store.insert([new(store, payload_json=f'"{"x" * 100_000}"')])
            assert isinstance(refused.value.__cause__, apsw.FullError)
            assert len(await store.insert([new(store)])) == 1
            assert len(await store.find(Query())) == 2


async def test_a_damaged_file_is_refused(path: Path) -> None:
    async with opened(path) as store:
        await store.insert([new(store) for _ in range(500)])
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\xff" * (len(content) - 4096 * 2)
    path.write_bytes(content)
    store = SqliteStore(f"sqlite:///{path}")
    with pytest.raises(StoreRefused) as refused:
        async with store:
            await store.find(Query())
    assert isinstance(refused.value.__cause__, apsw.CorruptError)
