"""What only Redis and Valkey have: servers that lose jobs, replicas, clusters, restarts, and news between processes."""

import asyncio
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from outlast import Context, Outlast, lifecycle
from outlast.errors import ConfigurationError, StoreRefused, StoreUnavailable
from outlast.job import Status
from outlast.stores import open_store, redis_link, redis_pool
from outlast.stores.base import News, Query, Store
from outlast.stores.redis_check import describe
from outlast.stores.redis_link import Link
from outlast.stores.redis_place import place_of
from outlast.testing.contract.ground import TYPE, WORKER, claimed, completed, new_job, new_jobs, processing, queued
from tests.ports import free_port
from tests.stores.redis_server import DURABLE, Server, running, running_cluster

ENGINE = "valkey9"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(ENGINE, port=free_port()) as server:
        yield server


@pytest.fixture
def url(server: Server) -> str:
    return f"{server.url}?namespace={secrets.token_hex(8)}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with open_store(url) as store:
        yield store


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://host:port/0",
        "redis://:pass/cret@host:6379/0",
        "redis://:p@ss/cret@host:6379/0",
        "redis://ada:12?cret@host:6379/0",
        "redis://ada:12#cret@host:6379/0",
        "redis://host/zero",
        "redis://host?namespace=a{b",
        "redis://host?namespace=",
        "redis://host?allow_volatile=maybe",
        "redis://host?min_replicas_ack=-1",
        "redis://host?timeout=3",
        "unix://relative/path",
    ],
)
def test_a_wrong_url_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        open_store(url)
    assert "cret" not in str(refusal.value)


async def test_a_server_without_a_log_is_refused_unless_its_user_knows() -> None:
    with running(ENGINE, settings={"appendonly": "no", "save": ""}) as server:
        with pytest.raises(StoreRefused, match=r"append-only.*allow_volatile=true"):
            await open_store(server.url).open()
        async with open_store(f"{server.url}?allow_volatile=true") as store:
            assert "append-only" in " ".join(store.describe().warnings)
            await completed(store)


async def test_a_server_that_evicts_jobs_is_refused_unless_its_user_knows() -> None:
    with running(ENGINE, settings={**DURABLE, "maxmemory-policy": "allkeys-lru"}) as server:
        with pytest.raises(StoreRefused, match="allkeys-lru, not noeviction"):
            await open_store(server.url).open()
        async with open_store(f"{server.url}?allow_volatile=true") as store:
            assert "allkeys-lru" in " ".join(store.describe().warnings)


class Service(Link):
    """One that evicts by a policy of its own, as Upstash does: first what has a time to live, and then the rest."""

    async def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        return [None, "redis_version:8.2.0\r\nmaxmemory_policy:optimistic-volatile\r\n"]


async def test_a_service_that_evicts_jobs_by_a_policy_of_its_own_is_refused() -> None:
    place = place_of("rediss://default:secret@shop.upstash.io:6379")
    with pytest.raises(StoreRefused, match="optimistic-volatile, not noeviction"):
        await describe(Service(place), place)


@pytest.mark.parametrize(("sync", "words"), [("always", "synced to the disk before"), ("everysec", "each second")])
async def test_a_store_says_what_its_server_may_lose(sync: str, words: str) -> None:
    with running(ENGINE, settings={**DURABLE, "appendfsync": sync}) as server:
        async with open_store(server.url) as store:
            facts = store.describe()
            assert words in facts.durability
            assert ("last seconds" in " ".join(facts.warnings)) == (sync == "everysec")


async def test_a_wrong_password_is_a_setting_to_mend_and_is_not_shown() -> None:
    with running(ENGINE, port=free_port(), settings={**DURABLE, "requirepass": "secret"}) as server:
        address = server.url.removeprefix("redis://")
        for login in ("", ":open-sesame@", "nobody:open-sesame@"):
            with pytest.raises(StoreRefused, match="user or password") as refusal:
                await open_store(f"redis://{login}{address}").open()
            assert "sesame" not in str(refusal.value)
        async with open_store(f"redis://:secret@{address}") as store:
            assert "secret" not in store.describe().url
            await completed(store)


