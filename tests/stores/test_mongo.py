"""What is MongoDB's own: URLs and refusals, a server that goes, news between stores, full boxes, two who write."""

import asyncio
import contextlib
import gc
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    WriteConcernError,
)

from outlast import lifecycle
from outlast.errors import ConfigurationError, StoreError, StoreRefused, StoreUnavailable
from outlast.job import Job, Signal
from outlast.stores import mongo as mongo_store
from outlast.stores import open_store
from outlast.stores.base import News, Store
from outlast.stores.mongo_loop import LoopThread
from outlast.stores.mongo_server import META, PARTS, Found, address_of, our_errors
from outlast.testing import FakeClock
from outlast.testing.contract.ground import (
    current,
    error,
    log,
    new_job,
    new_jobs,
    output,
    processing,
    queued,
    report,
    shot,
    step,
    wrote,
)
from tests.ports import free_port
from tests.stores.mongo_server import MongoServer, leaves_sockets, protocol_server

PATIENCE = 10.0
SECRET = "s3cret-pass"


@pytest.fixture
async def store(mongo: MongoServer) -> AsyncIterator[Store]:
    async with open_store(mongo.fresh(), clock=FakeClock()) as store:
        yield store


# -- the URL, and what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("mongodb://", "names a host"),
        ("mongodb://localhost/?w=0", "w=0"),
        ("mongodb://localhost/?readPreference=secondary", "leave readPreference out"),
        (f"mongodb://ada:{SECRET}/x@localhost", "%2F"),
        (f"mongodb://ada:{SECRET}?x@localhost", "%3F"),
        (f"mongodb://ada:{SECRET}@x@localhost", "%40"),
    ],
)
def test_a_url_that_cannot_be_used_says_what_to_write(url: str, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice) as refusal:
        open_store(url)
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("url", [f"mongodb://ada:{SECRET}%zz@localhost", "mongodb://localhost:port"])
async def test_a_url_that_the_driver_refuses_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        await open_store(url).open()
    assert SECRET not in str(refusal.value)


async def test_a_name_that_no_database_can_have_is_a_configuration_error(mongo: MongoServer) -> None:
    with pytest.raises(ConfigurationError, match="the MongoDB URL cannot be used: database names"):
        await open_store(mongo.fresh().replace("/t", "/a.t")).open()


@leaves_sockets
async def test_a_password_is_shown_nowhere() -> None:
    url = f"mongodb://ada:{SECRET}@127.0.0.1:{free_port()}/shop?timeoutMS=200"
    store = open_store(url)
    with pytest.raises(StoreUnavailable, match="does not answer") as refusal:
        await store.open()
    assert SECRET not in str(refusal.value)
    assert SECRET not in str(store.describe())
    assert store.describe().url.startswith("mongodb://127.0.0.1:")


@pytest.mark.parametrize(("code", "way_out"), [(13, "readWrite"), (18, "authSource=admin"), (8000, "authSource=admin")])
def test_a_user_whom_the_server_does_not_know_or_let_is_refused_with_the_way_out(code: int, way_out: str) -> None:
    address = address_of(f"mongodb://ada:{SECRET}@db.example/shop")
    with pytest.raises(StoreRefused, match=way_out) as refusal, our_errors(address):
        raise OperationFailure(f"not {SECRET}", code)
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    "lost",
    [
        AutoReconnect("connection closed"),
        NetworkTimeout("timed out"),
        NotPrimaryError("not primary"),
        WriteConcernError("waiting for replication timed out", 64),
        BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "timed out"}]}),
    ],
)
def test_an_outcome_that_is_unknown_is_told_as_such(lost: Exception) -> None:
    address = address_of("mongodb://db.example/shop")
    with pytest.raises(StoreUnavailable, match="does not answer"), our_errors(address):
        raise lost


async def test_relaxed_settings_are_told(mongo: MongoServer) -> None:
    async with open_store(mongo.fresh("w=1&journal=false")) as store:
        warnings = " ".join(store.describe().warnings)
    assert "w=1: a failover may take back" in warnings
    assert "journal=false: a power cut" in warnings


