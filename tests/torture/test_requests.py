"""The harness that asks a server all that its description allows."""

import pytest

from torture.requests.trial import ask


@pytest.mark.slow
def test_answers_that_break_the_word_of_the_description_are_found() -> None:
    flaws = ask(1, app="tests.torture.untrue:app", drawn=1, walked=1).flaws
    assert any(kind.startswith("response_schema_conformance at GET /jobs/workers") for kind in flaws)
    assert any(kind.startswith("not_a_server_error at GET /jobs/summary") for kind in flaws)


@pytest.mark.slow
def test_a_server_that_keeps_its_word_is_asked_for_jobs_that_there_are() -> None:
    answers = ask(1, drawn=2, walked=100)
    assert answers.flaws == {}
    assert answers.asked["stateful"] > 0
    assert answers.given["GET /jobs/{id}", 200] > 0
