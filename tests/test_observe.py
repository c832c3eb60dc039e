"""Happenings in, log lines out."""

import logging
from typing import Any

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


@pytest.mark.parametrize(
    ("happening", "facts"),
    [
        ("attempt.failed", {"attempt": 1, "code": "handler_error", "message": "db does not answer"}),
        ("hook.failed", {"hook": "tell", "moment": "failed"}),
    ],
)
def test_a_store_that_the_apps_own_code_found_away_is_told_with_the_line_that_asked(
    caplog: pytest.LogCaptureFixture, happening: str, facts: dict[str, Any]
) -> None:
    def looks_up() -> None:
        raise StoreUnavailable("db does not answer")

    with pytest.raises(StoreUnavailable) as caught:
        looks_up()
    with caplog.at_level(logging.WARNING, logger="outlast"):
        Observe()(happening, job_id="job_1", type="report", error=caught.value, **facts)
    assert "in looks_up" in caplog.text
