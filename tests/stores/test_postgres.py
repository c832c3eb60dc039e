"""What the PostgreSQL store alone has to keep: its refusals, lost connections and news between machines."""

import asyncio
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count, repeat
from random import Random
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from outlast import Outlast, lifecycle
from outlast.errors import ConfigurationError, StoreRefused, StoreUnavailable
from outlast.job import RANK, Change, Job
from outlast.report import REPORTS, Report
from outlast.stores import open_store, postgres_pool, postgres_writes
from outlast.stores.base import Lease, News, Query
from outlast.stores.postgres import PostgresStore
from outlast.stores.postgres_errors import of_connecting
from outlast.stores.postgres_news import NO_NEWS
from outlast.stores.postgres_pool import BEGIN, SETTINGS, Do, Names
from outlast.stores.postgres_schema import ADDED_TO, SCHEMA
from outlast.stores.postgres_url import place_of
from outlast.testing import FakeClock
from outlast.testing.contract.ground import (
    TYPE,
    WORKER,
    completed,
    in_threads,
    log,
    new_job,
    new_jobs,
    processing,
    queued,
)
from outlast.web.query import written
from outlast.web.service import service
from tests.ports import free_port
from tests.stores import postgres_server
from tests.stores.postgres_ground import Ears, Wire, execute, fresh, opened, schema_of
from tests.stores.postgres_server import LOCKED, PgBouncer, Server
from tests.web.ground import client


@pytest.fixture
def url(postgres: Server) -> str:
    return fresh(postgres.url())


@pytest.fixture
def own(postgres: Server) -> Iterator[Server]:
    """A server that a test may stop; there is one wherever the session's is."""
    with Server(postgres_server.wheel()) as server:
        yield server


# -- the URL --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        "postgresql://ada:p@ss@host/db",
        "postgresql://ada:s#cret@host/db",
        "postgresql://ada:s/cret@host/db",
        "postgresql://ada:s%cret@host/db",
        "postgresql://ada:s?cret@host/db",
        "postgresql://ada:12?cret@host/db",
        "postgresql://ada:12?cret=x@host/db",
        "postgresql://ada:p@ss?cret@host/db",
        "postgresql://ada:secret@host:port/db",
        "postgresql://ada:secret@host/db?schem=x",
        "postgresql://ada:secret@host/db?schema=",
        f"postgresql://ada:secret@host/db?schema={'x' * 49}",
        "postgresql://ada:secret@host/db?connections=0",
        "postgresql://ada:secret@host/db?listen_url=postgresql://ada:p@ss@host/db",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_its_password(wrong: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        open_store(wrong)
    assert "cret" not in str(refusal.value) and "p@ss" not in str(refusal.value)


@pytest.mark.parametrize("at", ["host:5432", "host", "[::1]:5432", "one:5432,two:5433"])
def test_an_at_sign_behind_the_question_mark_may_be_in_an_option(at: str) -> None:
    place = place_of(f"postgresql://{at}?user=me@corp&dbname=shop&listen_url=postgresql://app:x@direct/shop")
    assert conninfo_to_dict(place.conninfo)["user"] == "me@corp"
    assert conninfo_to_dict(place.listen)["host"] == "direct"


def test_an_escape_within_the_listen_url_is_escaped_itself_or_told_to_be() -> None:
    url = "postgresql://ada:x@pooler/db?listen_url=postgresql://ada:s%40cret@host/db"
    with pytest.raises(ConfigurationError, match="each % of its own is written %25"):
        open_store(url)
    assert conninfo_to_dict(place_of(url.replace("%40", "%2540")).listen)["password"] == "s@cret"


@pytest.mark.parametrize("url", ["postgresql:///shop?host=/run/db", "postgresql://?dbname=shop&host=/run/db"])
def test_a_url_may_name_its_host_in_an_option(url: str) -> None:
    assert open_store(url).describe().url == "postgresql:///shop?schema=outlast&host=/run/db"


def test_a_store_shows_where_it_is_and_no_password() -> None:
    shown = open_store("postgres://ada:s%40cret@db.example:5433/shop?schema=jobs&sslmode=require").describe().url
    assert shown == "postgresql://ada@db.example:5433/shop?schema=jobs"


# -- refusals -------------------------------------------------------------------------------------------------------


async def refusal(url: str) -> str:
    with pytest.raises((ConfigurationError, StoreRefused)) as error:
        await PostgresStore(url).open()
    assert "wrong-secret" not in str(error.value)
    return str(error.value)


async def test_a_wrong_password_is_told(postgres: Server, url: str) -> None:
    await execute(url, f"drop role if exists {LOCKED}", f"create role {LOCKED} login password 'right'")
    said = await refusal(f"postgresql://{LOCKED}:wrong-secret@127.0.0.1:{postgres.port}/postgres")
    assert "password" in said and f"{LOCKED}@127.0.0.1" in said


async def test_an_unknown_database_and_user_are_told(postgres: Server) -> None:
    assert "does not exist" in await refusal(postgres.url("nowhere"))
    assert "does not exist" in await refusal(postgres.url(user="nobody_known"))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("no such database: shop", "no such database"),
        ("SASL authentication failed", "password is wrong"),
        ("unsupported startup parameter: options", "leave it out"),
        ("Tenant or user not found", "postgres.<project>"),
        ("(ENOTFOUND) tenant/user postgres.abc not found", "postgres.<project>"),
        ("(ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname required)", "postgres.<project>"),
    ],
)
def test_what_a_pooler_refuses_is_a_setting_to_mend(said: str, meant: str) -> None:
    error = of_connecting(psycopg.OperationalError(f"connection failed: FATAL:  {said}"), "postgresql://pooler/shop")
    assert isinstance(error, ConfigurationError) and meant in str(error)


