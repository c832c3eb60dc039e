"""Sentences, words and what a stretch of speech is about."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from examples.journeys.prompts import NUMBERED
from examples.journeys.transcript import SENTENCE_END, Turn

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

FUNCTION_WORDS = frozenset(
    """a about above actually after again all almost also always am an and another any anybody anything are around as
    asked at away back be because been before being best better both but by came can cannot come comes could did do
    does doing done down each either else even ever every everybody everything few finally first for from get gets
    getting give go goes going gone good got had has have having he her here hers him himself his how i if in indeed
    instead into is it its itself just kind last later least less let like little look lot made make many may maybe me
    mean mind mine more most much my myself need never new next no nobody none nor not nothing now of off oh okay old
    on once one only onto or other others our ours out over own perhaps please put quite rather really right said same
    say says second see seen shall she should simply since so some somebody something sometimes soon still such
    suddenly suppose sure take tell than that the their theirs them then there these they thing things think third
    this those though thought three through to together told too took true try two under until up us use used very
    want wanted was way we well went were what when where whether which while who whole whom whose why will with
    without would yes yet you your yours yourself""".split()
)
EVERYDAY_WORDS = frozenset(
    """bit call called company day days euros evening evenings everyone everywhere feel felt friend half hour hours
    house hundred kids liked literally long lots minute minutes moment month months morning name night number numbers
    part people person place point question questions sort start started stuff sum talk talked thousand time times
    today tomorrow week weeks woman man word words work worked world year years yesterday twenty thirty forty fifty
    sixty seventy eighty ninety four five six seven eight nine ten eleven twelve idea story line page pages real side
    happened happen story answer answers change changed end reason life""".split()
)
DETERMINERS = frozenset(
    "the a an my our their his her this that these those first second third new old little no every another".split()
)
CLITIC = re.compile(r"['’](s|re|ve|ll|d|m|t)$")


@dataclass(frozen=True)
class Sentence:
    """A sentence as it was said, with the number of its turn."""

    turn: int
    text: str

    @property
    def words(self) -> list[str]:
        return words(self.text)


def words(text: str) -> list[str]:
    return WORD.findall(text.lower().replace("’", "'"))


def stem(word: str) -> str:
    """A rough stem, only good for counting that `reading` and `readings` are one subject."""
    for ending in ("'s", "ies", "es", "s"):
        if word.endswith(ending) and not word.endswith("ss") and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending == "ies" else "e" if ending == "es" else "")
    return word


def read_turns(prompt: str) -> list[Turn]:
    return [Turn(int(number), speaker, text) for number, speaker, text in NUMBERED.findall(prompt)]


def sentences(turns: Iterable[Turn]) -> list[Sentence]:
    return [Sentence(turn.number, part) for turn in turns for part in SENTENCE_END.split(turn.text) if part.strip()]


def subjects(text: str) -> Counter[str]:
    """How often each stem that carries meaning occurs."""
    return Counter(stem(word) for word in words(text) if _carries_meaning(word))


def key_phrase(text: str, elsewhere: Sequence[str]) -> str:
    """What `text` is about, in one to three of its own words: named often here, and seldom `elsewhere`."""
    phrases = {phrase: n for phrase, n in _noun_phrases(text).items() if " " not in phrase or n > 1}
    there = Counter(phrase for other in elsewhere for phrase in set(_noun_phrases(other)))
    if not phrases:
        return ""
    rarity = math.log(2 + len(elsewhere))
    weight = {p: (n - 0.4) * (1.5 if " " in p else 1.0) * (rarity - math.log(1 + there[p])) for p, n in phrases.items()}
    return max(weight, key=lambda phrase: (weight[phrase], -text.lower().find(phrase)))


def is_english(text: str) -> bool:
    """Whether enough of the small words are English for these rules to mean anything."""
    said = words(text)
    return sum(word in FUNCTION_WORDS for word in said) > 0.25 * len(said)


def _noun_phrases(text: str) -> Counter[str]:
    """Words that follow an article or the like, alone and with the word behind them; names are left out."""
    found: Counter[str] = Counter()
    for clause in re.split(r"[.,;:!?…]", text):
        said = WORD.findall(clause)
        for before, word, after in zip(said, said[1:], [*said[2:], ""], strict=False):
            if before.lower() not in DETERMINERS or not _carries_meaning(word):
                continue
            found[word] += 1
            if _carries_meaning(after):
                found[f"{word} {after}"] += 1
    return found


def _carries_meaning(word: str) -> bool:
    return len(word) > 2 and word.islower() and word not in FUNCTION_WORDS | EVERYDAY_WORDS and not CLITIC.search(word)
