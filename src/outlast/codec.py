"""A value to JSON text and back, through the annotation it was declared with.

What a step or a handler returns is kept as text. It is read back through the same annotation on the first run too, so
that a first run and a replay see equal values of one type.

pydantic is imported where it is first needed: it is half of what `import outlast` would cost.
"""

import inspect
import json
import math
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from outlast.errors import ConfigurationError, Misfit, NotJson
from outlast.notation import canonical

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

USE_JSON = "use JSON values"
ANNOTATE = "return JSON values, or annotate the function's return type so that the value can be read back"
SCALARS = (str, int, bool, type(None))

PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types of values that hold no others."""

UNREADABLE = 10**4300
"""The least whole number that Python writes and does not read back: it takes 4300 digits from a text."""


class Codec:
    """How the values of one annotation are written and read. `what` names the value in errors, `advice` the way out."""

    def __init__(self, annotation: Any, what: str, advice: str = ANNOTATE) -> None:
        self.what = what
        self.advice = advice
        self._adapter = None if annotation is Any else _adapter(annotation, what)

    def encode(self, value: Any) -> str:
        """The value as JSON text. Raises NotJson, with the path to the culprit."""
        if self._adapter is not None:
            value = self._dumped(self._adapter, value)
        try:
            _require_plain(value, self, "$")
            return _text_of(value)
        except RecursionError:
            raise NotJson(self.what, "$", "a value nested too deeply", "flatten it") from None

    def decode(self, text: str) -> Any:
        """The value a text stands for. Raises Misfit if the annotation does not take it back."""
        if self._adapter is None:
            return json.loads(text)
        try:
            return self._adapter.validate_json(text)
        except misfit() as error:
            raise Misfit(self.what, *_first(error)) from error

    def schema(self) -> dict[str, Any]:
        """JSON schema (2020-12) of the values."""
        return {} if self._adapter is None else self._adapter.json_schema(mode="serialization", by_alias=True)

    def _dumped(self, adapter: "TypeAdapter[Any]", value: Any) -> Any:
        try:
            return adapter.dump_python(adapter.validate_python(value), mode="json", by_alias=True)
        except misfit() as error:
            _require_awaited(value, self, "$")
            raise Misfit(self.what, *_first(error)) from error
        except _unwritable() as error:
            raise NotJson(self.what, "$", f"{type(value).__name__} ({error})", self.advice) from error


def misfit() -> "type[ValidationError]":
    """What pydantic raises for a value that does not fit; an `except` asks for it only once something was raised."""
    from pydantic import ValidationError

    return ValidationError


def _unwritable() -> tuple[type[Exception], ...]:
    from pydantic_core import PydanticSerializationError

    return PydanticSerializationError, UnicodeDecodeError


def returned(fn: Callable[..., Any], what: str) -> Codec:
    """The codec of what a function returns; plain JSON values where it does not say.

    Raises ConfigurationError if the annotation names something that cannot be found.
    """
    while isinstance(fn, partial):
        fn = fn.func
    if not inspect.isroutine(fn):
        fn = type(fn).__call__ if callable(fn) else fn
    fn = getattr(fn, "__func__", fn)
    if not getattr(fn, "__annotations__", None):
        return Codec(Any, what)
    if fn not in _returned:
        _returned[fn] = _awaited(hints(fn, what).get("return", Any))
    return Codec(_returned[fn], what)


_returned: WeakKeyDictionary[Callable[..., Any], Any] = WeakKeyDictionary()
"""What functions say that they return; to find it out takes as long as a short step."""


def hints(fn: Callable[..., Any], what: str) -> dict[str, Any]:
    """A function's annotations as types."""
    if not getattr(fn, "__annotations__", None):
        return {}
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"{what}: an annotation names {error.name!r}, which cannot be found; define it at the module's top level"
        ) from error


def _awaited(annotation: Any) -> Any:
    origin = typing.get_origin(annotation)
    return typing.get_args(annotation)[-1] if origin in (Awaitable, Coroutine) else annotation


