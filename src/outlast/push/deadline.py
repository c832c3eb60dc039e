"""Until when a call may take: the push's own budget, or until the platform ends the call, where it tells of that.

Vercel tells by its package (`vercel.functions.get_deadline`, 2026), AWS Lambda by the context of an invocation, which
adapters such as Mangum put into the scope of the request. Whatever goes wrong in asking, the platform has not told.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from types import MappingProxyType
from typing import Any

from outlast.push.base import Push

NO_SCOPE: Mapping[str, Any] = MappingProxyType({})


def granted(push: Push, scope: Mapping[str, Any] = NO_SCOPE) -> float:
    """Seconds that a call may take: the budget of the push, or what is left to it if that is less; see `left`."""
    told = left(scope)
    return push.budget if told is None else min(push.budget, told)


def left(scope: Mapping[str, Any] = NO_SCOPE) -> float | None:
    """Seconds until the platform ends the request that this code answers; None if it does not tell.

    `scope` is ASGI's, of that request. Vercel tells without it, too.
    """
    for told in (_by_lambda(scope.get("aws.context")), _by_vercel()):
        if told is not None:
            return max(told, 0.0)
    return None


def _by_lambda(context: Any) -> float | None:
    try:
        return float(context.get_remaining_time_in_millis()) / 1000
    except Exception:
        return None


def _by_vercel() -> float | None:
    # Elsewhere nobody pays for the import.
    if not os.environ.get("VERCEL"):
        return None
    try:
        deadline: datetime = import_module("vercel.functions").get_deadline()
        return (deadline - datetime.now(UTC)).total_seconds()
    except Exception:
        return None
