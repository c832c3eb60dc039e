"""Happenings in, log lines out."""

import logging

import pytest

from outlast.errors import StoreRefused, StoreUnavailable
from outlast.observe import Observe


def test_a_happening_without_facts_is_logged_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="outlast"):
        Observe()("sweep.failed", error=OSError("gone"))
    assert "sweep" in caplog.messages[0]
    assert "gone" in caplog.text


@pytest.mark.parametrize("away", [StoreUnavailable("db does not answer"), StoreRefused("db is read only")])
def test_a_store_that_is_away_is_one_line(caplog: pytest.LogCaptureFixture, away: Exception) -> None:
    with caplog.at_level(logging.ERROR, logger="outlast"):
        Observe()("worker.failed", worker="worker_1", error=away)
    assert caplog.messages == [f"worker worker_1 met an error and goes on: {away}"]
    assert "Traceback" not in caplog.text
