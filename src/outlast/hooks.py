"""What an app does when its jobs move, beside the jobs: alerts, Sentry, a line in somebody's chat.

    a committed move ──▶ fire ──▶ a task for the job, behind those that it has already ──▶ the registered functions

A hook is called after the commit and apart from the attempt, which it can neither delay nor break.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context as Variables
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

from outlast.calls import called
from outlast.errors import ConfigurationError
from outlast.job import Change, Job
from outlast.observe import Observe

Moment = Literal["submitted", "started", "waiting", "retrying", "completed", "failed", "cancelled"]
MOMENTS: tuple[Moment, ...] = get_args(Moment)

Hook = Callable[[Job[Any], BaseException | None], Any]
"""Called with the job as it then is, and the exception that ended the attempt, where this process has it."""

AT_ONCE = 20
"""Jobs whose hooks are being called at the same time."""

MOST_WAITING = 1_000
"""Calls that may wait for their turn; what comes beyond them is dropped, and logged."""

PATIENCE = 30.0
"""Seconds that one call of a hook may take."""

LINGER = 5.0
"""Seconds that a stopping worker, or an app that closes, waits for hooks in flight."""


class Hooks:
    """Calls the hooks of one app, on one event loop.

    Parameters
    ----------
    registered: by moment, in the order they are called in; may grow.
    shown: makes of a job what `app.get` would show of it.
    told: each called with every committed move, before all else.
    """

    def __init__(
        self,
        registered: Mapping[str, Sequence[Hook]],
        shown: Callable[[Job[Any]], Job[Any]],
        observe: Observe,
        told: Sequence[Callable[[Job[Any], Change], None]] = (),
    ) -> None:
        self._registered = registered
        self._shown = shown
        self._observe = observe
        self._told = told
        self._room = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: dict[str, asyncio.Task[None]] = {}

    def moved(self, job: Job[Any], change: Change, error: BaseException | None = None) -> None:
        """A change was committed to this job."""
        for told in self._told:
            told(job, change)
        status = change.set.get("status")
        if status is not None and status in self._registered:
            self.fire(str(status), change.applied(job), error)

    def fire(self, moment: str, job: Job[Any], error: BaseException | None = None) -> None:
        """Call what is registered for the moment, soon; of one job, moment after moment. Returns at once."""
        hooks = self._registered.get(moment)
        if not hooks:
            return
        if len(self._tasks) >= MOST_WAITING:
            self._observe("hook.dropped", moment=moment, job_id=job.id, type=job.type, waiting=len(self._tasks))
            return
        # In a context of its own: a hook is no part of the handler or request that made the move.
        calls = self._call(tuple(hooks), moment, job, error, self._last.get(job.id))
        task = asyncio.get_running_loop().create_task(calls, name=f"outlast {moment} {job.id}", context=Variables())
        self._tasks.add(task)
        self._last[job.id] = task
        task.add_done_callback(lambda done: self._done(job.id, done))

    async def idle(self, patience: float = LINGER) -> None:
        """Wait for the hooks in flight, so many seconds at most."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=patience)

    async def drain(self) -> None:
        """Wait for the hooks in flight, a while; what is not over by then is cancelled, and logged."""
        try:
            async with asyncio.timeout(LINGER):
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        except TimeoutError:
            self._observe("hook.late", count=len(self._tasks), seconds=LINGER)
            for task in self._tasks:
                task.cancel()

    async def _call(
        self,
        hooks: Sequence[Hook],
        moment: str,
        job: Job[Any],
        error: BaseException | None,
        before: asyncio.Task[None] | None,
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        async with self._room:
            shown = replace(self._shown(job), payload_json=None)
            for hook in hooks:
                try:
                    async with asyncio.timeout(PATIENCE):
                        await called(hook, (shown, error), {})
                except (Exception, SystemExit) as failure:
                    name = getattr(hook, "__name__", type(hook).__name__)
                    self._observe("hook.failed", hook=name, moment=moment, job_id=job.id, type=job.type, error=failure)

    def _done(self, job_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._last.get(job_id) is task:
            del self._last[job_id]


def checked(moment: str, hook: Hook) -> None:
    """Raise ConfigurationError unless there is such a moment and the function can be called at it."""
    if moment not in MOMENTS:
        near = get_close_matches(str(moment), MOMENTS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigurationError(f"app.on({moment!r}): {hint}known are {', '.join(MOMENTS)}")
    if not callable(hook):
        raise ConfigurationError(f"app.on({moment!r}): {type(hook).__name__} is no function")
    try:
        inspect.signature(hook).bind(None, None)
    except TypeError:
        name = getattr(hook, "__name__", type(hook).__name__)
        raise ConfigurationError(f"app.on({moment!r}): {name} is to take two arguments, (job, error)") from None
    except ValueError:
        pass  # a function of C that does not say what it takes
