"""An empty place in each kind of store, for what must hold on all of them or between them."""

from collections.abc import Callable, Mapping
from uuid import uuid4

import pytest

from tests.stores.postgres_ground import fresh
from tests.stores.redis_server import fresh_namespace


def _behind_a_pooler(request: pytest.FixtureRequest) -> str:
    # That no notification arrives is a test of its own; here no store waits a second for it.
    request.getfixturevalue("monkeypatch").setattr("outlast.stores.postgres_news.ECHO", 0.01)
    return fresh(request.getfixturevalue("pgbouncer").url)


URL: Mapping[str, Callable[[pytest.FixtureRequest], str]] = {
    "memory": lambda request: "memory://",
    "sqlite": lambda request: f"sqlite:///{request.getfixturevalue('tmp_path')}/{uuid4().hex}.db",
    "postgres": lambda request: fresh(request.getfixturevalue("postgres").url()),
    "pgbouncer": _behind_a_pooler,
    "valkey": lambda request: fresh_namespace(request.getfixturevalue("valkey9")),
    "mongo": lambda request: request.getfixturevalue("mongo").fresh(),
}
