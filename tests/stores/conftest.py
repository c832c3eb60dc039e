"""The contract's own asserts tell what they compared, as those of test files do; and the servers of this session."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stores import postgres_server
from tests.stores.postgres_server import NoServer, Server

pytest.register_assert_rewrite("outlast.testing.contract")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """PostgreSQL 18, from the wheel."""
    yield from _server(postgres_server.wheel)


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[Server]:
    """PostgreSQL 15, from Debian."""
    yield from _server(lambda: postgres_server.system(15))


def _server(programs: Callable[[], Path]) -> Iterator[Server]:
    try:
        server = Server(programs())
    except NoServer as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with server:
        yield server
