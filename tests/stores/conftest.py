"""The contract's own asserts tell what they compared, as those of test files do. Servers run for a whole session."""

from collections.abc import Iterator

import pytest

from tests.stores.mongo_server import MongoServer, mongo_server

pytest.register_assert_rewrite("outlast.testing.contract")


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    with mongo_server(tmp_path_factory.mktemp("mongo")) as server:
        yield server
