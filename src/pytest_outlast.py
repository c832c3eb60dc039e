"""The pytest plugin: the fixtures `jobs` and `outlast_app`, and the setting `outlast_app`.

Every run of pytest loads this file where Outlast is installed, so it stands apart from the package and imports nothing
of it before a test asks for a fixture.
"""

from collections.abc import Iterator
from importlib import import_module
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

NOT_THERE = "there is no module {!r}; write MODULE:APP, such as shop.jobs:app, with its folder in `pythonpath`"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("outlast_app", "MODULE:APP, the app of Outlast that the fixture `jobs` tests")


@pytest.fixture
def outlast_app(pytestconfig: pytest.Config) -> "Outlast":
    """The app under test, as the setting `outlast_app` names it."""
    from outlast import Outlast

    place = pytestconfig.getini("outlast_app")
    if not place:
        pytest.fail(WHICH, pytrace=False)
    module, _, name = place.partition(":")
    try:
        app = getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and what it imports is not
        pytest.fail(f"outlast_app = {place!r}: {NOT_THERE.format(error.name)}", pytrace=False)
    if not isinstance(app, Outlast):
        found = "nothing" if app is None else f"a {type(app).__name__}"
        pytest.fail(f"outlast_app = {place!r} is {found}, not an Outlast(); write MODULE:APP", pytrace=False)
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
