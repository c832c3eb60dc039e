"""Where one phase ends and the next begins: the subject shifts, or the interviewer leads on."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from examples.journeys.journey import Outline, Stretch
from examples.journeys.offline.text import Sentence, key_phrase, sentences, subjects, words
from examples.journeys.transcript import Turn

WINDOW = 2
LEAST_EXCHANGES = 2
MOST_PHASES = 8
WORDS_PER_PHASE = 500
LEADING_ON = re.compile(
    r"\b(let'?s|let us|before we leave|move on|moving on|what changed|look(ing)? back|after that|next|first|now"
    r"|what happened (then|next)|how did (it|that|the)|how was|tell me about|walk me through|what does .* today"
    r"|get you? (back|from)|what did you expect)\b",
    re.IGNORECASE,
)
STAGES: Mapping[str, str] = {
    "Noticing": "letter notice noticed realised realized advert flyer heard saw discovered problem need decided",
    "Comparing": "compare comparing comparison reviews list sorted spreadsheet options rating choose chose price",
    "Signing up": "sign signed form account register registered password code typed address valid details download",
    "Waiting": "wait waiting waited progress stuck days weeks delay delayed parcel late heard queue",
    "Paying": "payment payments charged charging money debit debited bank paid refund insurance",
    "Setting up": "appointment engineer install installed installation connected delivery delivered unpack device",
    "Puzzling over": "bill invoice amount lines understand explained corrected confusing wrong",
    "Getting help": "helpline robot chat human support rang phone desk message wrote answered adviser",
    "Getting going": "exercise exercises session started lesson practice tried first training beginning",
    "Everyday use": "app weekly daily routine notifications reminders average usually every habit",
    "Leaving": "leaving cancel cancelled offer loyal customers quit goodbye",
    "Looking back": "recommend neighbour friend worth overall again sum change",
}
EARLY, LATE = {"Noticing"}, {"Looking back"}
AT_LEAST = 1.0
ABOUT_SELF = re.compile(
    r"\b(I work|I run|I live|I study|I'm a|I am a|I'm somebody|my (husband|wife|partner|kids|children)|we live"
    r"|years old|so it's me|part-time|retired)\b",
    re.IGNORECASE,
)


def outline(turns: Sequence[Turn], participant: str) -> Outline:
    """The phases in `turns`, each named after what it is about."""
    exchanges = _exchanges(turns, participant)
    parts = _split(exchanges)
    texts = [" ".join(turn.text for exchange in part for turn in exchange) for part in parts]
    keys = [key_phrase(text, texts[:n] + texts[n + 1 :]) for n, text in enumerate(texts)]
    stretches = [
        Stretch(name=name, first_turn=part[0][0].number, last_turn=part[-1][-1].number)
        for name, part in zip(_names(texts, keys), parts, strict=True)
    ]
    return Outline(title=_title(participant, keys), persona=_persona(turns, participant), phases=stretches)


def _exchanges(turns: Sequence[Turn], participant: str) -> list[list[Turn]]:
    """A question and what it brought, which belong together; without questions each turn stands alone."""
    found: list[list[Turn]] = []
    for turn in turns:
        if not found or turn.speaker != participant or found[-1][-1].speaker == participant:
            found.append([turn])
        else:
            found[-1].append(turn)
    return found


def _split(exchanges: list[list[Turn]]) -> list[list[list[Turn]]]:
    """The exchanges in as many parts as their length asks for, cut where the shift is greatest."""
    total = sum(len(turn.text.split()) for exchange in exchanges for turn in exchange)
    wanted = min(round(2 + total / WORDS_PER_PHASE), MOST_PHASES, max(len(exchanges) // LEAST_EXCHANGES, 1))
    shifts = [0.0] + [_shift(exchanges, place) for place in range(1, len(exchanges))]
    edges = [0, len(exchanges)]
    while len(edges) <= wanted and (place := _best_cut(shifts, edges)):
        edges = sorted([*edges, place])
    return [exchanges[a:b] for a, b in pairwise(edges)]


def _best_cut(shifts: Sequence[float], edges: Sequence[int]) -> int | None:
    """Where the shift is greatest; a long part is cut before a short one."""
    places = [
        (shifts[place] * math.sqrt(end - begin), place)
        for begin, end in pairwise(edges)
        for place in range(begin + LEAST_EXCHANGES, end - LEAST_EXCHANGES + 1)
    ]
    return max(places)[1] if places else None


def _shift(exchanges: list[list[Turn]], place: int) -> float:
    """How much the talk changes at `place`: other words after it than before, or a question that leads on."""
    before = _bag(exchanges[max(place - WINDOW, 0) : place])
    after = _bag(exchanges[place : place + WINDOW])
    leads_on = 0.2 * len(set(LEADING_ON.findall(exchanges[place][0].text)))
    return 1 - _likeness(before, after) + min(leads_on, 0.4)


def _bag(exchanges: list[list[Turn]]) -> Counter[str]:
    return subjects(" ".join(turn.text for exchange in exchanges for turn in exchange))


def _likeness(one: Counter[str], other: Counter[str]) -> float:
    length = math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
    return sum(n * other[word] for word, n in one.items()) / length if length else 0.0


def _names(texts: Sequence[str], keys: Sequence[str]) -> list[str]:
    """A stage of a journey where the words of one prevail, and the subject; no name twice."""
    stages = _stages(texts)
    names: list[str] = []
    for place, key in enumerate(keys):
        stage = stages.get(place, "")
        name = f"{stage}: the {key}" if stage and key else stage or f"The {key}".strip()
        names.append(name if name not in names else f"{name} ({place + 1})")
    return names


def _stages(texts: Sequence[str]) -> dict[int, str]:
    """The best stage for each part, the clearest case first, each stage once."""
    said = [Counter(words(text)) for text in texts]
    presence = {stage: [_presence(part, cues.split()) for part in said] for stage, cues in STAGES.items()}
    scores = {
        (place, stage): shares[place] / (0.3 + sum(shares) / len(shares))
        for stage, shares in presence.items()
        for place in range(len(texts))
        if _possible(stage, place, len(texts))
    }
    chosen: dict[int, str] = {}
    for (place, stage), score in sorted(scores.items(), key=lambda item: -item[1]):
        if score >= AT_LEAST and place not in chosen and stage not in chosen.values():
            chosen[place] = stage
    return chosen


def _presence(said: Counter[str], cues: Sequence[str]) -> float:
    """Cue words per hundred words."""
    return 100 * sum(said[cue] for cue in cues) / max(said.total(), 1)


def _possible(stage: str, place: int, parts: int) -> bool:
    return (stage not in EARLY or place <= parts // 3) and (stage not in LATE or place >= parts - 2)


def _title(participant: str, keys: Sequence[str]) -> str:
    first, last = keys[0] or "the beginning", keys[-1] or "the end"
    way = f"from the {first} to the {last}" if first != last else f"with the {first}"
    return f"{participant}'s journey, {way}"


def _persona(turns: Sequence[Turn], participant: str) -> str:
    """The participant in the participant's own words."""
    said = sentences(turn for turn in turns if turn.speaker == participant)
    told: list[Sentence] = [sentence for sentence in said if ABOUT_SELF.search(sentence.text)]
    return f"{participant}: " + (
        " ".join(f"“{sentence.text}”" for sentence in told[:3]) or "says nothing of themselves."
    )
