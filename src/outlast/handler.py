"""A user's function as a handler: its name, its settings, the models of its payload and result."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from outlast import codec
from outlast.blocking import SyncContext, blocking
from outlast.calls import is_async
from outlast.context import Context
from outlast.errors import ConfigurationError, InvalidRequest, NotJson
from outlast.job import RANK, Job, Priority
from outlast.notation import pointer_part
from outlast.policy import Duration, Limits, seconds

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

P = ParamSpec("P")
T = TypeVar("T")

Function = Callable[Concatenate[Context, P], Awaitable[T]]
BlockingFunction = Callable[Concatenate[SyncContext, P], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `@app.handler(...)` fixes for all jobs of a type. Times in seconds, sizes in bytes."""

    name: str
    timeout: float | None = 900.0
    retries: int = 3
    backoff: tuple[float, float] = (2.0, 300.0)
    priority: Priority = "normal"
    deadline: float | None = None
    keep: float = 7 * 86400.0
    steps: tuple[str, ...] = ()
    max_payload: int | None = None


class Options(TypedDict, total=False):
    """How one job differs from its handler's settings. A duration is seconds, a timedelta or text such as `15m`.

    owner:           whose job it is; left out, nobody's in particular.
    priority:        `low`, `normal` or `high`.
    delay:           a duration from now until the job may start.
    run_at:          the same as a time with a zone; not together with `delay`.
    deadline:        a duration from submit to end, after which the job fails.
    keep:            how long the ended job stays, a duration.
    retries:         tries after the first, 0 to 100.
    idempotency_key: the same key of the same owner, within 24 h and while the job is kept, gives the same job.
    tags:            up to 10 words to find the job by.
    metadata:        a JSON object of up to 16 KiB that comes back unchanged with the job.
    external_id:     the caller's own name for the job.
    batch:           a name that jobs share which are to be counted or cancelled together.
    webhook:         `{"url": ..., "events": [...], "full": False}`: who is told of the job's end, of which ends (all,
                     if left out), and whether with its result. It is signed with the owner's secret, which
                     `outlast key webhook OWNER` prints.
    trace:           a W3C traceparent to be continued; where an OpenTelemetry span is current, that counts.
    connection:      a connection of psycopg 3 in a transaction of yours, where the store is in the same database: the
                     job is stored if and only if you commit.
    """

    owner: str | None
    priority: Priority
    delay: Duration | None
    run_at: datetime | None
    deadline: Duration | None
    keep: Duration | None
    retries: int | None
    idempotency_key: str | None
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    external_id: str | None
    batch: str | None
    webhook: Mapping[str, Any] | None
    trace: str | None
    connection: Any


class Submit(Protocol):
    """How a handler reaches the app that it belongs to."""

    def __call__(self, handler: "Handler[Any, Any]", payload_json: str, options: Options, /) -> Awaitable[Job[Any]]: ...


class Register(Protocol):
    """`@app.handler(...)` with settings: makes a handler of the function below it."""

    @overload
    def __call__(self, fn: Function[P, T], /) -> "Handler[P, T]": ...

    @overload
    def __call__(self, fn: BlockingFunction[P, T], /) -> "Handler[P, T]": ...


class Bound(Generic[P, T]):
    """A handler with options for the submits that follow."""

    def __init__(self, handler: "Handler[P, T]", options: Options) -> None:
        self._handler = handler
        self._options = options

    async def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """Store a job; see `Handler.submit`."""
        return await self._handler._submit(self._options, *args, **kwargs)


