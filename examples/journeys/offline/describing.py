"""What happened in one phase, sentence by sentence: done, thought, felt, painful, wished for, worth quoting."""

import re
from collections.abc import Callable, Sequence

from examples.journeys.journey import Phase
from examples.journeys.offline.sentiment import sentiment, strongest
from examples.journeys.offline.text import FUNCTION_WORDS, Sentence, key_phrase, sentences, stem, words
from examples.journeys.transcript import Turn

DONE = re.compile(
    r"\b(?:I|we)(?: (?:then|just|even|also|actually|already|simply|finally|had to|once|all))*"
    r" (?P<rest>(?P<verb>[a-z]+)\b(?! not)[^.!?…]*)"
)
DID = frozenset(
    """asked booked bought brought called came checked chose clicked closed compared copied cooked did downloaded drove
    found gave got handed held installed kept left lifted logged looked made met moved offered opened ordered packed
    paid picked played pressed printed put ran rang reached read sat scanned searched sent showed signed sold sorted
    spoke spent stood stopped swapped switched talked told took tried turned typed uploaded used visited waited walked
    went worked wrote""".split()
)
CLAUSE_END = re.compile(
    r"[,;:]| because | but | and (?=I |it |he |she |they |there |the |was )| (?=I )| so (?=I |we |that )| which "
)
THOUGHT = re.compile(
    r"\bI(?:'d| actually| just| really| kept| always| also)* (?:thought|thinking|figured|wondered|assumed|guessed|hoped"
    r"|believed|knew|felt that|expected)(?:,| that| like)? (?P<rest>[^.!?…]+[.!?…]?)"
)
TROUBLE = re.compile(
    r"(n't (believe|tell|find|understand|use|know|see|forgive)|could not|cannot|can't|no idea|nobody|nothing|never"
    r"|expired|wrong|missing|lost|gone|waited|not valid|too (big|long|late|many)|twice|only one|broke|had to"
    r"|trouble|problem|error|terrible|useless|stuck|disappear\w*)\b",
    re.IGNORECASE,
)
WISH = re.compile(
    r"\b(I wish|I'd (have )?(like|liked|love|loved|rather)|I would (love|like|have liked)|if only|why not|should"
    r"|would have (been|saved|helped)|would be (so |much )?(easy|nice|helpful|better|great)|all I wanted"
    r"|I wanted somebody|if (they|somebody|the \w+) (had|only|get|would|told|called)|if somebody)\b",
    re.IGNORECASE,
)
WAY_OUT: Sequence[tuple[str, str]] = (
    (r"wait|weeks|days|nothing|progress|late", "Say what happens next, and on which day"),
    (r"no idea|understand|confus|know|find", "Explain where the question comes up"),
    (r"gone|logged out|expired|start\w* again", "Keep what people have already entered"),
    (r"robot|nobody|desk|answer|call", "Offer a person to talk to"),
    (r"money|charg|paid|bill|price|cost", "Warn before the money moves"),
)
OPENING = re.compile(r"^((and|but|so|well|yes|no|oh|okay|honestly|because|then|or|i mean|you know),? )+", re.IGNORECASE)


def describe(name: str, turns: Sequence[Turn], participant: str, wish: str) -> Phase:
    """One phase from the participant's sentences; those that touch the wish come first."""
    said = sentences(turn for turn in turns if turn.speaker == participant)
    wanted = {stem(word) for word in words(wish)}
    pains = _best(said, lambda sentence: _painful(sentence) + _touches(sentence, wanted), 3)
    return Phase(
        name=name,
        actions=_few(_actions(said), 4),
        thoughts=_few(_thoughts(said), 3),
        emotions=strongest(sentence.text for sentence in said),
        pain_points=[_plain(pain.text) for pain in pains],
        opportunities=_opportunities(said, pains, wanted),
        quotes=[
            best.text for best in _best(said, lambda sentence: _quotable(sentence) + _touches(sentence, wanted), 2)
        ],
    )


def _best(said: Sequence[Sentence], worth: Callable[[Sentence], float], most: int) -> list[Sentence]:
    """The sentences of the greatest worth above zero, in the order in which they were said."""
    ranked = sorted((s for s in said if worth(s) > 0), key=worth, reverse=True)[:most]
    return [sentence for sentence in said if sentence in ranked]


def _actions(said: Sequence[Sentence]) -> list[str]:
    found = []
    for sentence in said:
        for match in DONE.finditer(sentence.text):
            clause = CLAUSE_END.split(match["rest"])[0].strip()
            if match["verb"] in DID and _says_what(clause):
                found.append(_capital(clause))
                break
    return found


def _says_what(clause: str) -> bool:
    """`Went down to the cellar` says what was done, `typed it in` does not."""
    _, *rest = words(clause)
    return 2 <= len(rest) <= 15 and any(word not in FUNCTION_WORDS for word in rest)


def _thoughts(said: Sequence[Sentence]) -> list[str]:
    found = []
    for sentence in said:
        match = THOUGHT.search(sentence.text)
        if match and len(match["rest"].split()) >= 4:
            found.append(_capital(match["rest"].strip()))
        elif sentence.text.endswith("?") and len(sentence.words) >= 3:
            found.append(_plain(sentence.text))
    return found


def _painful(sentence: Sentence) -> float:
    if len(sentence.words) < 6 or WISH.search(sentence.text):
        return -9.0
    return max(-sentiment(sentence.text), 0.0) + 0.4 * len(set(TROUBLE.findall(sentence.text))) - 0.2


def _opportunities(said: Sequence[Sentence], pains: Sequence[Sentence], wanted: set[str]) -> list[str]:
    """What the participant wished for; where nothing was, the way out that the worst pain point calls for."""
    wishes = _best(said, lambda sentence: _wishful(sentence) + _touches(sentence, wanted) / 2, 2)
    if wishes or not pains:
        return [_plain(wish.text) for wish in wishes]
    worst = max(pains, key=_painful).text
    way = next((way for signs, way in WAY_OUT if re.search(signs, worst, re.IGNORECASE)), "Spare people this")
    return [f"{way}: {key_phrase(worst, []) or _plain(worst)}"]


def _wishful(sentence: Sentence) -> float:
    return (
        len(WISH.findall(sentence.text)) + 0.02 * min(len(sentence.words), 25) - 0.5 if len(sentence.words) > 4 else -1
    )


def _quotable(sentence: Sentence) -> float:
    """Strong feeling in a sentence that is neither a scrap nor a speech."""
    length = len(sentence.words)
    if not 7 <= length <= 36:
        return -9.0
    return abs(sentiment(sentence.text)) + 0.2 * ("!" in sentence.text) + 0.5 - abs(length - 17) / 30


def _touches(sentence: Sentence, wanted: set[str]) -> float:
    return 0.5 * len(wanted & {stem(word) for word in sentence.words if len(word) > 3})


def _few(found: list[str], most: int) -> list[str]:
    """At most `most` of them, taken evenly from the beginning to the end, none twice."""
    once = list(dict.fromkeys(found))
    if len(once) <= most:
        return once
    return [once[round(n * (len(once) - 1) / (most - 1))] for n in range(most)]


def _plain(text: str) -> str:
    return _capital(OPENING.sub("", text.strip()))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