async def test_a_password_that_is_changed_under_a_store_is_refused_until_it_is_as_it_was() -> None:
    with running(ENGINE, port=free_port()) as server:
        async with open_store(server.url) as store:
            job = await queued(store)
            server.ask("CONFIG", "SET", "requirepass", "secret")
            ask_as(server, "secret", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            with suppress(StoreUnavailable, StoreRefused):
                await store.get([job.id])  # on the connection that was cut, if that is not known yet
            with pytest.raises(StoreRefused, match="user or password"):
                await store.get([job.id])
            ask_as(server, "secret", "CONFIG", "SET", "requirepass", "")
            assert await store.get([job.id]) != [None]


def ask_as(server: Server, password: str, *command: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as line, line.makefile("rwb", buffering=0) as wire:
        for parts in (("AUTH", password), command):
            sent = b"".join(b"$%d\r\n%s\r\n" % (len(part), part.encode()) for part in parts)
            wire.write(b"*%d\r\n%s" % (len(parts), sent))
            wire.readline()


async def test_a_database_that_the_server_has_not_is_a_setting_to_mend(server: Server) -> None:
    with pytest.raises(ConfigurationError, match="leave it out, for namespace="):
        await open_store(server.url.removesuffix("/0") + "/99").open()


async def test_a_user_without_a_right_is_refused_before_anything_is_written() -> None:
    with running(ENGINE, port=free_port()) as server:
        server.ask("ACL", "SETUSER", "ada", "on", ">pw", "~*", "&*", "+@all", "-zrem")
        with pytest.raises(StoreRefused, match="what they may do"):
            await open_store(server.url.replace("//", "//ada:pw@")).open()
        server.ask("ACL", "SETUSER", "ada", "+zrem", "resetchannels", "&other")
        with pytest.raises(StoreRefused, match="what they may do"):
            await open_store(server.url.replace("//", "//ada:pw@")).open()
        server.ask("ACL", "SETUSER", "ada", "&{outlast}:news")
        async with open_store(server.url.replace("//", "//ada:pw@")) as store:
            await completed(store)


async def test_a_user_without_the_right_to_wait_for_replicas_is_refused_where_they_are_asked_for() -> None:
    with running(ENGINE, port=free_port()) as server:
        server.ask("ACL", "SETUSER", "ada", "on", ">pw", "~*", "&*", "+@all", "-wait")
        url = server.url.replace("//", "//ada:pw@")
        with pytest.raises(StoreRefused, match="what they may do"):
            await open_store(f"{url}?min_replicas_ack=1").open()
        async with open_store(url) as store:
            await completed(store)


async def test_the_rights_that_the_page_names_are_enough() -> None:
    page = Path(__file__).parents[2] / "docs" / "stores" / "redis.md"
    [line] = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("ACL SETUSER")]
    with running(ENGINE, port=free_port()) as server:
        assert server.ask(*line.split()) == b"+OK\r\n"
        async with open_store(server.url.replace("//", "//app:password@") + "?namespace=outlast") as store:
            assert "each second" in store.describe().durability
            await completed(store)


async def test_tls_with_a_server_that_has_none_is_unavailable(server: Server) -> None:
    with pytest.raises(StoreUnavailable, match="rediss://127"):
        await open_store(server.url.replace("redis://", "rediss://")).open()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    for url in (f"redis://127.0.0.1:{free_port()}/0", "redis://nowhere.invalid:6379/0", "unix:///nowhere/redis.sock"):
        with pytest.raises(StoreUnavailable, match=url.split("?")[0]):
            await open_store(url).open()


async def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_pool, "ANSWER", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(StoreUnavailable):
            await open_store(f"redis://127.0.0.1:{silent.getsockname()[1]}/0").open()


async def test_a_read_replica_is_refused_with_the_server_to_name_instead(server: Server) -> None:
    with replica_of(server) as replica, pytest.raises(StoreRefused, match=f"read replica of 127.0.0.1:{server.port}"):
        await open_store(replica.url).open()


async def test_a_newer_schema_is_refused_and_left_alone(url: str, server: Server) -> None:
    schema = f"{{{url.partition('=')[2]}}}:schema"
    async with open_store(url) as store:
        assert store.describe().schema == 1
    server.ask("SET", schema, "99")
    with pytest.raises(StoreRefused, match=r"schema 99.*upgrade"):
        await open_store(url).open()
    assert b"99" in server.ask("GET", schema)


async def test_a_newer_schema_is_refused_though_the_server_takes_nothing_in_just_now() -> None:
    with running(ENGINE, settings={**DURABLE, "min-replicas-to-write": "1"}) as server:
        async with open_store(server.url) as store:
            assert await store.count(Query()) == {}
        server.ask("CONFIG", "SET", "min-replicas-to-write", "0")
        server.ask("SET", "{outlast}:schema", "99")
        server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
        with pytest.raises(StoreRefused, match=r"schema 99.*upgrade"):
            await open_store(server.url).open()


async def test_a_store_that_is_not_open_answers_nothing(url: str) -> None:
    store = open_store(url)
    for call in (store.get(["job"]), store.due(1), store.steps("job"), store.drop(["key"])):
        with pytest.raises(StoreUnavailable, match="not open"):
            await call


# -- replicas ---------------------------------------------------------------------------------------------------------


def replica_of(server: Server) -> AbstractContextManager[Server]:
    return running(ENGINE, port=free_port(), settings={**DURABLE, "replicaof": f"127.0.0.1 {server.port}"})


async def test_a_write_that_too_few_replicas_have_is_unknown_and_safe_to_repeat(url: str, server: Server) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_link, "ACK", 0.1)
        async with open_store(f"{url}&min_replicas_ack=1") as store:
            new = new_job(store)
            with pytest.raises(StoreUnavailable, match="0 of the 1 replicas"):
                await store.insert([new])
            assert await store.get([new.job.id]) != [None]
            patch.setattr(redis_link, "ACK", 20.0)
            with replica_of(server):
                assert [job.id for job in await store.insert([new])] == [new.job.id]


