"""The offline model reads the text it is given: what it says follows from that text and from nothing else."""

import pytest

from examples.journeys.offline.sentiment import feelings, sentiment
from outlast import Fail
from tests.examples.samples import ELECTRICITY, PHYSIOTHERAPY, offline_journey, quotes


def test_two_transcripts_give_journeys_that_share_no_finding() -> None:
    one, other = offline_journey(ELECTRICITY), offline_journey(PHYSIOTHERAPY)

    assert one.title != other.title
    assert one.persona != other.persona
    assert not set(quotes(one)) & set(quotes(other))
    for field in ("actions", "thoughts", "pain_points"):
        found = [{item for phase in journey.phases for item in getattr(phase, field)} for journey in (one, other)]
        assert all(found), field
        assert not found[0] & found[1], field


@pytest.mark.parametrize("text", [ELECTRICITY, PHYSIOTHERAPY], ids=["electricity", "physiotherapy"])
def test_every_quote_stands_in_the_transcript_and_no_two_are_the_same(text: str) -> None:
    found = quotes(offline_journey(text))

    assert len(found) >= 6
    assert len(set(found)) == len(found)
    assert [quote for quote in found if quote not in text] == []


def test_the_long_interview_falls_into_its_episodes_in_order() -> None:
    names = [phase.name.lower() for phase in offline_journey(ELECTRICITY).phases]

    episodes = ["letter", "comparing", "signing up", "contract", "appointment", "bill", "app", "looking back"]
    assert [episode in name for episode, name in zip(episodes, names, strict=True)] == [True] * len(episodes)


def test_the_persona_is_told_in_words_of_the_participant() -> None:
    assert "bookkeeper for a dental practice" in offline_journey(ELECTRICITY).persona
    assert "small bike workshop" in offline_journey(PHYSIOTHERAPY).persona


def test_a_dropped_episode_drops_its_findings() -> None:
    begin, end = ELECTRICITY.index("[00:14:55] Interviewer"), ELECTRICITY.index("[00:18:33] Interviewer")
    without_bill = ELECTRICITY[:begin] + ELECTRICITY[end:]

    assert "stealing our electricity" in offline_journey(ELECTRICITY).model_dump_json()
    assert "stealing our electricity" not in offline_journey(without_bill).model_dump_json()


def test_an_edited_sentence_changes_the_quote_and_the_feeling() -> None:
    edited = PHYSIOTHERAPY.replace("the code by post is terrible", "the code by post is wonderful")

    assert offline_journey(edited) != offline_journey(PHYSIOTHERAPY)


def test_shuffled_turns_make_another_journey() -> None:
    parts = PHYSIOTHERAPY.strip().split("\n\n")
    shuffled = "\n\n".join(parts[12:] + parts[:12])

    assert [phase.name for phase in offline_journey(shuffled).phases] != [
        phase.name for phase in offline_journey(PHYSIOTHERAPY).phases
    ]


def test_what_the_prompt_asks_for_comes_to_the_front() -> None:
    def about_money(wish: str) -> int:
        return sum("hundred" in quote for quote in quotes(offline_journey(ELECTRICITY, wish)))

    assert about_money("a hundred euros") > about_money("")


@pytest.mark.parametrize(
    ("sentence", "sign"),
    [
        ("I was furious about that.", -1),
        ("I was so frustrated that I went to bed.", -1),
        ("I was not happy with it.", -1),
        ("I didn't trust them.", -1),
        ("I trusted nobody.", -1),
        ("The second appointment was wonderful.", 1),
        ("I felt relieved, and a bit proud.", 1),
        ("I'm not scared of it any more.", 1),
        ("It wasn't confusing at all.", 1),
        ("The meter hangs on the wall.", 0),
    ],
)
def test_a_sentence_has_the_sign_that_a_reader_gives_it(sentence: str, sign: int) -> None:
    score = sentiment(sentence)

    assert (score > 0) - (score < 0) == sign


def test_emphasis_makes_a_feeling_stronger_and_hedging_weaker() -> None:
    assert sentiment("It was a bit confusing.") > sentiment("It was confusing.") > sentiment("It was so confusing.")


def test_a_negation_ends_at_the_pause() -> None:
    assert [felt.emotion for felt in feelings("I couldn't find it, but I was happy.")] == ["Happy"]


def test_emotions_stay_within_their_bounds() -> None:
    scores = [emotion.score for phase in offline_journey(ELECTRICITY).phases for emotion in phase.emotions]

    assert -1 <= min(scores) < -0.5
    assert 0.5 < max(scores) <= 1


def test_a_language_it_cannot_read_is_refused_in_clear_words() -> None:
    german = "\n".join(
        f"{who}: Ich habe den Brief gelesen und dann lange mit meiner Mutter darüber gesprochen, weil der Preis stieg."
        " Danach suchten wir einen anderen Anbieter, verglichen viele Tarife und schrieben alles in eine Tabelle."
        for who in ("Anna", "Bert", "Anna", "Bert")
    )

    with pytest.raises(Fail, match="English only") as refused:
        offline_journey(german)
    assert "OUTLAST_MODEL" in str(refused.value.advice)
