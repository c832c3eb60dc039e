"""The pytest plugin: the fixtures `jobs` and `outlast_app`, and the setting `outlast_app`.

Every run of pytest loads this file where Outlast is installed, so it stands apart from the package and imports nothing
of it before a test asks for a fixture.
"""

from collections.abc import Iterator
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from outlast import Outlast
    from outlast.testing import Jobs

WHICH = """which app is it? Say so in your settings of pytest:
    outlast_app = "shop.jobs:app"
or make it a fixture in conftest.py:
    @pytest.fixture
    def outlast_app():
        return app"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("outlast_app", "MODULE:APP, the app of Outlast that the fixture `jobs` tests")


@pytest.fixture
def outlast_app(pytestconfig: pytest.Config) -> "Outlast":
    """The app under test, as the setting `outlast_app` names it."""
    from outlast import Outlast

    place = pytestconfig.getini("outlast_app")
    if not place:
        pytest.fail(WHICH, pytrace=False)
    app = resolve_name(place)
    if not isinstance(app, Outlast):
        pytest.fail(f"outlast_app = {place!r} is a {type(app).__name__}, not an Outlast()", pytrace=False)
    return app


@pytest.fixture
def jobs(outlast_app: "Outlast") -> "Iterator[Jobs]":
    """The app under test on a fresh store in memory, with a clock that stands still: see `outlast.testing.Jobs`."""
    from outlast.testing import using

    left = ""
    try:
        with using(outlast_app) as jobs:
            yield jobs
    except AssertionError as error:
        # Not the test's own, which no fixture sees: a planned failure did not come about.
        left = str(error)
    if left:
        pytest.fail(left, pytrace=False)
