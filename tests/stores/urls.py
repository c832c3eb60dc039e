"""An empty place in each kind of store, for what must hold on all of them or between them."""

from collections.abc import Callable, Mapping
from uuid import uuid4

import pytest

from tests.stores.postgres_ground import fresh
from tests.stores.redis_server import fresh_namespace

URL: Mapping[str, Callable[[pytest.FixtureRequest], str]] = {
    "memory": lambda request: "memory://",
    "sqlite": lambda request: f"sqlite:///{request.getfixturevalue('tmp_path')}/{uuid4().hex}.db",
    "postgres": lambda request: fresh(request.getfixturevalue("postgres").url()),
    "pgbouncer": lambda request: fresh(request.getfixturevalue("pgbouncer").url),
    "valkey": lambda request: fresh_namespace(request.getfixturevalue("valkey9")),
    "mongo": lambda request: request.getfixturevalue("mongo").fresh(),
}
