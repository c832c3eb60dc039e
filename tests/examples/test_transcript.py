"""A transcript is understood however the tool that wrote it sets speakers and times."""

import pytest

from examples.journeys.transcript import LONG_TURN, read_transcript
from outlast import Fail
from tests.examples.samples import ELECTRICITY, PHYSIOTHERAPY

ASKED = "How did you come to the library, and what did you want to find there on that first rainy day in the autumn?"
TOLD = (
    "I came by bus with my daughter because our heating was broken. We looked for a warm place, and she wanted a book"
    " about whales. Nobody told us that you need a card. One thing: the librarian gave us hers, which was very kind."
)
TURNS = [("Interviewer", ASKED), ("Ada", TOLD), ("Interviewer", "Thanks."), ("Ada", "Bye.")]


def written(form: str) -> str:
    """The four turns, each written as `form` says."""
    return "".join(form.format(n=n, name=name, text=text) for n, (name, text) in enumerate(TURNS, 1))


FORMS = {
    "times in brackets": written("[00:00:0{n}] {name}: {text}\n"),
    "times behind names": written("{name} (00:0{n}): {text}\n"),
    "names alone": "Interview 3\n\n" + written("{name}: {text}\n\n"),
    "names above the text": written("{name}  00:0{n}\n{text}\n\n"),
    "WebVTT": "WEBVTT\n\n" + written("00:00:0{n}.000 --> 00:00:0{n}.900\n<v {name}>{text}</v>\n\n"),
    "SRT": written("{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{name}: {text}\n\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_speakers_and_turns_are_found_in_every_form(form: str) -> None:
    conversation = read_transcript(FORMS[form])

    assert [(turn.speaker, turn.text) for turn in conversation.turns] == TURNS
    assert conversation.participant == "Ada"


def test_the_samples_are_read_whole() -> None:
    electricity, physiotherapy = read_transcript(ELECTRICITY), read_transcript(PHYSIOTHERAPY)

    assert (len(electricity.turns), electricity.participant) == (89, "Marit")
    assert (len(physiotherapy.turns), physiotherapy.participant) == (25, "Daniel")


def test_paragraphs_without_names_are_turns_of_one_speaker() -> None:
    conversation = read_transcript(f"{TOLD}\n\n{ASKED}")

    assert [turn.text for turn in conversation.turns] == [TOLD, ASKED]
    assert conversation.participant == "Speaker"


def test_a_monologue_is_cut_at_sentence_ends() -> None:
    conversation = read_transcript(" ".join([TOLD] * 20))

    assert len(conversation.turns) > 3
    assert all(len(turn.text.split()) <= LONG_TURN for turn in conversation.turns)
    assert " ".join(turn.text for turn in conversation.turns) == " ".join([TOLD] * 20)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no text"),
        (" \n\t\n", "no text"),
        ("12 345 --- ::: 99", "no text"),
        ("Only", "journey in it: 1 word\\."),
        ("Only this", "journey in it: 2 words\\."),
        ("Interviewer: How was it?\nAda: Good.\nInterviewer: Thanks.\nAda: Bye.", "too short .* words"),
        ("blah blah blah blah. " * 500, "repeats the same few words"),
        (ELECTRICITY * 30, "longer than 500 kB"),
    ],
    ids=["empty", "blank", "no letters", "one word", "two words", "short", "repeated", "long"],
)
def test_what_is_no_interview_fails_in_clear_words_and_with_advice(text: str, says: str) -> None:
    with pytest.raises(Fail, match=says) as failed:
        read_transcript(text)
    assert failed.value.advice
    assert failed.value.code == "handler_error"