async def test_a_server_that_is_no_replica_set_says_how_to_make_it_one(mongo: MongoServer) -> None:
    if mongo.is_real:
        pytest.skip("the real server here is a replica set")
    async with open_store(mongo.fresh()) as store:
        [warning] = store.describe().warnings
    assert "--replSet" in warning and "rs.initiate()" in warning


async def test_a_newer_schema_is_refused(mongo: MongoServer) -> None:
    url = mongo.fresh()
    async with open_store(url):
        pass
    with MongoClient[dict[str, Any]](url) as client:
        client.get_default_database()[META].update_one({"_id": "schema"}, {"$set": {"version": 99}})
    with pytest.raises(StoreRefused, match="schema 99"):
        await open_store(url).open()


def test_without_the_driver_the_error_says_what_to_install() -> None:
    code = """
import sys
sys.modules["pymongo"] = None
from outlast.stores import open_store
try:
    open_store("mongodb://localhost")
except Exception as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'outlast[mongodb]'" in said


async def test_text_that_is_no_unicode_is_an_error_and_not_an_outage(store: Store) -> None:
    with pytest.raises(StoreError) as refusal:
        await queued(store, payload_json='"\ud800"')
    assert not isinstance(refusal.value, StoreUnavailable)


# -- a server that does not answer, or goes ----------------------------------------------------------------------------


@contextlib.contextmanager
def mute_server() -> Iterator[int]:
    """It takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@leaves_sockets
async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with mute_server() as port:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await open_store(f"mongodb://127.0.0.1:{port}").open()
        assert 4 < time.monotonic() - began < 8


@leaves_sockets
async def test_a_store_goes_on_by_itself_once_its_server_is_back(tmp_path: Path) -> None:
    port = free_port()
    with protocol_server(tmp_path, port) as server:
        store = open_store(server.url + "/jobs?timeoutMS=1000", clock=FakeClock())
        await store.open()
        kept = await queued(store)
    try:
        with pytest.raises(StoreUnavailable):
            await queued(store)
        with protocol_server(tmp_path, port):
            assert (await current(store, kept.id)).id == kept.id
            assert [job.id for job in (await store.claim(1, [kept.type], "w")).jobs] == [kept.id]
    finally:
        await store.close()


async def test_a_call_that_fails_after_its_caller_went_away_is_nobodys_error() -> None:
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
    thread, begun, gone = LoopThread("test"), threading.Event(), threading.Event()

    async def fail() -> None:
        begun.set()
        await asyncio.to_thread(gone.wait)
        raise StoreUnavailable("late")

    call = asyncio.create_task(thread.call(fail))
    await asyncio.to_thread(begun.wait)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gone.set()
    await thread.stop(nothing)
    del call
    gc.collect()
    assert unseen == []


async def nothing() -> None: ...


