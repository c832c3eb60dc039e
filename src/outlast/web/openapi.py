"""The OpenAPI 3.1 description: every route, every problem, and each handler's own payload and result."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from inspect import getdoc
from typing import Any

from outlast.app import Outlast
from outlast.principal import USUAL_SCOPES
from outlast.tokens import LONGEST, TTL
from outlast.web.handler_schemas import of_handlers
from outlast.web.lists import MOST_IDS
from outlast.web.problems import CODES
from outlast.web.query import EVENTS_PAGE, JOBS_PAGE, MAX_EVENTS_PAGE, MAX_JOBS_PAGE, MAX_WAIT
from outlast.web.schemas import FIXED, FREE, TEXT, TIME, WHOLE, Schema, one_of, or_null, record, ref
from outlast.web.sockets import SUBPROTOCOL
from outlast.web.surface import Route

JSON, STREAM, PLAIN, LINES = "application/json", "text/event-stream", "text/plain", "application/jsonl"


@dataclass(frozen=True, slots=True)
class Operation:
    """What is said of one route beside its own docstring."""

    replies: Mapping[int, Schema]
    problems: tuple[str, ...] = ()
    parameters: tuple[Schema, ...] = ()
    body: Schema | None = None
    body_needed: bool = True
    body_media: str = JSON
    media: tuple[str, ...] = (JSON,)


def query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def header(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "schema": TEXT, "description": description}


def bounded(low: int, high: int, default: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high, "default": default}


def _scopes(*words: str) -> Schema:
    return {"type": "array", "items": one_of(*words), "minItems": 1, "default": ["read"]}


TTL_MS = bounded(1000, int(LONGEST * 1000), int(TTL * 1000))
WAIT = query("wait", {"type": "number", "minimum": 0, "maximum": MAX_WAIT}, "seconds to wait for news")
KEY = header("Idempotency-Key", "the same key within 24 h is the same request")
TRACEPARENT = header("traceparent", "W3C Trace Context: the trace that the job's attempts join")
PREFER = header("Prefer", "wait=N: answer as soon as there is news, or the end of a job just submitted, within N s")
CANCEL_AFTER = header(
    "Cancel-After", "a duration such as 90s or 5m after which the job fails; the sooner of it and deadlineMs"
)
OUTLAST_OWNER = header("Outlast-Owner", "the owner to act for; takes the scope owner:any")
IF_NONE_MATCH = header("If-None-Match", "the ETag the caller has; 304 if it still stands")

BODY = (
    "empty_body",
    "not_utf8",
    "invalid_json",
    "too_deep",
    "too_many_members",
    "duplicate_key",
    "number_range",
    "nul_character",
    "lone_surrogate",
    "request_timeout",
    "payload_too_large",
    "unsupported_media_type",
    "encoding_off",
)
FIELDS = (*BODY, "body_must_be_object", "validation", "unknown_field")
EVERYWHERE = ("unauthenticated", "forbidden", "forbidden_scope", "host_refused", "internal_error", "store_unavailable")
UNSAFE = ("origin_refused",)

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", ""): Operation(
        {202: ref("AnyJob"), 200: ref("AnyJob")},
        (
            *FIELDS,
            "read_only",
            "unknown_type",
            "attachment_not_found",
            "callback_refused",
            "webhooks_off",
            "idempotency_key_reused",
            "quota_exceeded",
            "queue_full",
        ),
        (KEY, PREFER, CANCEL_AFTER, TRACEPARENT),
        ref("Submit"),
    ),
    ("GET", ""): Operation(
        {200: ref("JobPage"), 304: {}},
        ("validation", "bad_cursor"),
        (
            query("status", TEXT, "one or more statuses, parted by commas"),
            query("type", TEXT, "a handler's name"),
            query("tag", TEXT, "a tag"),
            query("batchId", TEXT, "a batch"),
            query("createdAfter", TIME, "created later than this"),
            query("createdBefore", TIME, "created earlier than this"),
            query("updatedAfter", TIME, "changed later than this"),
            query("order", one_of("-createdAt", "createdAt"), "newest or oldest first"),
            query("limit", bounded(1, MAX_JOBS_PAGE, JOBS_PAGE), "jobs to a page"),
            query("cursor", TEXT, "nextCursor of the page before"),
            IF_NONE_MATCH,
        ),
    ),
    ("POST", "/attachments"): Operation(
        {201: ref("Attached")},
        ("empty_body", "request_timeout", "payload_too_large", "encoding_off", "validation", "quota_exceeded"),
        body={},
        body_media="*/*",
    ),
    ("POST", "/batch"): Operation(
        {202: ref("BatchReply")}, (*FIELDS, "read_only", "quota_exceeded", "queue_full"), body=ref("Batch")
    ),
    ("POST", "/status"): Operation(
        {200: ref("StatusReply")},
        FIELDS,
        body=record({"ids": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": MOST_IDS}}, closed=True),
    ),
    ("GET", "/summary"): Operation(
        {200: ref("Summary"), 304: {}},
        ("validation",),
        (query("since", TIME, "also count what has ended since this time"), IF_NONE_MATCH),
    ),
    ("GET", "/stats"): Operation({200: ref("Stats")}),
    ("GET", "/workers"): Operation({200: ref("Workers")}),
    ("POST", "/tokens"): Operation(
        {201: ref("Token")},
        ("tokens_off", *FIELDS),
        body=record(
            {"scope": _scopes("read", "submit"), "type": TEXT, "ttlMs": TTL_MS},
            optional=("scope", "type", "ttlMs"),
            closed=True,
        ),
        body_needed=False,
    ),
    ("POST", "/{id}/tokens"): Operation(
        {201: ref("Token")},
        ("job_not_found", "tokens_off", *FIELDS),
        body=record({"scope": _scopes("read", "cancel"), "ttlMs": TTL_MS}, optional=("scope", "ttlMs"), closed=True),
        body_needed=False,
    ),
    ("GET", "/events"): Operation(
        {200: TEXT},
        ("not_acceptable", "quota_exceeded"),
        (
            query("after", WHOLE, "the cursor of the last frame the caller has, milliseconds of the store's time"),
            header("Last-Event-ID", "the same, as browsers send it; it goes before `after`"),
        ),
        media=(STREAM,),
    ),
    ("GET", "/ws"): Operation(
        {101: {}},
        ("upgrade_required", "origin_refused", "validation", "quota_exceeded"),
        (header("Sec-WebSocket-Protocol", SUBPROTOCOL),),
    ),
    ("GET", "/batches/{id}"): Operation({200: ref("BatchCounts")}, ("batch_not_found",)),
    ("POST", "/batches/{id}/cancel"): Operation(
        {200: ref("BatchCounts"), 202: ref("BatchCounts")},
        ("batch_not_found", *FIELDS),
        body=record({"reason": or_null(TEXT | {"maxLength": 500})}, optional=("reason",), closed=True),
        body_needed=False,
    ),
    ("GET", "/batches/{id}/results"): Operation({200: TEXT}, ("batch_not_found",), media=(LINES,)),
    ("POST", "/bulk"): Operation({200: ref("BulkReply")}, (*FIELDS, "bad_cursor"), body=ref("Bulk")),
    ("GET", "/{id}"): Operation(
        {200: ref("AnyJob"), 304: {}},
        ("job_not_found", "validation"),
        (
            WAIT,
            PREFER,
            query("since", TEXT, "the version the caller has, such as v12"),
            query("include", one_of("payload", "attempts", "payload,attempts"), "what to add"),
            IF_NONE_MATCH,
        ),
    ),
    ("DELETE", "/{id}"): Operation({204: {}}, ("job_not_found", "job_live")),
    ("GET", "/{id}/deliveries"): Operation(
        {200: record({"data": {"type": "array", "items": ref("Delivery")}})}, ("job_not_found",)
    ),
    ("POST", "/deliveries/{id}/redeliver"): Operation({202: ref("Delivery")}, ("job_not_found",)),
    ("GET", "/{id}/events"): Operation(
        {200: ref("EventPage"), 204: {}},
        ("job_not_found", "not_acceptable", "validation", "quota_exceeded"),
        (
            query("after", WHOLE, "the number of the last event the caller has; 0 is from the start"),
            query("token", TEXT, "a share token, where no header can be set"),
            header("Last-Event-ID", "the same, as browsers send it; it goes before `after`"),
            query("limit", bounded(1, MAX_EVENTS_PAGE, EVENTS_PAGE), "events to a page of JSON"),
            WAIT,
        ),
        media=(JSON, STREAM),
    ),
    ("GET", "/{id}/output"): Operation(
        {200: TEXT},
        ("job_not_found", "validation"),
        (
            query("after", WHOLE, "the number of characters the caller has"),
            query("channel", TEXT | {"default": "text"}, "a channel"),
        ),
        media=(PLAIN,),
    ),
    ("GET", "/{id}/result"): Operation({200: {}, 202: ref("AnyJob")}, ("job_not_found", "job_failed", "job_cancelled")),
    ("POST", "/{id}/cancel"): Operation(
        {200: ref("AnyJob"), 202: ref("AnyJob")},
        ("job_not_found", *FIELDS),
        body=record({"reason": TEXT | {"maxLength": 500}}, optional=("reason",), closed=True),
        body_needed=False,
    ),
    ("POST", "/{id}/retry"): Operation(
        {202: ref("AnyJob")},
        (
            "job_not_found",
            "job_live",
            "job_not_retryable",
            "attachment_not_found",
            "quota_exceeded",
            "queue_full",
            *FIELDS,
        ),
        (query("force", {"type": "boolean", "default": False}, "also a completed job"),),
        record({"from": one_of("checkpoint", "start")}, optional=("from",), closed=True),
        body_needed=False,
    ),
    ("POST", "/{id}/signals/{name}"): Operation(
        {202: ref("AnyJob")},
        ("job_not_found", "job_ended", "inbox_full", "validation", *BODY),
        (KEY,),
        {},
        body_needed=False,
    ),
    ("GET", "/healthz"): Operation({200: record({"status": one_of("ok")})}),
    ("GET", "/readyz"): Operation({200: ref("Readiness"), 503: ref("Readiness")}),
    ("GET", "/metrics"): Operation({200: TEXT}, media=(PLAIN,)),
    ("GET", "/openapi.json"): Operation({200: FREE}),
}

MEANING = {
    101: "the connection is a WebSocket",
    200: "it is done",
    201: "it is made",
    202: "it is accepted",
    204: "there is nothing to send",
    304: "nothing has changed",
}
MEANING |= {503: "jobs do not get done"}


def describe(app: Outlast, routes: Iterable[tuple[str, Route]], root: str) -> dict[str, Any]:
    """The document. `routes` come with the path they are mounted under, `root` is the path before all of them."""
    paths: dict[str, Any] = {}
    for prefix, route in routes:
        item = paths.setdefault(prefix + route.path, {})
        names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
        if names:
            item["parameters"] = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]
        item[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Outlast", "version": version("outlast"), "summary": "AI jobs that outlast the request"},
        "servers": [{"url": root or "/"}],
        "paths": paths,
        "components": {
            "schemas": {**FIXED, **of_handlers(app.handlers, app.limits)},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _operation(route: Route) -> dict[str, Any]:
    told = OPERATIONS[route.method, route.path]
    made: dict[str, Any] = {
        "operationId": route.endpoint.__name__,
        "summary": (getdoc(route.endpoint) or "").partition("\n")[0],
        "responses": _responses(route, told),
    }
    if route.scope is None:
        made["security"] = []
    parameters = [*told.parameters, *([OUTLAST_OWNER] if route.scope in USUAL_SCOPES else ())]
    if parameters:
        made["parameters"] = parameters
    if told.body is not None:
        made["requestBody"] = {"content": {told.body_media: {"schema": told.body}}, "required": told.body_needed}
    return made


def _responses(route: Route, told: Operation) -> dict[str, Any]:
    responses = {str(status): _reply(status, schema, told.media) for status, schema in told.replies.items()}
    always = () if route.scope is None else EVERYWHERE + (UNSAFE if route.method != "GET" else ())
    if route.scope in USUAL_SCOPES:
        always += ("validation",)
    codes: dict[int, list[str]] = {}
    for code in dict.fromkeys((*told.problems, *always)):
        codes.setdefault(CODES[code][0], []).append(code)
    for status, found in sorted(codes.items()):
        responses[str(status)] = {
            "description": ", ".join(found),
            "content": {"application/problem+json": {"schema": ref("Problem")}},
        }
    return responses


def _reply(status: int, schema: Schema, media: tuple[str, ...]) -> dict[str, Any]:
    reply: dict[str, Any] = {"description": MEANING[status]}
    if status not in (101, 204, 304):
        reply["content"] = {name: {"schema": TEXT if name == STREAM else schema} for name in media}
    return reply
