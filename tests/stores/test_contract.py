"""Every store keeps every promise of outlast.stores.base."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outlast.stores import open_store
from outlast.stores.base import Store
from outlast.testing import FakeClock, StoreContract
from tests.stores.mongo_server import MongoServer


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


def test_the_contract_is_imported_without_pytest() -> None:
    code = "import sys, outlast.testing; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
