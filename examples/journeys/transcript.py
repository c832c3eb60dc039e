"""Reading a transcript: who said what, in which order, whatever tool wrote the file.

Understood are `[00:01:23] Name: text`, `Name (01:23): text`, `Name: text`, a line with name and time above the text,
WebVTT and SRT cues, and plain paragraphs without any names.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from outlast import Fail

TIME = r"\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d{1,3})?"
NAME = r"[^\W\d_][\w.'’ -]{0,39}?"
CUE_TIMES = re.compile(rf"^\s*{TIME}\s*-->\s*{TIME}.*$")
CUE_NUMBER = re.compile(r"^\s*\d+\s*$")
CUE_VOICE = re.compile(r"^\s*<v(?:\.\w+)*\s+(?P<name>[^>]+)>(?P<text>.*?)(?:</v>)?\s*$")
SPOKEN = re.compile(
    rf"^\s*(?:\[?{TIME}\]?\s*[-–]?\s*)?(?P<name>{NAME})\s*(?:[\[(]?{TIME}[\])]?)?\s*:\s+(?P<text>\S.*)$"
)
HEADING = re.compile(rf"^\s*(?:\[?{TIME}\]?\s+)?(?P<name>{NAME})(?:\s*:|\s*[\[(]?{TIME}[\])]?\s*:?)\s*$")
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'’”)]*\s+")

ASKERS = {"interviewer", "moderator", "researcher", "facilitator", "host", "interviewer 1", "interviewer 2", "q", "int"}
UNNAMED = "Speaker"
LONG_TURN = 220
MOST_BYTES = 500_000
LEAST_WORDS = 60
LEAST_DIFFERENT_WORDS = 30


@dataclass(frozen=True)
class Turn:
    """What one person said without a break; `number` counts from 1."""

    number: int
    speaker: str
    text: str


@dataclass(frozen=True)
class Conversation:
    """The turns of a transcript, and the speaker whose journey it tells."""

    turns: list[Turn]
    participant: str

    @property
    def words(self) -> int:
        return sum(len(turn.text.split()) for turn in self.turns)


def read_transcript(transcript: str) -> Conversation:
    """The conversation in `transcript`; raises Fail where there is none to be found."""
    if len(transcript.encode()) > MOST_BYTES:
        raise Fail(
            f"The transcript is longer than {MOST_BYTES // 1000} kB, which is many hours of talk.",
            advice="Import it in parts, one interview at a time.",
        )
    lines = transcript.replace("\ufeff", "").splitlines()
    said = list(_labelled(lines, _speakers(lines))) or [(UNNAMED, text) for text in _paragraphs(lines)]
    turns = [Turn(n, *turn) for n, turn in enumerate(_cut_long(_joined(said)), 1)]
    _check(" ".join(turn.text for turn in turns))
    return Conversation(turns, _participant(turns))


def _speakers(lines: list[str]) -> set[str]:
    """Names that label at least two lines: `One thing: ...` in the middle of a text names nobody."""
    found = Counter(name for line in lines if (name := _label(line)))
    return {name for name, times in found.items() if times > 1}


def _label(line: str) -> str | None:
    match = CUE_VOICE.match(line) or SPOKEN.match(line) or HEADING.match(line)
    return match["name"].strip() if match else None


def _labelled(lines: list[str], speakers: set[str]) -> Iterator[tuple[str, str]]:
    """Each piece of speech with its speaker; what stands above the first label is a title, not speech."""
    speaker = None
    for line in lines:
        if not line.strip() or CUE_TIMES.match(line) or CUE_NUMBER.match(line):
            continue
        name = _label(line)
        if name in speakers:
            speaker = name
            line = _after_label(line)
        if speaker is not None and line.strip():
            yield speaker, line.strip()


def _after_label(line: str) -> str:
    match = CUE_VOICE.match(line) or SPOKEN.match(line)
    return match["text"] if match else ""


def _paragraphs(lines: list[str]) -> Iterator[str]:
    plain = ["" if CUE_TIMES.match(line) or CUE_NUMBER.match(line) else line.strip() for line in lines]
    for empty, group in groupby(plain, key=lambda line: not line):
        if not empty:
            yield " ".join(group)


def _joined(said: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Neighbouring pieces of one named speaker are one turn; paragraphs without a name stay apart."""
    for speaker, pieces in groupby(said, key=lambda piece: piece[0]):
        texts = [text for _, text in pieces]
        yield from ((speaker, text) for text in (texts if speaker == UNNAMED else [" ".join(texts)]))


def _cut_long(turns: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """A monologue is cut at sentence ends, so that a phase can begin inside it."""
    for speaker, text in turns:
        piece: list[str] = []
        for sentence in SENTENCE_END.split(text):
            if sum(len(part.split()) for part in piece) + len(sentence.split()) > LONG_TURN and piece:
                yield speaker, " ".join(piece)
                piece = []
            piece.append(sentence)
        yield speaker, " ".join(piece)


def _participant(turns: list[Turn]) -> str:
    """Who tells the story: not the one who asks, and of the others the one who says most."""
    words: Counter[str] = Counter()
    for turn in turns:
        words[turn.speaker] += len(turn.text.split())
    others = {name: n for name, n in words.items() if name.lower() not in ASKERS}
    return max(others or words, key=words.__getitem__)


def _check(text: str) -> None:
    words = [word for word in text.split() if re.search(r"[^\W\d_]", word)]
    if not words:
        raise Fail("The transcript holds no text.", advice="Paste the words of an interview, or use the sample.")
    if len(words) < LEAST_WORDS:
        raise Fail(
            f"The transcript is too short to find a journey in it: {len(words)} word{'s' if len(words) > 1 else ''}.",
            advice=f"Paste at least {LEAST_WORDS} words of an interview; a few thousand work best.",
        )
    if len({word.lower() for word in words}) < LEAST_DIFFERENT_WORDS:
        raise Fail(
            "The transcript repeats the same few words, so there is no story in it to map.",
            advice="Check that the whole interview was pasted, and that it is text.",
        )
