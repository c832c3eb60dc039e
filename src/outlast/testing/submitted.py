"""Was it submitted? And if not, what was."""

import json
from collections.abc import Mapping
from typing import Any

from outlast.handler import Handler, require_known
from outlast.job import Job
from outlast.stores.base import ANY, Owner
from outlast.testing.store import WatchedStore


def matching(
    store: WatchedStore, handler: Handler[Any, Any] | str, owner: Owner, payload: Mapping[str, Any]
) -> list[Job[Any]]:
    """The submitted jobs of this type and owner whose payload holds all of this, as they now are, oldest first."""
    type, wanted = _type_and_fields(handler, payload)
    submitted = [job for job in store.submitted.values() if job.type == type and owner in (ANY, job.owner)]
    return [store.now_is(job) for job in submitted if _fields(job).items() >= wanted.items()]


def _type_and_fields(handler: Handler[Any, Any] | str, payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    from pydantic_core import to_jsonable_python

    if isinstance(handler, Handler):
        # A misspelt field matches nothing, and so would make `times=0` true.
        require_known(payload, handler.payload_schema().get("properties", ()), f"field of {handler.name}")
    return name_of(handler), to_jsonable_python(dict(payload), by_alias=True)


def name_of(handler: Handler[Any, Any] | str) -> str:
    return handler if isinstance(handler, str) else handler.name


def _fields(job: Job[Any]) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(job.payload_json or "{}")
    return fields


def refusal(
    store: WatchedStore, handler: Handler[Any, Any] | str, owner: Owner, wanted: Mapping[str, Any], found: int
) -> str:
    """What was looked for, how often it is there, and all that was submitted."""
    of_whom = "" if owner is ANY else f" for owner {owner!r}"
    asked = f"{name_of(handler)}({_arguments(wanted)}){of_whom} was submitted {found}x"
    all_of_them = [_line(job) for job in store.submitted.values()]
    return "\n".join([asked, "submitted were:" if all_of_them else "nothing was submitted", *all_of_them])


def _line(job: Job[Any]) -> str:
    return f"  {job.type}({_arguments(_fields(job))}){'' if job.owner is None else f' for owner {job.owner!r}'}"


def _arguments(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())
