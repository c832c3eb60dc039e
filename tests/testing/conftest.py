"""A small app, put on a fresh store in memory for each test, as its users would."""

from collections.abc import Iterator

import pytest

from outlast import Outlast
from outlast.testing import Jobs, using


@pytest.fixture
def app() -> Outlast:
    # A store that nobody can open: what reached it would fail.
    return Outlast("sqlite:////nowhere/that/is/writable.db")


@pytest.fixture
def jobs(app: Outlast) -> Iterator[Jobs]:
    with using(app) as jobs:
        yield jobs
