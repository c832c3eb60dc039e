"""The text of a job's channels, read out of its log; and what of it a later slice must take back.

An offset counts the characters (Unicode code points) of its channel before it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from outlast.job import Event, Step


class Segment(NamedTuple):
    """A piece of a channel's text; `step` is the index of the step that wrote it, None for the handler itself."""

    channel: str
    offset: int
    text: str
    step: int | None
    seq: int


def text(events: Iterable[Event], channel: str = "text") -> str:
    """What a reader of the channel holds after these events."""
    return "".join(segment.text for segment in segments(events) if segment.channel == channel)


def segments(events: Iterable[Event]) -> list[Segment]:
    """The pieces that make up the channels after these events, resets applied."""
    kept: list[Segment] = []
    for event in events:
        if event.type == "job.output.delta":
            data = event.data
            kept.append(Segment(data["channel"], data["offset"], data["text"], data.get("step"), event.seq))
        elif event.type == "job.output.reset":
            kept = _cut(kept, event.data["channel"], event.data["offset"])
    return kept


def taken_back(
    events: Sequence[Event], recorded: Collection[int], swallowed: Mapping[str, str]
) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
    """What makes the log's text that of a replay so far: the resets and deltas to send, and the texts after them.

    Kept are the pieces of recorded steps (and of steps within them), and of what the handler itself wrote, as much as
    the silent replay has written again to the letter; all else goes. Where something kept lies behind something that
    goes, it is sent again; what the replay has written beyond what is kept is sent at the end.

    Parameters
    ----------
    recorded: indexes of the steps whose results are remembered.
    swallowed: by channel, what the handler wrote while it was silent.
    """
    parents = {e.data["index"]: e.data.get("parent") for e in events if e.type == "job.step"}
    pieces = segments(events)
    entries: list[Mapping[str, Any]] = []
    texts: dict[str, str] = {}
    for channel in dict.fromkeys([piece.channel for piece in pieces] + list(swallowed)):
        own = [piece for piece in pieces if piece.channel == channel]
        said = swallowed.get(channel, "")
        agreed = _agreement("".join(piece.text for piece in own if piece.step is None), said)
        kept = [
            (piece, before if piece.step is None else _recorded(piece, recorded, parents))
            for piece, before in _split(own, agreed)
        ]
        entries += _entries(channel, kept)
        texts[channel] = "".join(piece.text for piece, stays in kept if stays)
        if said[agreed:]:
            entries.append({"channel": channel, "offset": len(texts[channel]), "text": said[agreed:], "step": None})
            texts[channel] += said[agreed:]
    return entries, texts


def without(
    events: Sequence[Event], step: int, recorded: Collection[int]
) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
    """What takes back the text of a step that is to be called again, as `taken_back` does.

    Parameters
    ----------
    step: its index.
    recorded: indexes of the steps within it whose results are remembered; their text stays.
    """
    parents = {e.data["index"]: e.data.get("parent") for e in events if e.type == "job.step"}
    pieces = segments(events)
    entries: list[Mapping[str, Any]] = []
    texts: dict[str, str] = {}
    for channel in dict.fromkeys(piece.channel for piece in pieces):
        kept = [
            (piece, not _recorded(piece, {step}, parents) or _recorded(piece, recorded, parents))
            for piece in pieces
            if piece.channel == channel
        ]
        entries += _entries(channel, kept)
        texts[channel] = "".join(piece.text for piece, stays in kept if stays)
    return entries, texts


def inherited(
    events: Sequence[Event], steps: Sequence[Step], now: float, limit: int
) -> tuple[list[Event], dict[str, int]]:
    """What the log of a new job that inherits these steps begins with, and the offsets of its channels after it.

    The steps' text is among it, and the handler's own up to the last of their records: its replay writes that again.

    Parameters
    ----------
    events: the log of the job that is done again.
    limit: characters of one output event.
    """
    recorded = {step.index for step in steps}
    last = max((e.seq for e in events if _completes(e, recorded)), default=0)
    parents = {e.data["index"]: e.data.get("parent") for e in events if e.type == "job.step"}
    log: list[Event] = []
    offsets: dict[str, int] = {}
    for piece in segments(events):
        if piece.seq < last if piece.step is None else _recorded(piece, recorded, parents):
            _lay(log, piece, offsets, now, limit)
    return log + [_done(step, now) for step in steps], offsets


def _lay(log: list[Event], piece: Segment, offsets: dict[str, int], now: float, limit: int) -> None:
    offset = offsets.get(piece.channel, 0)
    offsets[piece.channel] = offset + len(piece.text)
    data = {"channel": piece.channel, "offset": offset, "text": piece.text, "step": piece.step}
    last = log[-1].data if log else {}
    same = (last.get("channel"), last.get("step")) == (piece.channel, piece.step)
    if log and same and len(last["text"]) + len(piece.text) <= limit:
        data |= {"offset": last["offset"], "text": last["text"] + piece.text}
        log.pop()
    log.append(Event(type="job.output.delta", time=now, attempt=0, data=data))


def _done(step: Step, now: float) -> Event:
    data = {"name": step.name, "index": step.index, "status": "completed", "durationMs": step.duration_ms}
    return Event(type="job.step", time=now, attempt=0, data=data)


def _completes(event: Event, indexes: Collection[int]) -> bool:
    return event.type == "job.step" and event.data["status"] == "completed" and event.data["index"] in indexes


def _agreement(text: str, other: str) -> int:
    """How many characters both begin with."""
    if text.startswith(other) or other.startswith(text):
        return min(len(text), len(other))
    return next(place for place, (one, two) in enumerate(zip(text, other, strict=False)) if one != two)


def _split(pieces: Sequence[Segment], agreed: int) -> list[tuple[Segment, bool]]:
    """Each piece, and whether it lies within the handler's own first `agreed` characters."""
    split: list[tuple[Segment, bool]] = []
    for piece in pieces:
        own = 0 if piece.step is not None else min(len(piece.text), agreed)
        agreed -= own
        if own:
            split.append((piece._replace(text=piece.text[:own]), True))
        if own < len(piece.text):
            split.append((piece._replace(offset=piece.offset + own, text=piece.text[own:]), False))
    return split


def _entries(channel: str, pieces: Sequence[tuple[Segment, bool]]) -> list[Mapping[str, Any]]:
    first = next((number for number, (_, stay) in enumerate(pieces) if not stay), None)
    if first is None:
        return []
    offset = pieces[first][0].offset
    entries: list[Mapping[str, Any]] = [{"channel": channel, "offset": offset}]
    for piece, stay in pieces[first:]:
        if stay:
            entries.append({"channel": channel, "offset": offset, "text": piece.text, "step": piece.step})
            offset += len(piece.text)
    return entries


def _recorded(piece: Segment, recorded: Collection[int], parents: Mapping[int, int | None]) -> bool:
    step = piece.step
    while step is not None and step not in recorded:
        step = parents.get(step)
    return step is not None


def _cut(pieces: list[Segment], channel: str, offset: int) -> list[Segment]:
    kept = []
    for piece in pieces:
        if piece.channel != channel or piece.offset + len(piece.text) <= offset:
            kept.append(piece)
        elif piece.offset < offset:
            kept.append(piece._replace(text=piece.text[: offset - piece.offset]))
    return kept