class Handler(Generic[P, T]):
    """A registered handler: call `submit` with exactly the function's own parameters (the Context apart)."""

    def __init__(self, fn: Callable[..., Any], settings: Settings, submit: Submit) -> None:
        self.fn = fn
        self.call: Callable[..., Awaitable[Any]] = fn if is_async(fn) else blocking(fn)
        self.settings = settings
        self.name = settings.name
        self._submit_to = submit
        self._signature = _payload_signature(fn, settings.name)
        self._fields = [(name, _field(name)) for name in self._signature.parameters]
        self._model = _payload_model(fn, self._signature, settings.name)
        self._payload = codec.Codec(Any, f"the payload of {settings.name}", codec.USE_JSON)
        self.result = codec.returned(fn, f"the result of {settings.name}")

    async def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        """Store a job that calls this handler with these arguments.

        Result: the job, committed. Raises InvalidRequest if the arguments do not fit the annotations or are too
        large, StoreUnavailable if the outcome is unknown.
        """
        return await self._submit({}, *args, **kwargs)

    def options(self, **options: Unpack[Options]) -> Bound[P, T]:
        """How the submits that follow differ from the handler's settings: see `Options`. TypeError for any other."""
        require_known(options, Options.__annotations__, "option")
        return Bound(self, options)

    async def _submit(self, options: Options, *args: P.args, **kwargs: P.kwargs) -> Job[T]:
        try:
            payload = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise InvalidRequest(f"{self.name}: {error}") from None
        return await self._submit_to(self, self.encode(payload), options)

    def encode(self, payload: Mapping[str, Any]) -> str:
        """A payload of Python values as JSON text. Raises InvalidRequest."""
        try:
            fields = dict(payload)
        except (TypeError, ValueError):
            detail = f"a mapping with the parameters of {self.name}, not {type(payload).__name__}"
            raise InvalidRequest(f"/payload: {detail}", errors=[{"pointer": "/payload", "detail": detail}]) from None
        try:
            model = self._model.model_validate(fields)
        except codec.misfit() as error:
            raise _refused(self.name, error) from None
        try:
            return self._payload.encode(self._dumped(model))
        except NotJson as error:
            raise InvalidRequest(str(error), errors=[{"pointer": "/payload", "detail": str(error)}]) from None

    def _dumped(self, model: "BaseModel") -> dict[str, Any]:
        dumped = model.model_dump(mode="json", by_alias=True)
        try:
            return dict(codec.in_order(model, dumped))
        except RecursionError:
            return dumped  # nested so deeply that it is refused

    def check(self, payload_json: str) -> None:
        """Raise InvalidRequest, naming each wrong field, if JSON text from outside is not a payload of this handler."""
        try:
            self._model.model_validate_json(payload_json, strict=True)
        except codec.misfit() as error:
            raise _refused(self.name, error) from None

    def decode(self, payload_json: str) -> dict[str, Any]:
        """The arguments that a stored payload stands for. Raises InvalidRequest if it no longer fits."""
        try:
            values = self._model.model_validate_json(payload_json).__dict__
        except codec.misfit() as error:
            raise _refused(self.name, error) from None
        return {name: values[field] for name, field in self._fields}

    def payload_schema(self) -> dict[str, Any]:
        """JSON schema (2020-12) of the payload."""
        return self._model.model_json_schema(by_alias=True) | {"title": f"{self.name} payload"}

    def result_schema(self) -> dict[str, Any]:
        """JSON schema (2020-12) of the result; empty where the handler does not say."""
        return self.result.schema()


def _payload_signature(fn: Callable[..., Any], name: str) -> inspect.Signature:
    _require_plain(fn, name)
    parameters = list(inspect.signature(fn).parameters.values())
    first = codec.hints(fn, f"handler {name!r}").get(parameters[0].name, Context) if parameters else None
    if first is SyncContext and is_async(fn):
        raise ConfigurationError(f"handler {name!r} is an `async def`, which must not block; make it `ctx: Context`")
    if first not in (Context, SyncContext):
        raise ConfigurationError(f"handler {name!r} takes no Context; make `ctx: Context` its first parameter")
    for parameter in parameters[1:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigurationError(f"handler {name!r}: a payload has named fields, and {parameter} is none")
    return inspect.Signature(parameters[1:])


def _require_plain(fn: Callable[..., Any], name: str) -> None:
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise ConfigurationError(f"handler {name!r} yields; return the result, and `ctx.write` what comes on the way")
    if is_async(inspect.unwrap(fn)) and not is_async(fn):
        raise ConfigurationError(f"handler {name!r} is an `async def` that a decorator hides; make its wrapper one too")


def _payload_model(fn: Callable[..., Any], signature: inspect.Signature, name: str) -> "type[BaseModel]":
    from pydantic import ConfigDict, Field, create_model

    types = codec.hints(fn, f"handler {name!r}")
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[_field(parameter.name)] = (
            types.get(parameter.name, Any),
            Field(default, alias=parameter.name, title=parameter.name),
        )
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=False, allow_inf_nan=False)
    try:
        return cast("type[BaseModel]", create_model(f"{name} payload", __config__=config, **fields))
    except Exception as error:
        raise ConfigurationError(f"handler {name!r}: its parameters make no payload model: {error}") from error


