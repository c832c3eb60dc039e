"""Every store keeps every promise of outlast.stores.base."""

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from outlast.stores import open_store
from outlast.stores.base import Store
from outlast.testing import FakeClock, StoreContract
from tests.stores.mongo_server import MongoServer
from tests.stores.postgres_ground import fresh
from tests.stores.postgres_server import PgBouncer
from tests.stores.postgres_server import Server as PostgresServer
from tests.stores.redis_server import Server, running, running_cluster


class Contract(StoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    async def store(self, url: str, clock: FakeClock) -> AsyncIterator[Store]:
        async with open_store(url, clock=clock) as store:
            yield store


class TestMemory(Contract):
    @pytest.fixture
    def url(self) -> str:
        return "memory://"


class TestSqlite(Contract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/jobs.db"


class TestMongo(Contract):
    @pytest.fixture
    def url(self, mongo: MongoServer) -> str:
        return mongo.fresh()


class TestPostgres(Contract):
    @pytest.fixture
    def url(self, postgres: PostgresServer) -> str:
        return fresh(postgres.url())


class TestPostgres15(Contract):
    @pytest.fixture
    def url(self, postgres_15: PostgresServer) -> str:
        return fresh(postgres_15.url())


class TestPgBouncer(Contract):
    @pytest.fixture
    def url(self, pgbouncer: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> str:
        # That no notification arrives is a test of its own; here nobody waits a second for it.
        monkeypatch.setattr("outlast.stores.postgres_news.ECHO", 0.01)
        return fresh(pgbouncer.url)


@pytest.fixture(scope="session")
def valkey9() -> Iterator[Server]:
    with running("valkey9") as server:
        yield server


@pytest.fixture(scope="session")
def redis6() -> Iterator[Server]:
    with running("redis6") as server:
        yield server


@pytest.fixture(scope="session")
def redis7() -> Iterator[Server]:
    with running("redis7") as server:
        yield server


@pytest.fixture(scope="session")
def cluster() -> Iterator[list[Server]]:
    with running_cluster("redis7") as nodes:
        yield nodes


class TestRedisAsValkey9(Contract):
    @pytest.fixture
    def url(self, valkey9: Server) -> str:
        return fresh_namespace(valkey9)


class TestRedis6(Contract):
    @pytest.fixture
    def url(self, redis6: Server) -> str:
        return fresh_namespace(redis6)


class TestRedis7(Contract):
    @pytest.fixture
    def url(self, redis7: Server) -> str:
        return fresh_namespace(redis7)


class TestRedis7Cluster(Contract):
    @pytest.fixture
    def url(self, cluster: list[Server]) -> str:
        return fresh_namespace(secrets.choice(cluster))


def fresh_namespace(server: Server) -> str:
    return f"{server.url}?namespace={secrets.token_hex(8)}"


def test_the_contract_is_imported_without_pytest() -> None:
    code = "import sys, outlast.testing; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