def test_a_name_that_nobody_answers_for_just_now_may_be_right() -> None:
    said = "failed to resolve host 'db': [Errno -3] Temporary failure in name resolution"
    assert isinstance(of_connecting(psycopg.OperationalError(said), "postgresql://db/shop"), StoreUnavailable)


async def test_a_server_without_tls_is_told_to_who_asks_for_it(postgres: Server) -> None:
    assert "TLS" in await refusal(f"{postgres.url()}?sslmode=require")


async def test_a_database_that_is_read_only_is_refused(url: str) -> None:
    said = await refusal(f"{url}&options=-c%20default_transaction_read_only%3Don")
    assert "read only" in said


async def test_a_replica_is_refused(own: Server) -> None:
    own.stop(signal.SIGINT)
    own.become_standby()
    own.start()
    assert "replica" in await refusal(own.url())


async def test_a_newer_schema_is_refused_and_left_alone(url: str) -> None:
    async with opened(url) as store:
        await queued(store)
    await execute(url, f"insert into {schema_of(url)}.migration values ({SCHEMA + 1})")
    assert "upgrade outlast" in await refusal(url)


async def test_another_programs_tables_are_left_as_they_are(url: str) -> None:
    await execute(url, f"create schema {schema_of(url)}", f"create table {schema_of(url)}.job (name text)")
    assert "another program" in await refusal(url)


async def test_a_role_that_may_not_create_is_told_who_may(postgres: Server, url: str) -> None:
    await execute(url, "drop role if exists guest", "create role guest login")
    guest = url.replace("postgres@", "guest@")
    assert "outlast db migrate" in await refusal(guest)
    async with opened(url) as store:
        await queued(store)
    schema = schema_of(url)
    await execute(url, f"grant usage on schema {schema} to guest")
    assert "permission denied" in await refusal(guest)
    await execute(url, f"grant select on all tables in schema {schema} to guest")
    assert "(asked, event, held, job, job_number, live" in await refusal(guest)
    await execute(
        url,
        f"grant select, insert, update, delete on all tables in schema {schema} to guest",
        f"grant usage on all sequences in schema {schema} to guest",
    )
    async with opened(guest) as store:
        assert len((await store.claim(1, [TYPE], WORKER)).jobs) == 1


