"""The shapes that depend on the handlers as JSON schemas (2020-12): payload, result, submit, item of a batch, token."""

import re
from collections.abc import Mapping
from typing import Any

from outlast.handler import Handler
from outlast.job import RANK
from outlast.policy import Limits
from outlast.web.bodies import owner_token
from outlast.web.schemas import FREE, TEXT, TIME, Schema, matching, one_of, or_null, record, ref
from outlast.web.submit_body import BATCH, ITEM_KEY, KEY, MOST_IN_BATCH, NAME

NAME_SCHEMA = matching(NAME.pattern)


def item_fields(limits: Limits) -> dict[str, Schema]:
    """Those of an item of a batch, which has a key of its own and the batch's id."""
    fields = submit_fields(limits) | {ITEM_KEY: matching(KEY.pattern)}
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
        needed = ("type", "payload") if made[f"{own}.payload"].get("required") else ("type",)
        for form, others in (("submit", submit_fields(limits)), ("item", item_fields(limits))):
            made[f"{own}.{form}"] = _submit({"const": handler.name}, ref(f"{own}.payload"), others, needed)
        result = {"type": {"const": handler.name}, "result": or_null(ref(f"{own}.result"))}
        made[f"{own}.job"] = {"allOf": [ref("Job"), {"type": "object", "properties": result}]}
    names = [component(name) for name in handlers]
    made["Submit"] = _either([ref(f"{name}.submit") for name in names], _submit(TEXT, FREE, submit_fields(limits)))
    items = _either([ref(f"{name}.item") for name in names], _submit(TEXT, FREE, item_fields(limits)))
    jobs: Schema = {"type": "array", "items": items, "minItems": 1, "maxItems": MOST_IN_BATCH}
    made["Batch"] = record({"jobs": jobs, BATCH: NAME_SCHEMA}, optional=(BATCH,), closed=True)
    made["OwnerToken"] = owner_token(handlers)
    made["AnyJob"] = _either([ref(f"{name}.job") for name in names], ref("Job"))
    return made


def component(type: str) -> str:
    """A type's name as components may be named."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", type)


def _submit(type: Schema, payload: Schema, others: Mapping[str, Schema], needed: tuple[str, ...] = ("type",)) -> Schema:
    fields = {"type": type, "payload": payload, **others}
    submit = record(fields, optional=tuple(name for name in fields if name not in needed), closed=True)
    return submit | {"not": {"required": ["delayMs", "runAt"]}}


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
