"""Quotes are what somebody said, word for word: found in the transcript, mended to its exact words, or dropped."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

WORD = re.compile(r"\w+")
CLOSING = re.compile(r"[.!?…]+")
LEAST_WORDS = 3
LEAST_MENDED = 5
LEAST_SHARE = 0.6


@dataclass(frozen=True)
class Checked:
    """A quote as the transcript has it, and what had to be done for that."""

    text: str
    verdict: Literal["found", "mended", "dropped"]


class Transcript:
    """A transcript in which quotes are looked up by their words, whatever their case, spaces and punctuation."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._places = [match.span() for match in WORD.finditer(text)]
        self._matcher = SequenceMatcher(autojunk=False)
        self._matcher.set_seq2([word.lower() for word in WORD.findall(text)])

    def check(self, quote: str) -> Checked:
        if quote in self._text and len(WORD.findall(quote)) >= LEAST_WORDS:
            return Checked(quote, "found")
        words = [word.lower() for word in WORD.findall(quote)]
        self._matcher.set_seq1(words)
        _, start, length = self._matcher.find_longest_match()
        if length == len(words) >= LEAST_WORDS:
            return Checked(self._span(start, length), "found")
        if length >= max(LEAST_MENDED, LEAST_SHARE * len(words)):
            return Checked(self._span(start, length), "mended")
        return Checked("", "dropped")

    def _span(self, start: int, length: int) -> str:
        """The transcript's own characters from the first to the last word, and the stop that closes them."""
        begin, end = self._places[start][0], self._places[start + length - 1][1]
        closing = CLOSING.match(self._text, end)
        return self._text[begin : closing.end() if closing else end]


def check_quotes(transcript: Transcript, quotes: Iterable[str], seen: set[str]) -> list[Checked]:
    """Each quote checked; one that is already in `seen` is dropped, and what stays is added there."""
    checked = []
    for quote in quotes:
        result = transcript.check(quote)
        if result.text in seen:
            result = Checked("", "dropped")
        elif result.text:
            seen.add(result.text)
        checked.append(result)
    return checked