async def test_a_role_that_may_do_no_more_than_is_done_is_taken(url: str) -> None:
    async with opened(url) as store:
        await queued(store)
    schema = schema_of(url)
    await execute(
        url,
        f"create role {schema} login",
        f"grant usage on schema {schema} to {schema}",
        f"grant select, insert, update, delete on all tables in schema {schema} to {schema}",
        f"revoke update on {', '.join(f'{schema}.{table}' for table in ADDED_TO)} from {schema}",
        f"grant update on sequence {schema}.job_number to {schema}",
    )
    async with opened(url.replace("postgres@", f"{schema}@")) as store:
        await store.insert([new_job(store, idempotency_key="once")])
        done = await completed(store)
        await store.apply([Change(id=done.id, report=Report(attempt=n, worker=WORKER)) for n in range(REPORTS + 1)])
        assert await store.purge([done.id]) == [done.id]


async def test_tables_that_are_removed_under_a_store_are_told(url: str) -> None:
    async with opened(url) as store:
        await execute(url, f"drop schema {schema_of(url)} cascade")
        with pytest.raises(StoreRefused, match="does not exist"):
            await queued(store)


async def test_of_many_that_open_an_empty_database_at_once_one_makes_the_tables(url: str) -> None:
    async def open_and_submit() -> None:
        async with opened(url) as store:
            await queued(store)

    await in_threads(4, open_and_submit)
    async with opened(url) as store:
        assert len((await store.claim(10, [TYPE], WORKER)).jobs) == 4


async def test_a_schema_may_have_any_name(postgres: Server) -> None:
    url = f'{postgres.url()}?schema=Jobs%20of%20"Ada"%20100%25%20é%20%7Bs%7D'
    async with opened(url) as store:
        job = await queued(store)
        assert await store.get([job.id]) != [None]
    await execute(postgres.url(), 'drop schema "Jobs of ""Ada"" 100% é {s}" cascade')


async def test_a_careless_server_is_described_as_such(url: str) -> None:
    async with opened(url) as store:
        facts = store.describe()
    assert (facts.engine, facts.schema) == ("postgresql", SCHEMA)
    assert any("fsync=off" in warning for warning in facts.warnings)


