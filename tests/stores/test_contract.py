"""Every store keeps every promise of outlast.stores.base."""

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from outlast.stores import open_store
from outlast.stores.base import Store
from outlast.testing import FakeClock, StoreContract
from tests.conftest import PROVEN
from tests.stores.mongo_server import MongoServer
from tests.stores.postgres_ground import fresh
from tests.stores.postgres_server import PgBouncer
from tests.stores.postgres_server import Server as PostgresServer
from tests.stores.redis_server import Server, fresh_namespace
from tests.stores.urls import URL


class Contract(StoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def way(self) -> str:
        """How the server is reached, or what stands in for it; for the list at the end of a run."""
        return ""

    @pytest.fixture
    async def store(
        self, url: str, way: str, clock: FakeClock, record_property: Callable[[str, str], None]
    ) -> AsyncIterator[Store]:
        async with open_store(url, clock=clock) as store:
            about = store.describe()
            record_property(PROVEN, f"{about.engine} {about.version} {way}".rstrip())
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

    @pytest.fixture
    def way(self, mongo: MongoServer) -> str:
        return "" if mongo.is_real else f"(protocol only, spoken by nx-27017 {version('nx-27017')})"


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
    def url(self, request: pytest.FixtureRequest) -> str:
        return URL["pgbouncer"](request)

    @pytest.fixture
    def way(self, pgbouncer: PgBouncer) -> str:
        return f"through {pgbouncer.version} in transaction mode"


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

    @pytest.fixture
    def way(self, cluster: list[Server]) -> str:
        return f"in cluster mode, {len(cluster)} servers"


def test_the_contract_is_imported_without_pytest() -> None:
    code = "import sys, outlast.testing; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
