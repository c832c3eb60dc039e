"""What a start-up check tells: every setting that is less careful than what one gets without asking."""

import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from outlast.app import Outlast
from outlast.cli.address import is_loopback
from outlast.handler import Handler
from outlast.policy import NO_LIMIT, Limits

DAY = 86400.0


def settings(app: Outlast) -> Iterator[str]:
    """Of an app: caps, lease, grace, webhooks, handlers. What is relaxed in a store its own description says."""
    yield from _caps(app.limits)
    usual = Outlast()
    for name in ("lease", "grace"):
        value, default = getattr(app, name), getattr(usual, name)
        if value != default:
            yield f"{name} is {value:g} s, not {default:g} s: {MEANING[name, value > default]}"
    if app.webhook_hosts:
        hosts = ", ".join(sorted(app.webhook_hosts))
        yield f"webhook_hosts: whoever submits may have {hosts} called, at any port and without TLS"
    for handler in app.handlers.values():
        yield from _of_handler(handler, app.limits)
    yield from _clock()


MEANING = {
    ("lease", True): "the jobs of a worker that is paused or cut off wait longer for another",
    ("lease", False): "a worker that stands still for a moment loses its jobs sooner",
    ("grace", True): "a deploy waits longer for steps in flight",
    ("grace", False): "a deploy cuts off steps that a little patience would have let end",
}


def _caps(limits: Limits) -> Iterator[str]:
    usual = Limits()
    for one in fields(limits):
        cap, default = getattr(limits, one.name), getattr(usual, one.name)
        if cap > default:
            shown = "there is no limit" if cap == NO_LIMIT else f"the limit is {cap:.0f}"
            yield f"limits.{one.name}: {shown}, where {default:.0f} is usual"


def _of_handler(handler: Handler[Any, Any], limits: Limits) -> Iterator[str]:
    own = handler.settings
    if own.timeout is None:
        yield f"handler {handler.name} has no timeout: one that hangs keeps its slot until somebody cancels the job"
    if own.max_payload is not None and own.max_payload > limits.payload:
        yield f"handler {handler.name} takes payloads of up to {own.max_payload} bytes, others of {limits.payload}"


def _clock() -> Iterator[str]:
    """All times of a store are its machine's; a clock that stands before this very code is surely wrong."""
    now = time.time()
    if now + DAY < Path(__file__).stat().st_mtime:
        yield f"the clock of this machine says {time.strftime('%Y-%m-%d', time.gmtime(now))}, which is in the past"


OPEN = "OUTLAST_KEYS is not set: whoever is on this machine may submit, read and delete jobs through `outlast serve`"


def address(host: str) -> Iterator[str]:
    """Of a server: who can reach it."""
    if not is_loopback(host):
        yield f"on {host} others reach this server in plain HTTP: put a proxy with TLS before it, or keys can be read"
