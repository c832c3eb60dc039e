"""A quote that is shown was said: found word for word, mended to the exact words, or dropped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.journeys.jobs import keep_true_quotes
from examples.journeys.journey import Phase
from examples.journeys.quotes import Transcript
from tests.examples.samples import ELECTRICITY, PHYSIOTHERAPY

SAID = Transcript(ELECTRICITY)


@pytest.mark.parametrize(
    ("quote", "text", "verdict"),
    [
        ("All my answers were gone!", "All my answers were gone!", "found"),
        ("“all my answers  were gone”", "All my answers were gone!", "found"),
        ("I didn’t mind waiting. I minded not knowing", "I didn't mind waiting. I minded not knowing.", "found"),
        (
            "Well, I wanted somebody to tell me, for a family like yours, these three",
            "I wanted somebody to tell me, for a family like yours",
            "mended",
        ),
        ("... so hidden. They had put the one number that matters behind two pages", None, "found"),
        ("The app was a joy from the first second to the last.", "", "dropped"),
        ("I was", "", "dropped"),
        ("", "", "dropped"),
        ("?!", "", "dropped"),
    ],
)
def test_a_quote_is_found_mended_or_dropped(quote: str, text: str | None, verdict: str) -> None:
    checked = SAID.check(quote)

    assert checked.verdict == verdict
    assert checked.text in ELECTRICITY
    assert text is None or checked.text == text


@given(st.integers(0, len(ELECTRICITY.split()) - 30), st.integers(3, 25))
def test_any_run_of_words_is_found_whatever_its_case_and_spaces(start: int, length: int) -> None:
    run = "  ".join(ELECTRICITY.split()[start : start + length]).upper()

    checked = SAID.check(run)

    assert checked.verdict == "found" or len(run) < 20
    assert checked.text in ELECTRICITY


@given(st.text(max_size=200))
def test_whatever_a_model_invents_only_words_of_the_transcript_come_out(quote: str) -> None:
    assert SAID.check(quote).text in ELECTRICITY


def test_the_check_keeps_each_true_quote_once_and_the_rest_of_the_phase() -> None:
    phases = [
        Phase(name="One", actions=["Read"], quotes=["All my answers were gone!", "This was never said by anybody."]),
        Phase(name="Two", quotes=["all my answers were GONE", "The app is good and the people are excellent"]),
    ]

    kept = keep_true_quotes(ELECTRICITY, phases)

    assert kept[0] == Phase(name="One", actions=["Read"], quotes=["All my answers were gone!"])
    assert kept[1].quotes == []
    assert keep_true_quotes(PHYSIOTHERAPY, phases)[1].quotes == ["The app is good and the people are excellent"]