@lru_cache(maxsize=1024)
def _hashed_adapter(annotation: Any) -> "TypeAdapter[Any]":
    return _new_adapter(annotation)


def _adapter(annotation: Any, what: str) -> "TypeAdapter[Any]":
    """Raises ConfigurationError for an annotation whose values have no form in JSON."""
    try:
        return _hashed_adapter(annotation)
    except TypeError:  # an annotation such as Annotated[int, []] cannot be hashed
        return _new_adapter(annotation)
    except RuntimeError as error:  # the root of what pydantic raises for a type that it does not know
        shown = annotation.__name__ if isinstance(annotation, type) else annotation
        raise ConfigurationError(
            f"{what} is annotated as {shown}, which has no form in JSON; make that a dataclass or a pydantic model"
        ) from error


def _new_adapter(annotation: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def _require_plain(value: Any, codec: Codec, path: str) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJson(codec.what, path, str(value), "write it as text or None")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _require_plain(item, codec, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise NotJson(codec.what, path, f"a key of type {type(key).__name__}", "use text as keys")
            _require_text(key, codec, path)
            _require_plain(item, codec, f"{path}.{key[:64]}")
    elif isinstance(value, str):
        _require_text(value, codec, path)
    elif isinstance(value, int) and not -UNREADABLE < value < UNREADABLE:
        raise NotJson(codec.what, path, "a whole number of more than 4300 digits", "write it as text")
    elif not isinstance(value, SCALARS):
        _require_awaited(value, codec, path)
        raise NotJson(codec.what, path, f"a value of type {type(value).__name__}", codec.advice)


def _require_awaited(value: Any, codec: Codec, path: str) -> None:
    if inspect.iscoroutine(value):
        value.close()
        raise NotJson(codec.what, path, "a coroutine", f"`await` was forgotten before {value.__qualname__}(...)")


def in_order(value: Any, data: Any) -> Any:
    """What a value was dumped to as JSON data, with what stands for sets in the order of their items' JSON.

    A set comes in another order in each process. Raises RecursionError beyond some 400 levels.
    """
    if type(value) in PLAIN:
        return data
    if getattr(type(value), "__pydantic_root_model__", False):
        return in_order(value.root, data)
    if isinstance(data, list):
        if not isinstance(value, set | frozenset | list | tuple) or len(value) != len(data):
            return data
        items = [in_order(*pair) for pair in zip(value, data, strict=True)]
        return sorted(items, key=canonical) if isinstance(value, set | frozenset) else items
    if isinstance(data, dict):
        held = _held(value, data)
        return {key: in_order(held.get(key), item) for key, item in data.items()}
    return data


def _held(value: Any, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What each entry of the data was dumped from, where that is known."""
    kind = type(value)
    if isinstance(value, dict):
        return dict(zip(data, value.values(), strict=True)) if len(value) == len(data) else {}
    if hasattr(kind, "__pydantic_fields__") and not hasattr(kind, "__dataclass_fields__"):
        fields = kind.__pydantic_fields__.items()
        named = {field.serialization_alias or field.alias or name: getattr(value, name, None) for name, field in fields}
        return {**(value.__pydantic_extra__ or {}), **named}
    return {field.name: getattr(value, field.name, None) for field in fields_of(value)} if is_dataclass(value) else {}


def _text_of(value: Any) -> str:
    """Plain JSON values as text. Raises RecursionError beyond some 250 levels."""
    to_json, unwritable = _to_json()
    try:
        return to_json(value).decode()
    except unwritable as error:
        raise RecursionError from error


@cache
def _to_json() -> tuple[Callable[[Any], bytes], type[Exception]]:
    from pydantic_core import PydanticSerializationError, to_json

    return to_json, PydanticSerializationError


def _require_text(text: str, codec: Codec, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotJson(codec.what, path, "text with a lone surrogate", "decode it properly first") from None


def _first(error: "ValidationError") -> tuple[str, str]:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return f"${where}", first["msg"]