# -- round trips ------------------------------------------------------------------------------------------------------


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each that a store makes, but for what it tells others."""
    trips, send = list[None](), postgres_pool.send

    async def counted(connection: Any, statements: Any) -> Any:
        if not any("pg_notify" in do.statement for do in statements):
            trips.append(None)
        return await send(connection, statements)

    monkeypatch.setattr(postgres_pool, "send", counted)
    return trips


async def test_submits_and_claims_and_what_an_attempt_writes_take_one_round_trip_each(
    url: str, trips: list[None]
) -> None:
    async with opened(url) as store:
        trips.clear()
        await queued(store)
        [job] = (await store.claim(1, [TYPE], WORKER)).jobs
        assert await store.apply([logged(store, job)]) == [None]
        assert await store.apply([lifecycle.append(job, set={"progress": 40.0})]) == [None]
        [now] = await store.get([job.id])
        assert now is not None and (now.progress, now.seq) == (40.0, job.seq + 1)
        assert await store.apply([lifecycle.complete(now, "1", store.now())]) == [None]
        assert len(trips) == 6


async def test_what_another_wrote_meanwhile_is_found_out(url: str, trips: list[None]) -> None:
    async with opened(url) as store, opened(url) as other:
        job = await processing(store)
        wish = lifecycle.cancel(job, other.now())
        assert wish is not None
        assert await other.apply([wish]) == [None]
        trips.clear()
        [now] = await store.apply([lifecycle.complete(job, "1", store.now())])
        assert now is not None and now.cancel_requested_at is not None and not now.ended
        assert await store.apply([logged(store, now)]) == [None], "the lease is its own all the same"
        [found] = await store.get([job.id])
        assert found is not None and found.seq == now.seq + 1


async def test_a_takeover_is_refused_once_the_lease_is_renewed(url: str) -> None:
    clock = FakeClock()
    async with open_store(url, clock=clock) as store:
        await queued(store, max_retries=0)
        [held] = (await store.claim(1, [TYPE], WORKER)).jobs
        clock.advance(31)
        [late] = await store.due(10)
        takeover = lifecycle.due(late, clock.now())
        assert takeover is not None
        assert await store.renew([Lease(held.id, held.lease or "")]) != [None]
        [now] = await store.apply([takeover])
        assert now is not None and now.lease == held.lease


async def test_what_is_known_of_jobs_goes_with_their_ends(url: str) -> None:
    async with opened(url) as store:
        jobs = await store.insert(new_jobs(store, 6))
        claimed = (await store.claim(6, [TYPE], WORKER)).jobs
        ends = [lifecycle.complete(job, "1", store.now()) for job in claimed[:5]]
        back = lifecycle.hand_back(claimed[5], "deploy", store.now())
        assert await store.apply([*ends[:2]]) == [None] * 2
        assert await store.apply([*ends[2:], back]) == [None] * 4, "one of them needs a look"
        assert len(jobs) == 6
        assert store._known._rows == {}


async def test_two_that_claim_jobs_with_a_past_at_once_get_all_of_them(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        ids = set[str]()
        await one.insert(new_jobs(one, 40))
        for job in (await one.claim(40, [TYPE], WORKER)).jobs:
            shown = lifecycle.append(job, set={"progress": 40.0})
            assert await one.apply([shown]) == [None]
            assert await one.apply([lifecycle.hand_back(job, "deploy", one.now())]) == [None]
            ids.add(job.id)
        claims = await asyncio.gather(*(store.claim(20, [TYPE], WORKER) for store in (one, other)))
        assert [len(claim.jobs) for claim in claims] == [20, 20]
        assert {job.id for claim in claims for job in claim.jobs} == ids


# -- a server that does not answer ------------------------------------------------------------------------------------


async def test_a_host_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_pool, "CONNECT", 0.2)
    writers = list[asyncio.StreamWriter]()
    silent = await asyncio.start_server(lambda reader, writer: writers.append(writer), "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await PostgresStore(f"postgresql://ada@127.0.0.1:{port}/db").open()
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def test_a_port_without_a_server_is_told() -> None:
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await PostgresStore(f"postgresql://ada@127.0.0.1:{free_port()}/db").open()


async def test_a_call_that_takes_too_long_is_given_up_and_its_connection_with_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(url) as store:
        job = await queued(store)
        monkeypatch.setattr(postgres_pool, "OPERATION", 0.3)
        locked = f"begin; select from {schema_of(url)}.job for update; select pg_sleep(1.5); commit"
        other = asyncio.create_task(execute(url, locked))
        asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        while await execute(url, asleep) == [(0,)]:
            await asyncio.sleep(0.01)
        with pytest.raises(StoreUnavailable, match="longer than"):
            await store.apply([lifecycle.cancel(job, store.now())])  # type: ignore[list-item]
        assert (await store.claim(1, [TYPE], WORKER)).jobs == [], "what is locked is passed over"
        await other
        monkeypatch.undo()
        [stored] = await store.get([job.id])
        assert stored is not None and not stored.ended


async def test_a_process_that_is_stopped_in_the_middle_of_a_write_keeps_others_waiting_for_two_seconds(
    url: str,
) -> None:
    async with opened(url) as store:
        jobs = [await processing(store) for _ in range(3)]
        async with stopped_with(url, jobs[1].id):
            began = time.monotonic()
            assert await store.apply([logged(store, job) for job in jobs]) == [None] * 3
            assert 1 < time.monotonic() - began < 5


async def test_what_a_stopped_process_holds_is_not_due_so_that_the_jobs_of_others_are_moved_at_once(url: str) -> None:
    async with opened(url) as store:
        held, *others = [await processing(store) for _ in range(3)]
        async with stopped_with(url, held.id):
            due = await store.due(10, dead=[WORKER])
            assert {job.id for job in due} == {job.id for job in others}
            takeovers = [lifecycle.due(job, store.now(), dead=frozenset({WORKER})) for job in due]
            began = time.monotonic()
            assert await store.apply([change for change in takeovers if change is not None]) == [None] * 2
            assert time.monotonic() - began < 1
        # The server lets go of what it held once it notices that its process is gone.
        async with asyncio.timeout(20):
            while not (late := await store.due(10, dead=[WORKER])):
                await asyncio.sleep(0.01)
        assert [job.id for job in late] == [held.id]


@asynccontextmanager
async def stopped_with(
    url: str, job_id: str, *, settings: Do = SETTINGS, pipelined: bool = False
) -> AsyncIterator[None]:
    """A transaction that has locked the job, as a store's does, and goes no further."""
    names = Names(schema_of(url))
    stopped = await psycopg.AsyncConnection.connect(url.partition("?")[0], autocommit=True)
    try:
        async with AsyncExitStack() as stack:
            if pipelined:
                await stack.enter_async_context(stopped.pipeline())
            for do in (BEGIN, settings, Do(postgres_writes.LOCK, ([job_id],))):
                await stopped.execute(names(do.statement).encode(), do.values)
            if pipelined:
                await _until_locked(url)
            yield
            stopped.pgconn.finish()
            stack.pop_all()
    finally:
        await stopped.close()


