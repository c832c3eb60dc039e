"""What a push is: something outside that calls one signed URL of ours, and with each call a slice runs.

a job becomes claimable ─▶ `publish` ─▶ the queue of a service ─▶ POST /push/NAME ─▶ `received` ─▶ one slice
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from outlast.errors import OutlastError
from outlast.policy import Duration, seconds

BUDGET = 55.0
"""Seconds that a call may take where nobody says otherwise: platforms end it after 60, or later."""


def budget_of(duration: Duration) -> float:
    """A budget in seconds. Raises ValueError for what is no duration, and for one in which nothing can be done."""
    budget = seconds(duration)
    if budget == 0:
        raise ValueError("a budget is how long a call may take, such as 55s, and not 0")
    return budget


Place = Literal["run", "sweep", "dead"]
"""What a URL is for: to run a slice of the job that is named, to do what is due, to hear that a call was given up."""


class Incoming(NamedTuple):
    """A call as it came: its body in raw bytes, and its headers by their names in small letters."""

    place: Place
    headers: Mapping[str, str]
    body: bytes


class Named(NamedTuple):
    """The job that a call names, and the turn it had when the call was asked for.

    Whether a slice runs is for the claim to decide, and not for the turn.
    """

    job_id: str
    turn: int


class Unverified(OutlastError):
    """A call that is not the push's own; the message says why in a word or two, and nothing that helps to guess.

    Parameters
    ----------
    hint: what whoever set the push up can do if the call is theirs; for the log alone.
    """

    code = "unverified"

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


class Unpublished(OutlastError):
    """The service did not take a call; a sweep asks for it again."""

    code = "unpublished"


class About(NamedTuple):
    """What is said of a push where an app starts: who calls what, and what is amiss with its settings."""

    called: str
    warnings: tuple[str, ...] = ()
    most: float | None = None
    """Seconds that a slice may take, where that is not the budget."""


class Push(Protocol):
    """Makes jobs run where no process lives for long."""

    name: str
    """Its endpoint is `/push/NAME`."""

    budget: float
    """Seconds that a call may take."""

    def received(self, call: Incoming) -> Named | None:
        """The job that a call names; None if it names none. Raises Unverified unless the call is the push's own."""
        ...


@runtime_checkable
class Publishes(Push, Protocol):
    """A push that is told of each job which is to be called for."""

    async def publish(self, named: Named, at: float | None) -> None:
        """Have this job called for at a time in seconds since 1970; None: now. Raises Unpublished."""
        ...


@runtime_checkable
class Describes(Push, Protocol):
    """A push that says of itself what is to be known at the start."""

    def describe(self) -> About: ...
