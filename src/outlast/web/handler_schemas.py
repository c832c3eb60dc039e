"""The shapes of each handler's own jobs as JSON schemas (2020-12): payload, result, submit, item of a batch."""

import re
from collections.abc import Mapping
from typing import Any

from outlast.handler import Handler
from outlast.job import RANK
from outlast.policy import Limits
from outlast.web.schemas import FREE, TEXT, TIME, Schema, one_of, or_null, record, ref
from outlast.web.submit_body import BATCH, ITEM_KEY, KEY, MOST_IN_BATCH, NAME

NAME_SCHEMA: Schema = {"type": "string", "pattern": f"^{NAME.pattern}$"}


def item_fields(limits: Limits) -> dict[str, Schema]:
    """Those of an item of a batch, which has a key of its own and the batch's id."""
    fields = submit_fields(limits) | {ITEM_KEY: {"type": "string", "pattern": f"^{KEY.pattern}$"}}
    del fields[BATCH]
    return fields


def submit_fields(limits: Limits) -> dict[str, Schema]:
    """The fields of a submit beside its type and payload."""
    milliseconds: Schema = {"type": "integer", "minimum": 1, "maximum": int(limits.delay * 1000)}
    return {
        "priority": one_of(*RANK),
        "delayMs": milliseconds | {"minimum": 0},
        "runAt": TIME,
        "deadlineMs": milliseconds,
        "keepMs": milliseconds,
        "maxRetries": {"type": "integer", "minimum": 0, "maximum": limits.max_retries},
        "tags": {"type": "array", "items": NAME_SCHEMA | {"maxLength": limits.tag}, "maxItems": limits.tags},
        "metadata": FREE,
        "externalId": NAME_SCHEMA,
        "webhook": ref("Webhook"),
        BATCH: NAME_SCHEMA,
    }


def of_handlers(handlers: Mapping[str, Handler[Any, Any]], limits: Limits) -> dict[str, Schema]:
    """`Submit` and `AnyJob`, and for each type its payload, result, submit and job."""
    made: dict[str, Schema] = {}
    for handler in handlers.values():
        own = component(handler.name)
        made |= _hoisted(f"{own}.payload", handler.payload_schema())
        made |= _hoisted(f"{own}.result", handler.result_schema())
        made[f"{own}.submit"] = _submit({"const": handler.name}, ref(f"{own}.payload"), submit_fields(limits))
        made[f"{own}.item"] = _submit({"const": handler.name}, ref(f"{own}.payload"), item_fields(limits))
        result = {"type": {"const": handler.name}, "result": or_null(ref(f"{own}.result"))}
        made[f"{own}.job"] = {"allOf": [ref("Job"), {"type": "object", "properties": result}]}
    names = [component(name) for name in handlers]
    made["Submit"] = _either([ref(f"{name}.submit") for name in names], _submit(TEXT, FREE, submit_fields(limits)))
    items = _either([ref(f"{name}.item") for name in names], _submit(TEXT, FREE, item_fields(limits)))
    jobs: Schema = {"type": "array", "items": items, "minItems": 1, "maxItems": MOST_IN_BATCH}
    made["Batch"] = record({"jobs": jobs, BATCH: NAME_SCHEMA}, optional=(BATCH,), closed=True)
    made["AnyJob"] = _either([ref(f"{name}.job") for name in names], ref("Job"))
    return made


def component(type: str) -> str:
    """A type's name as components may be named."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", type)


def _submit(type: Schema, payload: Schema, others: Mapping[str, Schema]) -> Schema:
    fields = {"type": type, "payload": payload, **others}
    needed = ("type", "payload") if payload.get("$ref") else ("type",)
    return record(fields, optional=tuple(name for name in fields if name not in needed), closed=True)


def _either(choices: list[Schema], otherwise: Schema) -> Schema:
    return {"oneOf": choices} if choices else otherwise


def _hoisted(name: str, schema: Schema) -> dict[str, Schema]:
    """A schema under its own name, with the definitions it brings beside it, and every reference following them."""
    inner = schema.pop("$defs", {})
    found = {name: schema} | {f"{name}.{key}": value for key, value in inner.items()}
    return {key: _moved(value, "#/$defs/", f"#/components/schemas/{name}.") for key, value in found.items()}


def _moved(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _moved(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, old, new) for item in value]
    return new + value.removeprefix(old) if isinstance(value, str) and value.startswith(old) else value
