"""One action on many jobs: which jobs it is for, in which parts, and what became of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from outlast.errors import InvalidRequest
from outlast.job import ENDED, LIVE, Status
from outlast.stores.base import ANY, Query

Action = Literal["cancel", "retry", "delete"]

FITS: Mapping[Action, frozenset[Status]] = {
    "cancel": LIVE,
    "retry": frozenset({Status.FAILED, Status.CANCELLED}),
    "delete": ENDED,
}
"""The statuses of the jobs that an action is for."""

PART = 200
"""Jobs that one part looks at."""

AT_ONCE: Mapping[Action, int] = {"cancel": PART, "retry": 10, "delete": PART}
"""Jobs worked on at the same time; a retry holds payload, steps and log of each."""


@dataclass(frozen=True, slots=True)
class Part:
    """What became of a part: jobs done, jobs skipped because they had moved meanwhile, and where to go on (`before`).

    `before` is None once there is nothing left.
    """

    done: int
    skipped: int
    before: str | None


def fitting(action: Action, query: Query, *, everything: bool = False) -> Query:
    """The query for the jobs that the action is for, the newest first: those that come meanwhile are not among them.

    Raises InvalidRequest if it asks for others, or for all there are without saying so (`everything`), or for an action
    that there is not.
    """
    if action not in FITS:
        detail = f"action is one of {', '.join(FITS)}, not {str(action)[:64]!r}"
        raise InvalidRequest(detail, errors=[{"pointer": "/action", "detail": detail}])
    wrong = sorted((query.status or frozenset()) - FITS[action])
    if wrong:
        detail = f"{action} is for {', '.join(sorted(FITS[action]))} jobs, not for {', '.join(wrong)}"
        raise InvalidRequest(detail, errors=[{"pointer": "/filter/status", "detail": detail}])
    if not everything and _is_empty(query):
        detail = "no filter is given, so this would be for the jobs of everybody; say so, or give one"
        raise InvalidRequest(detail, errors=[{"pointer": "/filter", "detail": detail}])
    return replace(query, status=query.status or FITS[action], oldest_first=False, limit=min(query.limit, PART))


def _is_empty(query: Query) -> bool:
    given = (query.status, query.type, query.tag, query.batch_id, query.created_after, query.created_before)
    return query.owner is ANY and all(one is None for one in (*given, query.updated_after))
