"""Happenings in, log lines out."""

import logging

import pytest

from outlast.observe import Observe


def test_a_happening_without_facts_is_logged_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="outlast"):
        Observe()("sweep.failed", error=OSError("gone"))
    assert "sweep" in caplog.messages[0]
    assert "gone" in caplog.text
