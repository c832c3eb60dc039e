"""Which recorded steps a slice has come past again, and under which keys calls are remembered.

Until the handler is where it was (every remembered step returned, or one missed) it is silent: what it writes, it has
written before.
"""

import asyncio
import hashlib
from collections.abc import Container, Sequence, Set
from dataclasses import dataclass
from typing import Any

from outlast.codec import in_order
from outlast.errors import LimitExceeded, NotJson
from outlast.job import Step
from outlast.notation import canonical
from outlast.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Frame:
    """One call of a step: the key it is remembered under, its place in the list of steps, and which try it is."""

    key: str
    name: str
    index: int
    parent: "Frame | None" = None
    number: int = 1

    def is_within(self, frames: Container["Frame"]) -> bool:
        """True if it is one of these, or was called within one."""
        frame: Frame | None = self
        while frame is not None and frame not in frames:
            frame = frame.parent
        return frame is not None


WAITED = ":-"
"""Stands in the key of a wait where the digest of a call's arguments would."""

TIMED_OUT = "{}"
"""The recorded outcome of a wait that gave up."""


NONE: Set[Any] = frozenset()
"""What most slices have of each kind, shared: none."""


class Replay:
    """The steps of a job, as one slice comes past them.

    Parameters
    ----------
    steps: as recorded when the slice began.
    recorder: made silent until the replay is over.
    most: steps that a job may have.
    """

    def __init__(self, steps: Sequence[Step], recorder: Recorder, most: int) -> None:
        self._recorder = recorder
        self._most = most
        self._known: dict[str, Step] = {}
        self._recorded: Set[int] = NONE
        self._unpassed: Set[str] = NONE
        self._missed: set[str] | None = None
        self._next_index = 0
        self._calls: dict[str, int] = {}
        job = recorder.job
        self._past = (job.claimed_at or 0.0) - (job.started_at or 0.0)
        if steps:
            self._take(steps)
        recorder.silent = bool(self._unpassed)
        if not recorder.silent:
            recorder.loud(())

    def _take(self, steps: Sequence[Step]) -> None:
        completed = [step for step in steps if step.status == "completed"]
        self._known = {step.key: step for step in steps}
        self._recorded = {step.index for step in completed}
        self._unpassed = {step.key for step in completed}
        self._missed = set()
        self._next_index = max(step.index for step in steps) + 1

    def enter(self, name: str, arguments: Any, parent: Frame | None) -> Frame:
        """The frame of a call. Raises NotJson if its arguments cannot be compared, LimitExceeded beyond the cap."""
        call = f"{parent.key if parent else ''}/{name}:{arguments}"
        occurrence = self._calls.get(call, 0)
        self._calls[call] = occurrence + 1
        key = f"{call}#{occurrence}"
        known = self._known.get(key)
        return Frame(key, name, known.index if known else self._new_index(), parent)

    def known(self, frame: Frame) -> Step | None:
        """What is recorded of the call: its result, or that it waits. A miss ends the silence."""
        step = self._known.get(frame.key)
        if step is not None and step.status == "completed":
            # With the steps within it, which will not be called again.
            self._unpassed = {key for key in self._unpassed if not f"{key}/".startswith(f"{frame.key}/")}
            if not self._unpassed:
                self.over()
            return step
        if self._missed is not None:
            self._missed.add(_call(frame.key))
        self.over()
        return step

    async def pause(self, seconds: float) -> float:
        """How long a short sleep is to take, after a thousandth of it: no time if a step behind it is remembered.

        In that moment those beside it come past what they remember, and of two sleeps the shorter still ends first. No
        more is left out than the time since the job first began, so that a loop without steps does not spin.
        """
        if self._recorder.silent:
            await asyncio.sleep(seconds / 1000)
        if not self._recorder.silent or seconds > self._past:
            return seconds
        self._past -= seconds
        return 0.0

    def remember(self, step: Step) -> None:
        """A step within another was recorded: the next try of that one gets its result."""
        self._known[step.key] = step

    def again(self, frame: Frame) -> set[int]:
        """The step is to be called anew, so calls within it count from the first; the indexes of those remembered."""
        within = f"{frame.key}/"
        for call in [call for call in self._calls if call.startswith(within)]:
            del self._calls[call]
        return {step.index for key, step in self._known.items() if key.startswith(within) and step.value is not None}

    def called_otherwise(self) -> list[str]:
        """Names of steps that are remembered, and were called this time, but with other arguments."""
        if not (self._unpassed and self._missed):
            return []
        return sorted({_name(key) for key in self._unpassed if _call(key) in self._missed})

    def over(self) -> None:
        """From here on the handler writes what it has not written before."""
        if self._recorder.silent:
            self._recorder.loud(self._recorded)

    def _new_index(self) -> int:
        if self._next_index >= self._most:
            raise LimitExceeded(f"a job has at most {self._most} steps")
        self._next_index += 1
        return self._next_index - 1


def _call(key: str) -> str:
    """The key without the arguments and the occurrence: the parent and the name."""
    return key.rsplit(":", 1)[0]


def _name(key: str) -> str:
    return _call(key).rsplit("/", 1)[-1]


def timed_out(step: Step) -> bool:
    """True for a wait that gave up, which a new job should not inherit."""
    return step.key.endswith(WAITED, 0, step.key.rfind("#")) and step.value == TIMED_OUT


def digest_of(name: str, arguments: Any, unseen: type) -> str:
    """What tells the arguments of one call from another's; values of the type `unseen` do not count.

    Raises NotJson.
    """
    from pydantic_core import to_jsonable_python

    try:
        seen = _without(arguments, unseen)
        data = in_order(seen, to_jsonable_python(seen, by_alias=True))
        return hashlib.sha256(canonical(data).encode()).hexdigest()[:24]
    except (ValueError, TypeError, RecursionError) as error:
        advice = "bind it with a closure: `lambda: fn(thing)`"
        found = f"a value ({str(error).splitlines()[0][:200]})"
        raise NotJson(f"an argument of step {name!r}", "$", found, advice) from None


def _without(value: Any, unseen: type) -> Any:
    if isinstance(value, unseen):
        return None
    if isinstance(value, list | tuple):
        return [_without(item, unseen) for item in value]
    return {key: _without(item, unseen) for key, item in value.items()} if isinstance(value, dict) else value