# -- bad days ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_workers_go_on_by_themselves_when_the_server_was_killed_and_started_again() -> None:
    with running(ENGINE, port=free_port(), settings={**DURABLE, "appendfsync": "always"}) as server:
        app = Outlast(server.url, concurrency=20, lease="3s")
        ran: list[int] = []

        @app.handler(retries=20, backoff="100ms")
        async def note(ctx: Context, n: int) -> int:
            await asyncio.sleep(0.01)
            ran.append(n)
            return n

        async with app, app.working():
            jobs = [await note.submit(n=n) for n in range(200)]
            for _ in range(3):
                enough = min(len(ran) + 20, 200)
                await until(lambda: len(ran) >= enough)  # noqa: B023
                server.kill()
                await asyncio.sleep(0.2)
                server.start()
            ended = [await app.wait(job.id, timeout=60) for job in jobs]
        assert {job.status for job in ended} == {Status.COMPLETED}
        assert [job.result for job in ended] == list(range(200))


async def test_a_write_whose_answer_was_cut_off_is_there_once_however_often_it_is_repeated(
    server: Server, url: str
) -> None:
    async with cutting(server) as cut, open_store(f"unix://{cut.path}?{url.partition('?')[2]}") as store:
        new = new_job(store)
        await unknown_twice(cut, store.insert, [new])
        assert [job.id for job in await store.insert([new])] == [new.job.id]
        job = await claimed(store, new.job)
        done = lifecycle.complete(job, "1", store.now())
        await unknown_twice(cut, store.apply, [done])
        [answer] = await store.apply([done])
        assert answer is not None and answer.status is Status.COMPLETED
        assert [event.type for event in await store.events(job.id)].count("job.completed") == 1


async def test_a_claim_whose_answer_was_cut_off_comes_back_by_its_lease(server: Server, url: str) -> None:
    async with cutting(server) as cut, open_store(f"unix://{cut.path}?{url.partition('?')[2]}") as store:
        job = await queued(store)
        cut.next_answer = True
        with pytest.raises(StoreUnavailable, match="unknown"):
            await store.claim(1, [TYPE], WORKER, ttl=0.05)
        await until(lambda: store.now() > job.created_at + 0.1)
        [lost] = await store.due(10)
        assert await store.apply([lifecycle.lease_out(lost, store.now())]) == [None]
        assert (await claimed(store, job)).attempt == 2


