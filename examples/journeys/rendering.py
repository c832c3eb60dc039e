"""A phase that is still being written, as text for people: what was shown once is never taken back.

A model writes its JSON from front to back, but may choose the order of the fields; so sections are shown in the
order in which they come, and a number only when something stands behind it.
"""

from collections.abc import Iterator

from examples.journeys.journey import Emotion, Outline, Phase

SECTIONS = {
    "actions": "Doing",
    "thoughts": "Thinking",
    "emotions": "Feeling",
    "pain_points": "Painful",
    "opportunities": "Better",
    "quotes": "In their words",
}


class PhaseText:
    """Renders ever fuller versions of one phase; each text begins with the one before."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._order: list[str] = []

    def __call__(self, phase: Phase, *, done: bool) -> str:
        self._order += [name for name in SECTIONS if name not in self._order and getattr(phase, name)]
        shown = f"\n{self._name}\n"
        for name in self._order:
            settled = done or name != self._order[-1]
            shown += f"\n{SECTIONS[name]}\n" + _lines(list(_items(phase, name, settled)), settled)
        return shown


def outline_text(outline: Outline, *, done: bool) -> str:
    """The title and the persona as they grow; the phases once they all have an end."""
    shown = outline.title
    if outline.persona:
        shown += f"\n{outline.persona}"
    if done:
        shown += "\n\nPhases: " + " · ".join(stretch.name for stretch in outline.phases) + "\n"
    return shown


def _items(phase: Phase, name: str, settled: bool) -> Iterator[str]:
    if name != "emotions":
        yield from getattr(phase, name)
    else:
        yield from (_feeling(emotion) for emotion in (phase.emotions if settled else phase.emotions[:-1]))


def _feeling(emotion: Emotion) -> str:
    return f"{emotion.name} ({emotion.score:+.2f})".replace("-", "−")


def _lines(items: list[str], settled: bool) -> str:
    """A line for each item; the last stays open while it may still grow."""
    text = "".join(f"– {item}\n" for item in items)
    return text if settled or not items else text[:-1]
