"""What is to be known at the start where a push is set: who calls, and what may not fit into a call."""

from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Any

from outlast.handler import Handler, Settings
from outlast.observe import Observe
from outlast.push import About, Describes, Push
from outlast.stores.default import PLATFORMS
from outlast.window import WAYS_OUT

LONGEST: Mapping[str, tuple[float, str]] = {
    "VERCEL": (800.0, "300 s on Hobby and 800 s on other plans"),
    "AWS_LAMBDA_FUNCTION_NAME": (900.0, "15 min"),
    "K_SERVICE": (3600.0, "an hour"),
}
"""By the variable that tells a platform: for how many seconds it lets a call go on at most, in 2026, and in words."""


SHORT_LIVED = ("VERCEL", "AWS_LAMBDA_FUNCTION_NAME")
"""Where no process lives for long enough to be a worker."""


def tell(
    observe: Observe, push: Push | None, handlers: Iterable[Handler[Any, Any]], environ: Mapping[str, str]
) -> None:
    """Put it into the log."""
    if push is not None:
        observe("push.set", push=in_words(push))
    for warning in warnings(push, handlers, environ):
        observe("push.warning", warning=warning)


def in_words(push: Push) -> str:
    """Which push it is, for how long it may call, and who is to call what."""
    return f"{push.name}, calls of up to {_longest(push):g} s: {_about(push).called}"


def warnings(push: Push | None, handlers: Iterable[Handler[Any, Any]], environ: Mapping[str, str]) -> Iterator[str]:
    """What stands against the budget of the push: its service, the platform, handlers; or against there being none."""
    if push is None:
        yield from _unpushed(handlers, environ)
        return
    longest = _longest(push)
    yield from _about(push).warnings
    for variable, (most, words) in LONGEST.items():
        if environ.get(variable) and longest > most:
            yield f"a call may take {longest:g} s by its budget, and {PLATFORMS[variable]} ends it after {words}"
    long = sorted(handler.name for handler in handlers if _may_outlast(handler.settings, longest))
    if long:
        yield (
            f"jobs of {', '.join(long)} may run longer than a call of {longest:g} s, and name no steps. A step "
            f"that is longer than any slice is cut off each time: {WAYS_OUT}. If none is, name them by steps=[...]"
        )


def _unpushed(handlers: Iterable[Handler[Any, Any]], environ: Mapping[str, str]) -> Iterator[str]:
    found = [PLATFORMS[variable] for variable in SHORT_LIVED if environ.get(variable)]
    if found and any(True for _ in handlers):
        yield (
            f"none is set, and on {found[0]} no worker lives: jobs wait for one elsewhere, on the same store. To have "
            "them run here, set OUTLAST_PUSH"
        )


def _longest(push: Push) -> float:
    most = _about(push).most
    return push.budget if most is None else most


def _about(push: Push) -> About:
    return push.describe() if isinstance(push, Describes) else About(f"/push/{push.name} is to be called")


def _may_outlast(settings: Settings, budget: float) -> bool:
    """True where an attempt may be longer than a call, and nothing says that it goes in steps.

    How long a step takes is known once one was called; see `slice.step_too_long`.
    """
    limits = [limit for limit in (settings.timeout, settings.deadline) if limit is not None]
    return min(limits, default=inf) > budget and not settings.steps
