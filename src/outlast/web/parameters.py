"""The parameters of requests in the words of OpenAPI, each with the very pattern or bounds by which it is read."""

import re

from outlast.deliveries import DELIVERY_ID
from outlast.notation import JOB_ID
from outlast.policy import DURATION, Limits
from outlast.web.auth import ACTS_FOR, OWNER
from outlast.web.query import LAST, MAX_WAIT, VERSION
from outlast.web.schemas import TEXT, Schema, matching
from outlast.web.sockets import SUBPROTOCOL
from outlast.web.submit_body import NAME, SENT_KEY


def query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def listed(name: str, words: Schema, description: str) -> Schema:
    """Words parted by commas."""
    return query(name, {"type": "array", "items": words, "minItems": 1}, description) | {
        "style": "form",
        "explode": False,
    }


def header(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "header", "schema": schema, "description": description}


NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": LAST}

WAIT = query("wait", {"type": "number", "minimum": 0, "maximum": MAX_WAIT}, "seconds to wait for news")
SINCE = query("since", matching(VERSION.pattern), "the version the caller has, such as v12")
TOKEN = query("token", TEXT, "a share token, where no header can be set")
KEY = header("Idempotency-Key", matching(SENT_KEY.pattern), "the same key within 24 h is the same request")
TRACEPARENT = header("traceparent", TEXT, "W3C Trace Context: the trace that the job's attempts join")
PREFER = header(
    "Prefer", TEXT, "wait=N: answer as soon as there is news, or the end of a job just submitted, within N s"
)
CANCEL_AFTER = header(
    "Cancel-After",
    matching(DURATION),
    "a duration such as 90s or 5m after which the job fails; the sooner of it and deadlineMs",
)
LAST_EVENT_ID = header("Last-Event-ID", TEXT, "the same, as browsers send it; it goes before `after`")
IF_NONE_MATCH = header("If-None-Match", TEXT, "the ETag the caller has; 304 if it still stands")
OUTLAST_OWNER = header(ACTS_FOR, matching(OWNER.pattern), "the owner to act for; takes the scope owner:any")
OFFERED = rf"(?:.*, *)?{re.escape(SUBPROTOCOL)}(?: *,.*)?"
SEC_WEBSOCKET_PROTOCOL = header("Sec-WebSocket-Protocol", matching(OFFERED), SUBPROTOCOL) | {"required": True}

IDS = {"/batches": NAME.pattern, "/deliveries": DELIVERY_ID}


def in_path(path: str, limits: Limits) -> list[Schema]:
    """Those that a route's path names. An id of another form is none that there is."""
    parts = path.split("/")
    schemas = {
        "{id}": matching(IDS.get(path.partition("/{")[0], JOB_ID)),
        "{name}": {"type": "string", "pattern": "^[^/]+$", "maxLength": limits.name},
    }
    return [
        {"name": part[1:-1], "in": "path", "required": True, "schema": schemas[part]}
        for part in parts
        if part in schemas
    ]