async def test_a_store_that_is_closed_says_so(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.get(["job"])


async def test_time_is_the_servers(mongo: MongoServer) -> None:
    async with open_store(mongo.fresh()) as store:
        assert abs(store.now() - time.time()) < 5


# -- news between stores -----------------------------------------------------------------------------------------------


class Heard:
    """All news of one store."""

    def __init__(self, store: Store) -> None:
        self.news: list[News] = []
        self._came = asyncio.Event()
        self.stop = store.listen(self._hear)

    def _hear(self, news: News) -> None:
        self.news.append(news)
        self._came.set()

    async def until(self, came: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not any(came(news) for news in self.news):
                self._came.clear()
                await self._came.wait()


async def test_what_another_store_wrote_is_heard(mongo: MongoServer) -> None:
    url = mongo.fresh()
    async with open_store(url) as one, open_store(url) as other:
        heard = Heard(other)
        job = await queued(one)
        await heard.until(lambda news: news.ids is None or job.id in news.ids)
        assert heard.news[-1].ready


async def test_a_change_stream_names_the_jobs_of_others_and_not_ones_own(
    mongo: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def replicated(client: object) -> Found:
        return Found("of the test", is_replicated=True)

    monkeypatch.setattr(mongo_store, "examine", replicated)
    url = mongo.fresh()
    async with open_store(url) as one, open_store(url) as other:
        heard = Heard(other)
        own = await queued(other)
        await heard.until(lambda news: news.ids is not None and own.id in news.ids)
        job = await queued(one)
        await heard.until(lambda news: news.ids is None or job.id in news.ids)
        await wrote(one, lifecycle.cancel(job, one.now()))
        await heard.until(lambda news: news.ids == frozenset({job.id}))
        assert sum(news.ids is not None and own.id in news.ids for news in heard.news) == 1


# -- full boxes --------------------------------------------------------------------------------------------------------


async def test_what_left_the_box_is_read_with_what_lies_in_it(store: Store, mongo: MongoServer) -> None:
    job = await processing(store)
    for number in range(8):
        job = await wrote(store, lifecycle.signal(job, Signal(name=f"s{number}", value="1"), store.now()))
        text = str(number) * 30_000
        written = [log(store.now()), output(store.now(), text)]
        job = await wrote(store, lifecycle.append(job, events=written, steps=[step(f"{number}", number)]))
    job = await wrote(store, lifecycle.append(job, consumed=(await store.signals(job.id))[:3]))
    job = await wrote(store, replace(lifecycle.hand_back(job, "deploy", store.now()), report=report()))
    assert [event.seq for event in await store.events(job.id)] == list(range(1, job.seq + 1))
    assert [event.seq for event in await store.events(job.id, after=2, limit=5)] == [3, 4, 5, 6, 7]
    assert [event.seq for event in await store.events(job.id, after=2, limit=3, output=False)] == [3, 5, 7]
    assert [one.taken for one in await store.signals(job.id)] == [True] * 3 + [False] * 5


async def test_a_box_is_emptied_and_nothing_is_left_after_a_purge(mongo: MongoServer) -> None:
    url = mongo.fresh()
    with MongoClient[dict[str, Any]](url) as client:
        parts = client.get_default_database()[PARTS]
        async with open_store(url, clock=FakeClock()) as store:
            job = await processing(store)
            for text in ("x" * 100_000, "y"):
                await wrote(store, lifecycle.append(job, events=[output(store.now(), text)]))
            assert parts.count_documents({}) == 3
            await wrote(store, lifecycle.fail(job, error(store, retryable=False), store.now()))
            assert await store.purge([job.id]) == [job.id]
            assert parts.count_documents({}) == 0


async def test_a_retry_may_inherit_more_than_a_document_holds(store: Store) -> None:
    inherited = [step(f"{number}", number, value='"' + "x" * 1_000_000 + '"') for number in range(18)]
    new = new_job(store, steps=inherited)
    assert [job.id for job in await store.insert([new])] == [new.job.id]
    assert [job.id for job in await store.insert([new])] == [new.job.id]
    assert (await shot(store, new.job.id)).steps == {one.key: one for one in inherited}


# -- two who write at once ---------------------------------------------------------------------------------------------


async def test_two_stores_that_append_to_the_same_jobs_lose_and_double_nothing(mongo: MongoServer) -> None:
    url = mongo.fresh()
    async with open_store(url) as one, open_store(url) as other:
        jobs = [await processing(one) for _ in range(8)]
        await asyncio.gather(*(_append(store, jobs, n) for n in range(5) for store in (one, other)))
        for job in jobs:
            after = await shot(one, job.id)
            assert [event.seq for event in after.events] == list(range(1, job.seq + 11))
            written = sorted(event.data["message"] for event in after.events if event.type == "job.log")
            assert written == sorted([str(n) for n in range(5)] * 2)


async def test_two_stores_that_claim_at_once_get_different_jobs(mongo: MongoServer) -> None:
    url = mongo.fresh()
    async with open_store(url) as one, open_store(url) as other:
        ids = {job.id for job in await one.insert(new_jobs(one, 40))}
        claims = await asyncio.gather(*(store.claim(20, ["report"], "w") for store in (one, other)))
        taken = [job.id for claim in claims for job in claim.jobs]
        assert len(taken) == len(set(taken))
        assert set(taken) == ids


async def _append(store: Store, jobs: list[Job[Any]], n: int) -> None:
    changes = [lifecycle.append(job, events=[log(store.now(), str(n))]) for job in jobs]
    assert await store.apply(changes) == [None] * len(jobs)
