"""What an app knows before it is connected to anything: its handlers, and the hooks on what becomes of their jobs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, ParamSpec, TypeVar, overload

from outlast.errors import ConfigurationError, InvalidRequest
from outlast.handler import BlockingFunction, Function, Handler, Options, Register, settings_of
from outlast.hooks import Hook, Moment, checked
from outlast.job import Job, Priority
from outlast.policy import Duration, Limits

P = ParamSpec("P")
T = TypeVar("T")
H = TypeVar("H", bound=Hook)

_LATER = object()
"""Stands for a hook that a decorator is going to give."""


class Registry(ABC):
    """The part of the app that is filled as a program's modules are read."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.handlers: dict[str, Handler[Any, Any]] = {}
        self._hooks: dict[str, list[Hook]] = {}

    @abstractmethod
    async def _submit_payload(self, handler: Handler[Any, Any], payload_json: str, options: Options) -> Job[Any]:
        """Store a job of this handler."""

    # -- handlers ---------------------------------------------------------------------------------------------------

    @overload
    def handler(self, fn: Function[P, T], /) -> Handler[P, T]: ...

    @overload
    def handler(self, fn: BlockingFunction[P, T], /) -> Handler[P, T]: ...

    @overload
    def handler(
        self,
        /,
        *,
        name: str | None = None,
        timeout: Duration | None = 900.0,
        retries: int = 3,
        backoff: Duration | tuple[Duration, Duration] = (2.0, 300.0),
        priority: Priority = "normal",
        deadline: Duration | None = None,
        keep: Duration = "7d",
        steps: Sequence[str] = (),
        max_payload: int | str | None = None,
    ) -> Register: ...

    def handler(self, fn: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
        """Register a function as the handler of a type of jobs; bare, or with settings.

        An `async def` gets a Context; a `def` runs in a thread of its own and gets a SyncContext.

        Parameters
        ----------
        name: the type; by default the function's name. Letters, digits and `._:-`, at most 128.
        timeout: running time of one attempt, parked time apart; None: no limit.
        retries: tries after the first.
        backoff: the pause before the first retry, doubled up to the longest: 5 min if none is named (or the first, if
            that is longer). A pair names both.
        priority: of jobs that do not ask for another.
        deadline: from submit to end.
        keep: how long an ended job stays.
        steps: names of steps to come, shown as pending.
        max_payload: bytes, or text such as `8 MiB`, where the app's cap does not fit.

        Raises ConfigurationError if the name is taken or the function cannot be a handler.
        """
        if fn is not None:
            return self._register(fn, {})
        return lambda function: self._register(function, settings)

    def _register(self, fn: Callable[..., Any], settings: dict[str, Any]) -> Handler[Any, Any]:
        handler: Handler[Any, Any] = Handler(fn, settings_of(fn, settings, self.limits), self._submit_payload)
        if handler.name in self.handlers:
            raise ConfigurationError(f"handler {handler.name!r} is registered twice; give one of them another name")
        self.handlers[handler.name] = handler
        return handler

    # -- hooks ------------------------------------------------------------------------------------------------------

    @overload
    def on(self, moment: Moment, /) -> Callable[[H], H]: ...

    @overload
    def on(self, moment: Moment, hook: H, /) -> H: ...

    def on(self, moment: Moment, hook: Any = _LATER, /) -> Any:
        """Have `hook(job, error)` called when a job moves; also as a decorator, `@app.on("failed")`.

        It is called after the commit, in the process that made the move, and can neither delay nor break a job: what
        it raises is logged. A `def` runs in a thread. One call has 30 s; of one job, moment follows moment.

        Parameters
        ----------
        moment: `submitted`, `started` (each time a worker takes the job), `waiting`, `retrying`, `completed`, `failed`
            or `cancelled`.
        hook: takes the job as it then is (without its payload) and the exception that was raised; None where there was
            none, or where this process does not have it: `job.last_error` says what is known.

        Raises ConfigurationError for another moment, or a function that does not take these two arguments.
        """
        if hook is _LATER:
            return lambda function: self.on(moment, function)
        checked(moment, hook)
        self._hooks.setdefault(moment, []).append(hook)
        return hook

    def _handler(self, type: str) -> Handler[Any, Any]:
        handler = self.handlers.get(type)
        if handler is None:
            near = get_close_matches(type, self.handlers, n=10) or sorted(self.handlers)[:10]
            detail = f"no handler is registered for {type[:64]!r}; known are {', '.join(near) or 'none'}"
            raise InvalidRequest(detail, code="unknown_type", errors=[{"pointer": "/type", "detail": detail}])
        return handler
