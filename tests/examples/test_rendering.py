"""Text that was streamed is never taken back: each rendering of a growing answer begins with the one before."""

import itertools
import json

import pytest
from pydantic import TypeAdapter
from pydantic_core import from_json

from examples.asking import Shown
from examples.journeys.journey import Outline, Phase
from examples.journeys.rendering import PhaseText, outline_text
from tests.examples.samples import PHYSIOTHERAPY, offline_journey

FIELDS = ("actions", "thoughts", "emotions", "painPoints", "opportunities", "quotes")


def grown(text: str) -> list[Phase]:
    """The phase after each character of its JSON, as a vendor's stream brings it."""
    adapter = TypeAdapter(Phase)
    partial = [from_json(text[:n], allow_partial="trailing-strings") for n in range(2, len(text))]
    return [adapter.validate_python(value, experimental_allow_partial="trailing-strings") for value in partial]


@pytest.mark.parametrize(
    "order", [FIELDS, FIELDS[::-1], FIELDS[3:] + FIELDS[:3]], ids=["as asked", "backwards", "mixed"]
)
def test_a_phase_only_grows_in_whatever_order_its_fields_come(order: tuple[str, ...]) -> None:
    phase = offline_journey(PHYSIOTHERAPY).phases[0]
    wire = phase.model_dump(by_alias=True)
    render = PhaseText("Signing up")

    texts = [render(partial, done=False) for partial in grown(json.dumps({field: wire[field] for field in order}))]
    texts.append(render(phase, done=True))

    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert len(set(texts)) > len(texts[-1]) / 2, "it comes in small pieces"
    assert [quote in texts[-1] for quote in phase.quotes] == [True] * len(phase.quotes)
    assert all(f"{emotion.score:+.2f}".replace("-", "−") in texts[-1] for emotion in phase.emotions)


def test_a_number_is_shown_only_when_it_is_whole() -> None:
    render = PhaseText("Waiting")

    assert "0.1" not in render(Phase.model_validate({"emotions": [{"name": "Calm", "score": 0.1}]}), done=False)
    assert "+0.15" in render(
        Phase.model_validate({"emotions": [{"name": "Calm", "score": 0.15}], "quotes": ["So it"]}), done=False
    )


def test_an_outline_only_grows() -> None:
    steps = [
        Outline(title="A"),
        Outline(title="A way"),
        Outline(title="A way", persona="Da"),
        Outline(title="A way", persona="Dan"),
    ]
    texts = [outline_text(outline, done=False) for outline in steps] + [outline_text(steps[-1], done=True)]

    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))


def test_what_a_model_takes_back_stays_as_it_was_shown() -> None:
    written: list[str] = []
    shown = Shown(written.append)

    for text in ("One", "One two", "One t", "On the other hand", "One two three"):
        shown.grow(text)

    assert written == ["One", " two", " three"]