async def _until_locked(url: str) -> None:
    held = "select count(*) from pg_locks where mode = 'RowShareLock' and pid <> pg_backend_pid()"
    while await execute(url, held) == [(0,)]:
        await asyncio.sleep(0.01)


async def test_one_that_is_stopped_while_its_statements_go_out_is_cut_off_too(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = Do(SETTINGS.statement + postgres_pool.LIMITED.replace("'10000'", "'500'"))
    async with opened(url) as store:
        job = await processing(store)
        async with stopped_with(url, job.id, settings=limited, pipelined=True):
            began = time.monotonic()
            assert await store.apply([logged(store, job)]) == [None]
            assert 0.2 < time.monotonic() - began < 5


async def test_a_process_that_was_stopped_in_the_middle_of_a_write_begins_it_anew(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_pool, "SETTINGS", Do(SETTINGS.statement.replace("'2000'", "'100'")))
    stops, statements = iter([0.5]), postgres_writes.statements

    def stopped_once(sheet: Any) -> Any:
        time.sleep(next(stops, 0))
        return statements(sheet)

    async with opened(url) as store:
        job = await processing(store)
        monkeypatch.setattr(postgres_writes, "statements", stopped_once)
        assert await store.apply([logged(store, job)]) == [None]
        assert next(stops, None) is None
        assert [event.type for event in await store.events(job.id, after=job.seq)] == ["job.log"]


def logged(store: PostgresStore, job: Job[Any]) -> Change:
    return lifecycle.append(job, events=[log(store.now())])


async def test_a_server_that_falls_silent_costs_no_call_longer_than_its_time(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Wire(postgres.port).up() as wire, opened(fresh(wire.url)) as store:
        await queued(store)
        monkeypatch.setattr(postgres_pool, "OPERATION", 0.3)
        monkeypatch.setattr(postgres_pool, "CONNECT", 0.3)
        wire.silent = True
        began = time.monotonic()
        calls = [store.find(_all()), store.claim(1, [TYPE], WORKER), store.renew([Lease("job_x", "0")])]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in errors] == [StoreUnavailable] * 3
        assert time.monotonic() - began < 1.5
        wire.silent = False
        monkeypatch.undo()
        assert len(await store.find(_all())) == 1


async def test_to_open_the_store_takes_one_connection_for_calls_and_one_for_news(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, made = psycopg.AsyncConnection.connect, []

    async def counted(*args: Any, **settings: Any) -> Any:
        made.append(args)
        return await connect(*args, **settings)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", counted)
    async with opened(url) as store:
        await queued(store)
    assert len(made) == 2


async def test_a_server_without_a_connection_left_is_asked_by_those_one_has(own: Server) -> None:
    own.stop(signal.SIGINT)
    own.start("max_connections=5", "superuser_reserved_connections=0")
    async with opened(own.url()) as store, AsyncExitStack() as others:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            await take_all_connections(own.url(), others)
        assert len(await asyncio.gather(*(queued(store) for _ in range(20)))) == 20


async def take_all_connections(url: str, others: AsyncExitStack) -> None:
    while True:
        await others.enter_async_context(await psycopg.AsyncConnection.connect(url))


async def test_connections_that_were_closed_by_the_server_are_not_noticed(url: str) -> None:
    async with opened(url) as store:
        for _ in range(3):
            await asyncio.gather(*(queued(store) for _ in range(8)))
            closed = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
            await execute(url, f"{closed} and application_name = 'outlast'")
        assert sum((await store.count(_all())).values()) == 24


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_submit_whose_answer_is_lost_is_sent_again_and_stored_once(postgres: Server, key: str | None) -> None:
    async with Wire(postgres.port).up() as wire, opened(fresh(wire.url)) as store:
        heard: list[News] = []
        store.listen(heard.append)
        new = new_job(store, idempotency_key=key)
        wire.cut_at = b"insert into"
        [job] = await store.insert([new])
        assert (job.id, wire.cuts) == (new.job.id, 1)
        assert sum((await store.count(_all())).values()) == 1
        assert any(news.ready and news.ids is not None and job.id in news.ids for news in heard)


async def test_a_submit_whose_answer_is_lost_and_whose_repetition_is_refused_is_unknown(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Wire(postgres.port).up() as wire, opened(fresh(wire.url)) as store:
        new, insert = new_job(store), postgres_writes.insert

        async def refused(*asked: Any) -> Any:
            raise psycopg.errors.ReadOnlySqlTransaction("as on the standby that took over")

        monkeypatch.setattr(postgres_writes, "insert", refused)
        wire.cut_at = b"insert into"
        with pytest.raises(StoreUnavailable, match="outcome of a write is unknown"):
            await store.insert([new])
        monkeypatch.setattr(postgres_writes, "insert", insert)
        assert [job.id for job in await store.insert([new])] == [new.job.id]


async def test_a_write_whose_answer_is_lost_is_unknown_and_safe_to_repeat(postgres: Server) -> None:
    async with Wire(postgres.port).up() as wire, opened(fresh(wire.url)) as store:
        new = await queued(store)
        wire.cut_at = b"set log = job.log"
        with pytest.raises(StoreUnavailable):
            await store.claim(1, [TYPE], WORKER)
        [job] = await store.get([new.id])
        assert job is not None and job.seq == 2, "the claim was written, or not; here it was"
        done = lifecycle.complete(job, "1", store.now())
        wire.cut_at = b"set log = job.log"
        with pytest.raises(StoreUnavailable):
            await store.apply([done])
        [refused] = await store.apply([done])
        assert refused is not None and refused.status == "completed"
        assert wire.cuts == 2


async def test_a_read_whose_connection_is_cut_is_asked_again(postgres: Server) -> None:
    async with Wire(postgres.port).up() as wire, opened(fresh(wire.url)) as store:
        job = await queued(store)
        wire.cut_at = b"whole where id"
        [found] = await store.get([job.id])
        assert found is not None and wire.cuts == 1


@pytest.mark.slow
async def test_a_server_that_is_restarted_under_load_loses_nothing(own: Server) -> None:
    async with opened(fresh(own.url())) as store:
        jobs = await store.insert(new_jobs(store, 300))
        work = asyncio.create_task(_work_all(store, len(jobs)))
        for how in (signal.SIGQUIT, signal.SIGINT, signal.SIGQUIT):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own.stop, how)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own.start)
        assert await work == {job.id for job in jobs}
        for job in jobs:
            events = [event.type for event in await store.events(job.id)]
            assert events.count("job.completed") == 1
        other = PostgresStore(f"{own.url()}?schema={store.describe().url.partition('schema=')[2]}")
        ears = Ears(store)
        async with other:
            listen = "select count(*) from pg_stat_activity where query ~ '^(listen |select 1$)'"
            while await execute(own.url(), listen) != [(2,)]:
                await asyncio.sleep(0.05)
            ears.forget()
            await queued(other)
            await asyncio.wait_for(ears.foreign(), 10)


async def _work_all(store: PostgresStore, n: int) -> set[str]:
    """Claims and ends jobs as a worker and a sweep do, whatever the server does meanwhile."""
    ended = set[str]()
    while len(ended) < n:
        try:
            for job in (await store.claim(5, [TYPE], WORKER, ttl=1.0)).jobs:
                await store.apply([lifecycle.complete(job, "1", store.now())])
            for late in await store.due(100):
                if (change := lifecycle.due(late, store.now())) is not None:
                    await store.apply([change])
            done = await store.find(_all(limit=1000))
            ended = {job.id for job in done if job.ended}
        except StoreUnavailable:
            await asyncio.sleep(0.05)
    return ended


def _all(limit: int = 50) -> Query:
    return Query(limit=limit)


# -- news -----------------------------------------------------------------------------------------------------------


async def test_another_stores_write_is_heard_within_ten_milliseconds_at_the_median(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        ears, took = Ears(one), list[float]()
        for _ in range(20):
            await asyncio.sleep(0.02)
            ears.forget()
            await queued(other)
            began = time.perf_counter()
            await asyncio.wait_for(ears.foreign(), 5)
            took.append(time.perf_counter() - began)
        assert statistics.median(took) < 0.010
        assert NO_NEWS not in one.describe().warnings


async def test_a_store_does_not_hear_itself(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        ears, witness = Ears(one), Ears(other)
        await queued(one)
        await asyncio.wait_for(witness.foreign(), 5)
        assert all(news.ids is not None for news in ears.news)


async def test_where_no_notification_arrives_the_store_says_so_once_and_looks(
    postgres: Server, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Notifications do not leave their database; a listener in another one is as deaf as one behind a pooler."""
    deaf = f"{url}&listen_url={postgres.url('template1')}"
    async with opened(deaf) as one, opened(url) as other:
        assert NO_NEWS in one.describe().warnings
        async with Outlast(deaf):
            assert len([record for record in caplog.records if NO_NEWS in record.getMessage()]) == 1
        ears = Ears(one)
        ears.forget()
        await queued(other)
        await asyncio.wait_for(ears.foreign(), 5)


async def test_where_nobody_answers_at_the_listen_url_the_store_says_so_and_looks(url: str) -> None:
    port = free_port()
    deaf = f"{url}&listen_url=postgresql://ada:wrong-secret@127.0.0.1:{port}/db"
    async with opened(deaf) as one, opened(url) as other:
        said = " ".join(one.describe().warnings)
        assert "listen_url does not answer" in said and str(port) in said and "wrong-secret" not in said
        ears = Ears(one)
        ears.forget()
        await queued(other)
        await asyncio.wait_for(ears.foreign(), 5)


async def test_behind_a_pooler_that_delivers_none_the_store_looks(pgbouncer: PgBouncer) -> None:
    url = fresh(pgbouncer.url)
    async with opened(url) as one, opened(url) as other:
        assert NO_NEWS in one.describe().warnings
        ears = Ears(one)
        ears.forget()
        await queued(other)
        await asyncio.wait_for(ears.foreign(), 5)


async def test_behind_a_pooler_a_direct_connection_hears(postgres: Server, pgbouncer: PgBouncer) -> None:
    url = fresh(pgbouncer.url, listen_url=postgres.url())
    async with opened(url) as one, opened(url) as other:
        assert NO_NEWS not in one.describe().warnings
        ears = Ears(one)
        ears.forget()
        await queued(other)
        await asyncio.wait_for(ears.foreign(), 5)


# -- the queue ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_plain_jobs_and_those_with_a_key_get_the_same_places(postgres: Server, seed: int) -> None:
    """Plain ones are placed by the server itself, all others by `Tags`."""
    chance = Random(seed)
    batches = [[_asked(chance) for _ in range(chance.randint(1, 12))] for _ in range(6)]
    plain, keyed = [await _tags(postgres, batches, keys) for keys in (repeat(None), map(str, count()))]
    assert plain == keyed
    assert len(set(plain)) > 3


def _asked(chance: Random) -> dict[str, Any]:
    run_at = chance.choice([None, None, time.time() + 3_600])
    return {"owner": chance.choice([None, "", "ada"]), "priority": chance.choice(list(RANK)), "run_at": run_at}


async def _tags(
    postgres: Server, batches: Sequence[Sequence[dict[str, Any]]], keys: Iterator[str | None]
) -> list[int | None]:
    """Of jobs that come in batches, each the youngest first, while some are claimed."""
    async with opened(fresh(postgres.url())) as store:
        ids = list[str]()
        for batch in batches:
            new = [new_job(store, idempotency_key=next(keys), **asked) for asked in batch]
            ids += [one.job.id for one in new]
            await store.insert(new[::-1])
            await store.claim(2, [TYPE], WORKER)
        return [job.tag for job in await store.get(ids) if job is not None]


async def test_a_claim_reads_few_rows_though_statistics_are_old(url: str) -> None:
    """Analysed while nothing was ready; then 5,000 jobs come, and the planner still believes there are none."""
    async with opened(url) as store:
        schema = schema_of(url)
        for _ in range(3):
            await completed(store)
        await execute(url, f"alter table {schema}.job set (autovacuum_enabled = off)", f"analyze {schema}.job")
        await store.insert(new_jobs(store, 5_000))
        await execute(url, "select pg_stat_force_next_flush(); select pg_stat_reset()")
        for _ in range(10):
            assert len((await store.claim(2, [TYPE], WORKER)).jobs) == 2
        await asyncio.sleep(1.2)
        counted = "select seq_scan, idx_tup_fetch from pg_stat_user_tables where relname = 'job'"
        [(scanned, read)] = await execute(url, f"{counted} and schemaname = '{schema}'")
        assert (scanned, read < 1_000) == (0, True)


async def test_claims_of_several_types_take_turns_by_the_line(url: str) -> None:
    async with opened(url) as store:
        line = await store.insert([new_job(store, type=type) for type in ("a", "b", "c", "b", "a", "c") for _ in "12"])
        taken = [job.id for _ in range(4) for job in (await store.claim(3, ["a", "b", "c"], WORKER)).jobs]
        assert taken == [job.id for job in line]


async def test_a_store_serves_several_event_loops_one_after_the_other(url: str) -> None:
    async with opened(url) as store:
        for _ in range(3):
            await in_threads(2, lambda: queued(store))
        assert sum((await store.count(_all())).values()) == 6
        [(open_now,)] = await execute(
            url, "select count(*) from pg_stat_activity where application_name = 'outlast' and state = 'idle'"
        )
        assert open_now < 20


# -- its tables, made by others -------------------------------------------------------------------------------------


async def test_the_printed_statements_make_what_a_migration_makes(url: str) -> None:
    await execute(url, PostgresStore(url).script())
    async with opened(url) as store:
        assert (await completed(store)).status == "completed"


async def test_the_printed_statements_need_no_right_to_make_the_schema_that_is_there(url: str) -> None:
    name = schema_of(url)
    await execute(url, f"create role {name} login", f"create schema {name} authorization {name}")
    theirs = url.replace("postgres@", f"{name}@")
    await execute(theirs, PostgresStore(theirs).script())
    async with opened(theirs) as store:
        assert (await completed(store)).status == "completed"


async def test_the_printed_statements_make_a_schema_of_any_name(postgres: Server) -> None:
    name = quote('$$ "jobs"')
    url = f"{postgres.url()}?schema={name}"
    await execute(url, PostgresStore(url).script())
    async with opened(url) as store:
        assert (await completed(store)).status == "completed"
    await execute(url, 'drop schema "$$ ""jobs""" cascade')


# -- over HTTP ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/jobs/%00", 404),
        ("/jobs/batches/%00", 404),
        ("/jobs/x%00/events", 404),
        ("/jobs?tag=%00", 200),
        ("/jobs?type=%00&batchId=%00", 200),
        (f"/jobs?cursor={written('a' + chr(0), '')}", 422),
    ],
)
async def test_a_request_for_nul_finds_nothing_though_the_server_cannot_be_asked_for_it(
    url: str, path: str, status: int
) -> None:
    app = Outlast(url)
    async with app.lifespan(worker=False), client(service(app)) as http:
        assert (await http.get(path)).status_code == status


KEPT = Do("select count(*) from pg_prepared_statements")


async def test_statements_are_planned_once_in_each_session(url: str) -> None:
    async with opened(url) as store:
        await queued(store)
        engine = store._open()
        [[[first]]] = await engine.read(KEPT)
        await queued(store)
        [[[second]]] = await engine.read(KEPT)
        assert first > 1 and second <= first + 1, "the question itself is one more"


async def test_a_session_that_forgets_its_statements_costs_nothing_but_time(url: str) -> None:
    async with opened(url) as store:
        job = await queued(store)
        known = await store.get([job.id])
        await store._open().read(Do("do $$ begin execute 'deallocate all'; end $$"))
        assert await store.get([job.id]) == known
        # From here on it is taken for a pooler.
        [[[kept]]] = await store._open().read(KEPT)
        assert await store.steps(job.id) == []
        assert await store._open().read(KEPT) == [[(kept,)]]
