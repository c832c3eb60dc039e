"""What is felt in a sentence: a lexicon of emotions, with negation and emphasis."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from examples.journeys.journey import Emotion
from examples.journeys.offline.text import words

# An entry ending in * stands for all words that begin so.
LEXICON: Mapping[str, tuple[float, str]] = {
    "Angry": (-0.85, "angry anger furious outraged mad rage livid"),
    "Frustrated": (-0.7, "frustrat* stuck useless hopeless ridiculous stupid nonsense expired broken terribl* awful"),
    "Annoyed": (-0.5, "annoy* irritat* nuisance bother* complain* mess messy tedious judged"),
    "Anxious": (-0.6, "worr* anxious nervous scared afraid fear* panic* frighten* frightening desperate awake sick"),
    "Confused": (-0.5, "confus* unclear puzzl* overwhelm* complicat* misread unreadable"),
    "Disappointed": (-0.6, "disappoint* lost sad unhappy regret* pity forgot forget gone missing unfortunately"),
    "Ashamed": (-0.45, "asham* guilt* embarrass* helpless"),
    "Shocked": (-0.7, "shock* horrif* horribl* disaster* nightmare"),
    "Tricked": (-0.75, "trick* scam cheat* lied mislead* misled hidden dishonest unfair"),
    "Tired": (-0.4, "tired exhaust* weary boredom slow painful pain hard harder difficult struggl*"),
    "Happy": (0.75, "happy glad enjoy* love loved lovely loves delight* great fun funny laugh* grinned wonderful*"),
    "Relieved": (0.65, "relie* calm calmer safe saved easier"),
    "Proud": (0.6, "proud* pride achiev* managed"),
    "Confident": (0.55, "trust* confident confidence understood understand reassur* recommend* patiently"),
    "Hopeful": (0.5, "hope* hoping curious excit* promising forward motivat*"),
    "Satisfied": (
        0.55,
        "satisf* pleased comfortable convenient helpful helped smooth* easy perfect* excellent clever quick",
    ),
    "Grateful": (0.6, "grateful thank* thankful kind warm charming polite"),
    "Surprised": (0.3, "surpris* wow amaz* unexpected*"),
}
NEGATORS = frozenset("not no never nobody nothing none neither nor without hardly barely cannot stop stopped".split())
STRONG = frozenset("very really so completely totally extremely incredibly absolutely too terribly truly such".split())
WEAK = frozenset("bit little slightly somewhat quite fairly rather almost nearly".split())
PAUSE = re.compile(r"[,;:!?.…]| but | and then ", re.IGNORECASE)
REACH = 4
DENIED_GOOD, DENIED_BAD = ("Disappointed", -0.6), ("Calm", -0.5)


@dataclass(frozen=True)
class Felt:
    """One word of feeling: the emotion it names and how strongly, from -1 to 1."""

    emotion: str
    score: float


def feelings(text: str) -> list[Felt]:
    """What each word of feeling in `text` says; a negation holds to the next pause."""
    return [felt for clause in PAUSE.split(text) for felt in _in_clause(words(clause))]


def sentiment(text: str) -> float:
    """The mean of what is felt, 0.0 where nothing is."""
    scores = [felt.score for felt in feelings(text)]
    return sum(scores) / len(scores) if scores else 0.0


def strongest(texts: Iterable[str], most: int = 3) -> list[Emotion]:
    """The emotions with the greatest weight in `texts`, each with its mean score."""
    scores: dict[str, list[float]] = defaultdict(list)
    for text in texts:
        for felt in feelings(text):
            scores[felt.emotion].append(felt.score)
    ranked = sorted(scores, key=lambda name: -sum(abs(score) for score in scores[name]))
    found = [Emotion(name=name, score=round(sum(scores[name]) / len(scores[name]), 2)) for name in ranked[:most]]
    return found or [Emotion(name="Neutral", score=0.0)]


def _in_clause(said: list[str]) -> list[Felt]:
    found = []
    for place, word in enumerate(said):
        entry = _look_up(word)
        if entry is not None:
            found.append(_weighed(*entry, said[max(place - REACH, 0) : place], said[place + 1 : place + 2]))
    return found


def _weighed(emotion: str, score: float, before: list[str], after: list[str]) -> Felt:
    if any(word in NEGATORS or word.endswith("n't") for word in before + after):
        emotion, factor = DENIED_GOOD if score > 0 else DENIED_BAD
        return Felt(emotion, score * factor)
    close = set(before[-2:])
    factor = 1.3 if STRONG & close else 0.6 if WEAK & close else 1.0
    return Felt(emotion, max(-1.0, min(1.0, score * factor)))


def _look_up(word: str) -> tuple[str, float] | None:
    if word in WHOLE:
        return WHOLE[word]
    return next((STEMS[word[:n]] for n in range(len(word), 2, -1) if word[:n] in STEMS), None)


def _entries(stems: bool) -> dict[str, tuple[str, float]]:
    return {
        word.rstrip("*"): (emotion, score)
        for emotion, (score, listed) in LEXICON.items()
        for word in listed.split()
        if word.endswith("*") == stems
    }


WHOLE = _entries(stems=False)
STEMS = _entries(stems=True)
