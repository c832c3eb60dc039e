"""A place for each test, and one server that those share which only ask."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.ground import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place with a server and its worker."""
    place = Place(tmp_path_factory.mktemp("served"))
    with place.serving():
        yield place


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is imported within the test is forgotten after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]
