"""A server of SQS for the tests that want one, and the settings of a machine that has no others."""

import os
from collections.abc import Iterator

import pytest

from tests.push import queues


@pytest.fixture(scope="session")
def sqs() -> Iterator[str]:
    """The address of the server."""
    with queues.serving() as address:
        yield address


@pytest.fixture
def on_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = queues.of_nobody_else(os.environ)
    for name in os.environ.keys() - kept.keys():
        monkeypatch.delenv(name)
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
