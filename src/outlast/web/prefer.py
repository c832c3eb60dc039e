"""The header `Prefer` (RFC 7240): how long a caller would wait for the end, or for news, before it gets an answer."""

import re
from typing import NamedTuple

from starlette.requests import Request

WAIT = re.compile(r"[0-9]{1,6}")


class Preference(NamedTuple):
    """What is preferred and will be honoured: seconds to wait, None if nothing was said of it.

    `applied` is the value of `Preference-Applied`; empty if nothing is.
    """

    wait: float | None
    applied: str


def preference(request: Request, cap: float, *known: str) -> Preference:
    """What a request prefers, out of what its route knows beside `wait`.

    A preference that is not known or makes no sense is passed over, as the RFC has it; the first of a kind counts.
    """
    asked: dict[str, str] = {}
    for part in ",".join(request.headers.getlist("prefer")).split(","):
        name, _, value = part.partition(";")[0].partition("=")
        asked.setdefault(name.strip().lower(), value.strip().strip('"'))
    applied = [name for name in known if name in asked]
    wait = min(float(asked["wait"]), cap) if WAIT.fullmatch(asked.get("wait", "")) else None
    if wait is not None:
        applied.append(f"wait={wait:g}")
    return Preference(wait, ", ".join(applied))
