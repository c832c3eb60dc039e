"""What `outlast doctor` looks at: this Python, the environment, the store and who works on it."""

import asyncio
import os
import platform
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from outlast import notices, presence
from outlast.app import Outlast
from outlast.cli import env, relaxed
from outlast.cli.exits import masked
from outlast.cli.text import safe
from outlast.job import Job, Status
from outlast.policy import NO_LIMIT, Limits
from outlast.presence import WorkerInfo
from outlast.secret import signing_secrets
from outlast.stores import open_store
from outlast.stores.base import Query, Store
from outlast.stores.default import default_store, require_lasting
from outlast.web import INSTALL
from outlast.web.keys import parse_keys

BASE = ("apsw", "click", "pydantic")
SERVER = ("httpx2", "rich", "starlette", "uvicorn")

URLS = frozenset({"OUTLAST_STORE", "OUTLAST_URL", "OUTLAST_PUSH", "OUTLAST_PUBLIC_URL"})
"""Variables whose values may be shown, but for a password; others are keys, and only said to be set."""


def report(app: Outlast) -> Iterator[str]:
    """Line by line. Raises ConfigurationError, StoreRefused, StoreUnavailable at what stands in the way."""
    yield from _installed()
    yield from _environment()
    keys = parse_keys(os.environ.get("OUTLAST_KEYS", ""))  # raises as a server would, and so does this:
    signing_secrets(os.environ.get("OUTLAST_SECRET", ""))
    yield from _handlers(app)
    yield from _caps(app.limits)
    yield _line("cors", ", ".join(app.cors) or "off")
    yield from _push(app)
    for setting in (*relaxed.settings(app), *(() if keys else (relaxed.OPEN,))):
        yield _line("relaxed", setting)
    yield from asyncio.run(_store(app.store or default_store(os.environ), pushed=app.push is not None))


def _line(name: str, value: object) -> str:
    return f"{name:<12}  {masked(safe(value))}"


def _installed() -> Iterator[str]:
    yield _line("outlast", version("outlast"))
    yield _line("python", f"{platform.python_version()} ({platform.python_implementation()}, {platform.system()})")
    for name in BASE + SERVER:
        try:
            yield _line(name, version(name))
        except PackageNotFoundError:
            yield _line(name, f"not installed; serve and the client commands need: {INSTALL}")


def _environment() -> Iterator[str]:
    for name in env.KNOWN:
        if value := os.environ.get(name):
            yield _line("environment", f"{name}={value}" if name in URLS else f"{name} is set")
    for warning in env.unknown():
        yield _line("warning", warning)


def _handlers(app: Outlast) -> Iterator[str]:
    for name, handler in sorted(app.handlers.items()):
        settings = handler.settings
        timeout = "no timeout" if settings.timeout is None else f"timeout {settings.timeout:g} s"
        yield _line("handler", f"{name}, {timeout}, {settings.retries} retries")


def _push(app: Outlast) -> Iterator[str]:
    push = app.push
    yield _line("push", "none, so jobs need a worker" if push is None else notices.in_words(push))
    for warning in notices.warnings(push, app.handlers.values(), os.environ):
        yield _line("warning", f"push: {warning}")


def _caps(limits: Limits) -> Iterator[str]:
    for one in fields(limits):
        cap = getattr(limits, one.name)
        yield _line("cap", f"{one.name} {'none' if cap == NO_LIMIT else format(cap, '.0f')}")


# -- the store ------------------------------------------------------------------------------------------------------


async def _store(chosen: str | Store, *, pushed: bool) -> list[str]:
    if isinstance(chosen, str):
        require_lasting(chosen, os.environ)
    if isinstance(chosen, str) and (missing := missing_file(chosen)):
        return [_line("store", f"{missing} is not there yet; the first serve, worker or submit makes it")]
    async with open_store(chosen) if isinstance(chosen, str) else chosen as store:
        about = store.describe()
        lines = [_line("store", about.url)]
        schema = "" if about.schema is None else f", schema {about.schema}"
        lines += [_line("engine", f"{about.engine} {about.version}{schema}")]
        lines += [_line("durability", about.durability)]
        lines += [_line("warning", warning) for warning in about.warnings]
        workers, counts = await presence.present(store), await store.count(Query())
        lines += [_worker_line(worker, store.now()) for worker in workers]
        lines += [] if pushed else _not_taken(counts, workers)
        return lines + _jobs(_by_status(counts), await store.due(1), store.now())


def missing_file(url: str) -> str | None:
    """A SQLite file that opening would create: to look is not to make."""
    if not url.startswith("sqlite:"):
        return None
    from outlast.stores.sqlite_file import place_of

    path = place_of(url).path
    return None if path.exists() or not path.parent.is_dir() else str(path)


def _worker_line(worker: WorkerInfo, now: float) -> str:
    at = f"{worker.host}, process {worker.pid}, seen {now - worker.seen_at:.0f} s ago"
    doing = f"{worker.running} of {worker.slots} slots busy, types: {', '.join(worker.types)}"
    memory = "" if worker.memory is None else f", {worker.memory >> 20} MiB"
    return _line("worker", f"{worker.id} on {at}; {doing}; {worker.ended} jobs ended{memory}")


def _not_taken(counts: Mapping[tuple[str, Status], int], workers: Collection[WorkerInfo]) -> Iterator[str]:
    """Why jobs stay queued: no worker was started, or none has a handler of their type, which may have been renamed."""
    taken = {type for worker in workers for type in worker.types}
    for (type, status), count in sorted(counts.items()):
        if status is Status.QUEUED and type not in taken:
            are = "is" if count == 1 else "are"
            yield _line("warning", f"no worker that lives takes jobs of {type}, and {count} {are} queued")


def _by_status(found: Mapping[tuple[str, Status], int]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (_, status), count in found.items():
        counts[status.value] += count
    return counts


def _jobs(counts: Counter[str], due: list[Job[Any]], now: float) -> list[str]:
    found = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    lines = [_line("jobs", found or "none")]
    for job in due:
        since = min(time for time in (job.next_at, job.lease_until) if time is not None)
        lines.append(_line("oldest due", f"{job.id} ({job.type}, {job.status}), for {now - since:.0f} s"))
    return lines