async def test_a_server_that_forgot_its_scripts_is_sent_them_again(store: Store, server: Server) -> None:
    job = await processing(store)
    server.ask("SCRIPT", "FLUSH")
    assert await store.apply([lifecycle.complete(job, "1", store.now())]) == [None]


async def test_a_full_server_takes_nothing_in_and_says_so() -> None:
    with running(ENGINE, settings=DURABLE) as server:
        async with open_store(server.url) as store:
            job = await processing(store)
            server.ask("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StoreUnavailable, match="maxmemory"):
                await store.insert(new_jobs(store, 2))
            with pytest.raises(StoreUnavailable, match="maxmemory"):
                await store.apply([lifecycle.complete(job, "1", store.now())])
            assert await store.count(Query()) == {(TYPE, Status.PROCESSING): 1}
            assert len(await store.events(job.id)) == 2


# -- many at once -----------------------------------------------------------------------------------------------------


async def test_a_write_of_one_process_is_heard_in_another(store: Store, url: str) -> None:
    delays = []
    async with open_store(url) as other:
        came = asyncio.Event()
        news: list[News] = []
        stop = other.listen(lambda one: (news.append(one), came.set()))  # type: ignore[func-returns-value]
        for _ in range(20):
            await until(lambda: not came.is_set())
            began = time.perf_counter()
            await queued(store)
            await asyncio.wait_for(came.wait(), 5)
            delays.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)
            came.clear()
        stop()
    assert any(one.ids is None and one.ready for one in news)
    assert sorted(delays)[10] < 0.1


async def test_news_goes_on_when_the_server_was_away() -> None:
    with running(ENGINE, port=free_port()) as server:
        async with open_store(server.url) as store, open_store(server.url) as other:
            server.kill()
            server.start()
            came = asyncio.Event()
            other.listen(lambda news: came.set())
            for _ in range(100):
                try:
                    await queued(store)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
            await asyncio.wait_for(came.wait(), 5)


async def test_its_connections_are_used_again(store: Store, server: Server) -> None:
    def made() -> bytes:
        return next(line for line in server.ask("INFO", "stats").split(b"\r\n") if b"connections_received" in line)

    before = made()
    job = await queued(store)
    for _ in range(10):
        await store.get([job.id])
    number = int(made().split(b":")[1]) - int(before.split(b":")[1])
    assert number <= 1, "one of them is that of the second question"


