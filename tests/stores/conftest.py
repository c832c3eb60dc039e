"""The contract's own asserts tell what they compared, as those of test files do; and the servers of this session."""

import gc
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from tests.stores import postgres_server, redis_server
from tests.stores.mongo_server import MongoServer, mongo_server
from tests.stores.postgres_server import NoServer, PgBouncer, Server

T = TypeVar("T")

pytest.register_assert_rewrite("outlast.testing.contract")


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    with mongo_server(tmp_path_factory.mktemp("mongo")) as server:
        yield server


@pytest.fixture
def no_sockets_left() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """PostgreSQL 18, from the wheel."""
    with _found(lambda: Server(postgres_server.wheel())) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[Server]:
    """PostgreSQL 15, from Debian."""
    with _found(lambda: Server(postgres_server.system(15))) as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: Server) -> Iterator[PgBouncer]:
    """PgBouncer from Debian, before PostgreSQL 18."""
    with _found(lambda: PgBouncer(postgres)) as pooler:
        yield pooler


@pytest.fixture(scope="session")
def valkey9() -> Iterator[redis_server.Server]:
    with redis_server.running("valkey9") as server:
        yield server


@pytest.fixture(scope="session")
def redis6() -> Iterator[redis_server.Server]:
    with redis_server.running("redis6") as server:
        yield server


@pytest.fixture(scope="session")
def redis7() -> Iterator[redis_server.Server]:
    with redis_server.running("redis7") as server:
        yield server


@pytest.fixture(scope="session")
def cluster() -> Iterator[list[redis_server.Server]]:
    with redis_server.running_cluster("redis7") as nodes:
        yield nodes


def _found(make: Callable[[], T]) -> T:
    """A server that is not here skips the test with its reason, but in CI they all are."""
    try:
        return make()
    except NoServer as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
