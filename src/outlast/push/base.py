"""What a push is: something outside that calls one signed URL of ours, and with each call a slice runs.

a job becomes claimable ─▶ `publish` ─▶ the queue of a service ─▶ POST /push/NAME ─▶ `received` ─▶ one slice
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from outlast.errors import OutlastError

BUDGET = 55.0
"""Seconds that a call may take where nobody says otherwise: platforms end it after 60, or later."""

Place = Literal["run", "sweep"]
"""What a URL is for: to run a slice of the job that the call names, or to do what is due."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A call as it came: its body in raw bytes, and its headers by their names in small letters."""

    place: Place
    headers: Mapping[str, str]
    body: bytes


class Unverified(OutlastError):
    """A call that is not the push's own; the message says why in a word or two, and nothing that helps to guess."""

    code = "unverified"


class Push(Protocol):
    """Makes jobs run where no process lives for long."""

    name: str
    """Its endpoint is `/push/NAME`."""

    budget: float
    """Seconds that a call may take."""

    def received(self, call: Incoming) -> str | None:
        """The id of the job that a call names; None if it names none. Raises Unverified unless it is the push's own."""
        ...