def _field(parameter: str) -> str:
    # A prefix, because names such as `copy` or `json` are taken on every pydantic model.
    return f"p_{parameter}"


def _refused(name: str, error: "ValidationError") -> InvalidRequest:
    found = [
        {"pointer": "/payload" + "".join(f"/{pointer_part(part)}" for part in one["loc"]), "detail": one["msg"]}
        for one in error.errors(include_url=False, include_input=False, include_context=False)[:20]
    ]
    first = f"{found[0]['pointer']}: {found[0]['detail']}"
    return InvalidRequest(f"the payload does not fit {name}: {first}", errors=found)


def require_known(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise TypeError for a keyword that means nothing, naming the one that may be meant."""
    known = list(known)
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            raise TypeError(f"there is no {what} {name!r}; {meant}")


def settings_of(fn: Callable[..., Any], asked: Mapping[str, Any], limits: Limits) -> Settings:
    """The arguments of `@app.handler(...)` as settings. Raises ConfigurationError for what cannot be meant."""
    if not callable(fn):
        raise ConfigurationError(f"{fn!r} is no function; settings are given by name: @app.handler(name=...)")
    require_known(asked, SETTINGS, "setting")
    name = str(asked.get("name") or getattr(fn, "__name__", ""))
    if not 1 <= len(name) <= limits.name or not all(c.isascii() and (c.isalnum() or c in "._:-") for c in name):
        raise ConfigurationError(f"handler name {name!r}: letters, digits and ._:- only, at most {limits.name}")
    try:
        return Settings(
            name=name,
            retries=_retries(asked.get("retries", 3), limits.max_retries),
            backoff=_backoff(asked.get("backoff", (2.0, 300.0))),
            priority=_priority(asked.get("priority", "normal")),
            steps=_steps(asked.get("steps", ())),
            max_payload=_size(asked.get("max_payload")),
            **{key: _time(key, asked[key]) for key in _TIMES if key in asked},
        )
    except ValueError as error:
        raise ConfigurationError(f"handler {name!r}: {error}") from None


def _retries(value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"retries is a whole number from 0 to {most}")
    return value


def _backoff(value: Any) -> tuple[float, float]:
    if not isinstance(value, tuple):
        first = _duration("backoff", value)
        return first, max(first, LONGEST_PAUSE)
    if len(value) != 2:
        raise ValueError("backoff is the first pause, or a pair of that and the longest")
    return _duration("backoff", value[0]), _duration("backoff", value[1])


def _priority(value: Any) -> Priority:
    for priority in RANK:
        if value == priority:
            return priority
    raise ValueError(f"priority is one of {', '.join(RANK)}")


def _steps(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError("steps is a list of names")
    return tuple(names)


def _time(setting: str, value: Any) -> Any:
    """None, where that means no limit; an ended job has a time that it stays."""
    if value is None and setting != "keep":
        return None
    time = _duration(setting, value)
    if time == 0 and setting == "timeout":
        raise ValueError("timeout: more than 0 seconds, or None for no limit")
    return time


def _duration(setting: str, value: Any) -> float:
    try:
        time = seconds(value)
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from None
    if time > MOST_DAYS * 86400.0:
        raise ValueError(f"{setting}: at most {MOST_DAYS}d")
    return time


def _size(given: Any) -> int | None:
    number, _, unit = given.partition(" ") if isinstance(given, str) else ("", "", "")
    size = int(number) * SIZES[unit] if unit in SIZES and number.isdecimal() else given
    if size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0):
        return size
    raise ValueError(f"max_payload is a number of bytes, or text like 8 MiB, not {given!r}")


SETTINGS = ("name", "timeout", "retries", "backoff", "priority", "deadline", "keep", "steps", "max_payload")
_TIMES = ("timeout", "deadline", "keep")
SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}

LONGEST_PAUSE = 300.0
"""Seconds that the longest pause between two attempts takes, where none is named and the first is no longer."""

MOST_DAYS = 36_500
"""Of a handler's times: a hundred years, so that every time of a job can be written as a date."""
