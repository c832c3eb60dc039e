"""Failures that a test plans: at which step of a job, at which moment, and how."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

Moment = Literal["before", "unrecorded", "after"]


class InjectedFailure(Exception):
    """What a step raises at a `FailAt` that names no other error."""


@dataclass(frozen=True, kw_only=True)
class FailAt:
    """A step fails: the n-th of its job, or the one of this name.

    Parameters
    ----------
    step: its number, from 1 on, in the order in which the job first came to its steps, waits among them; or its name.
    when: `before`, the function is not called; `unrecorded`, it is called, and what it returned is lost; `after`, its
        result is recorded.
    error: what the step raises; left out, an InjectedFailure.
    kill: nothing is raised: the worker dies there. Its lease runs out 30 s later, and the job goes on.
    times: how often, counted over all attempts and jobs.
    """

    step: int | str
    when: Moment = "before"
    error: BaseException | type[BaseException] | None = None
    kill: bool = False
    times: int = 1

    def __post_init__(self) -> None:
        if (isinstance(self.step, int) and self.step < 1) or self.times < 1:
            raise ValueError(f"{self}: steps are counted from 1 on, and it happens at least once")
        if self.when not in get_args(Moment):
            raise ValueError(f"{self}: `when` is one of {', '.join(get_args(Moment))}")
        if self.kill and self.error is not None:
            raise ValueError(f"{self}: a worker that dies raises nothing; give `kill` or `error`")

    def __str__(self) -> str:
        how = ", kill=True" if self.kill else ""
        return f"FailAt(step={self.step!r}{'' if self.when == 'before' else f', when={self.when!r}'}{how})"

    def raised(self) -> BaseException | type[BaseException]:
        return InjectedFailure(str(self)) if self.error is None else self.error


class Faults:
    """The failures that are still to come."""

    def __init__(self) -> None:
        self.left: list[FailAt] = []

    def take(self, number: int, name: str) -> FailAt | None:
        """The failure planned for this step, which is then used up by one."""
        for place, fault in enumerate(self.left):
            if fault.step in (number, name):
                again = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                self.left[place : place + 1] = again
                return fault
        return None