async def test_a_call_that_is_cancelled_while_its_connection_is_looked_at_leaves_none_open(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = asyncio.get_running_loop().create_future()

    async def never(connection: Any) -> bool:
        looked_at.set_result(connection)
        return await asyncio.Future[bool]()

    monkeypatch.setattr(redis_pool, "_has_more", never)
    call = asyncio.create_task(store.count(Query()))
    connection = await asyncio.wait_for(looked_at, 5)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert not connection.is_connected


async def test_a_store_outlives_the_loops_that_use_it(store: Store) -> None:
    job = await queued(store)
    for _ in range(3):
        [found] = await asyncio.to_thread(lambda: asyncio.run(store.get([job.id])))
        assert found is not None and found.id == job.id
    assert (await claimed(store, job)).attempt == 1


async def test_the_clock_is_the_servers(store: Store, server: Server) -> None:
    _, seconds, _, micros, *_ = server.ask("TIME").split(b"\r\n")[1:]
    assert abs(store.now() - (int(seconds) + int(micros) / 1e6)) < 1


async def test_namespaces_of_one_server_know_nothing_of_each_other(store: Store, server: Server) -> None:
    job = await queued(store)
    async with open_store(f"{server.url}?namespace=another") as other:
        assert await other.get([job.id]) == [None]
        assert (await other.claim(1, [TYPE], WORKER)).jobs == []


async def test_a_removed_job_leaves_no_key_behind(store: Store, url: str, server: Server) -> None:
    jobs = [await completed(store, owner=owner, batch_id="b", idempotency_key="k") for owner in ("ada", None)]
    await store.purge([job.id for job in jobs])
    prefix = f"{{{url.partition('=')[2]}}}:"
    left = server.ask("KEYS", f"{prefix}*")
    assert sorted(left.split(b"\r\n")[2::2]) == [f"{prefix}{one}".encode() for one in ("schema", "types")], (
        "only the list of types stays, and the number of the schema"
    )


# -- a cluster --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[Server]]:
    with running_cluster("redis7") as nodes:
        yield nodes


async def test_a_cluster_has_one_database_alone(cluster: list[Server]) -> None:
    with pytest.raises(ConfigurationError, match="leave it out, for namespace="):
        await open_store(cluster[0].url.removesuffix("/0") + "/1").open()


async def test_every_namespace_of_a_cluster_is_reached_from_every_node(cluster: list[Server]) -> None:
    for namespace in ("a", "b", "c", "outlast"):
        ids = set()
        for member in cluster:
            async with open_store(f"{member.url}?namespace={namespace}") as store:
                ids.add((await completed(store)).id)
                assert {job.id for job in await store.find(Query())} == ids
    held = [each.ask("DBSIZE") for each in cluster]
    assert len([size for size in held if size != b":0\r\n"]) > 1, "the namespaces are spread over the nodes"


async def test_news_reaches_whoever_listens_at_another_node(cluster: list[Server]) -> None:
    urls = [f"{member.url}?namespace=news" for member in cluster]
    async with open_store(urls[0]) as one, open_store(urls[1]) as other:
        came = asyncio.Event()
        other.listen(lambda news: came.set())
        came.clear()
        await queued(one)
        await asyncio.wait_for(came.wait(), 5)


@pytest.mark.slow
async def test_a_cluster_that_is_down_is_unavailable_until_it_is_whole_again(cluster: list[Server]) -> None:
    async with open_store(f"{cluster[0].url}?namespace=a") as store:
        job = await queued(store)
        gone = next(member for member in cluster if member.ask("EXISTS", "{a}:").startswith(b"-MOVED"))
        gone.kill()
        while await available(store, job.id):
            await asyncio.sleep(0.05)
        gone.start()
        while not await available(store, job.id):
            await asyncio.sleep(0.05)


async def available(store: Store, id: str) -> bool:
    try:
        return await store.get([id]) != [None]
    except StoreUnavailable:
        return False


# -- a connection that is cut -----------------------------------------------------------------------------------------


class Cut:
    """Stands before a server, and cuts the connection in place of the answer to the next script."""

    def __init__(self, server: Server, path: Path) -> None:
        self._server, self.path = server, path
        self.next_answer = False
        self.served: set[asyncio.Task[Any] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served.add(asyncio.current_task())
        answers, calls = await asyncio.open_unix_connection(self._server.socket)
        asked = asyncio.Event()

        async def forward() -> None:
            while data := await reader.read(65536):
                if b"EVALSHA" in data:
                    asked.set()
                calls.write(data)
            calls.close()

        sending = asyncio.create_task(forward())
        while data := await answers.read(65536):
            if self.next_answer and asked.is_set() and not data.startswith(b"-NOSCRIPT"):
                self.next_answer = False
                break
            writer.write(data)
        for line in (calls, writer):
            line.close()
            with suppress(OSError):
                await line.wait_closed()
        await sending


@asynccontextmanager
async def cutting(server: Server) -> AsyncIterator[Cut]:
    folder = Path(tempfile.mkdtemp(prefix="outlast-"))
    cut = Cut(server, folder / "s")
    listening = await asyncio.start_unix_server(cut.serve, cut.path)
    try:
        yield cut
    finally:
        listening.close()
        await asyncio.wait({task for task in cut.served if task is not None}, timeout=10)
        shutil.rmtree(folder)


async def unknown_twice(cut: Cut, call: Callable[[list[Any]], Awaitable[Any]], items: list[Any]) -> None:
    """The call is made twice, and its answer is cut off both times."""
    for _ in range(2):
        cut.next_answer = True
        with pytest.raises(StoreUnavailable, match="unknown"):
            await call(items)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)
