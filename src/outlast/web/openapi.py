"""The OpenAPI 3.1 description: every route, every problem, and each handler's own payload and result."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from inspect import getdoc
from typing import Any

from outlast.app import Outlast
from outlast.attachments import BYTES
from outlast.job import Status
from outlast.principal import USUAL_SCOPES
from outlast.web import bodies, push, schemas
from outlast.web.handler_schemas import of_handlers
from outlast.web.links import links
from outlast.web.parameters import (
    CANCEL_AFTER,
    IF_NONE_MATCH,
    KEY,
    LAST_EVENT_ID,
    NUMBER,
    OUTLAST_OWNER,
    PREFER,
    SEC_WEBSOCKET_PROTOCOL,
    SINCE,
    TOKEN,
    TRACEPARENT,
    WAIT,
    in_path,
    listed,
    query,
)
from outlast.web.problems import CODES
from outlast.web.query import EVENTS_PAGE, JOBS_PAGE, MAX_EVENTS_PAGE, MAX_JOBS_PAGE
from outlast.web.reply_headers import (
    COUNT,
    HEADERS,
    OF_A_JOB,
    OF_A_LIST,
    OF_A_QUOTA,
    OF_A_STREAM,
    OF_OUTPUT,
    OF_PROBLEMS,
    headers,
)
from outlast.web.schemas import BOOLEAN, FREE, TEXT, TIME, WHOLE, Schema, bounded, one_of, record, ref
from outlast.web.surface import Endpoint, Route

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
    headers: tuple[str, ...] = ()
    security: tuple[Schema, ...] = ()
    """Who may come, where it is not whom the service lets in."""


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
        headers=(*OF_A_JOB, *OF_A_QUOTA, "Idempotency-Replayed", "Location", "Preference-Applied"),
    ),
    ("GET", ""): Operation(
        {200: ref("JobPage"), 304: {}},
        ("validation", "bad_cursor"),
        (
            listed("status", one_of(*Status), "only these"),
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
        headers=OF_A_LIST,
    ),
    ("POST", "/attachments"): Operation(
        {201: ref("Attached")},
        ("empty_body", "request_timeout", "payload_too_large", "encoding_off", "validation", "quota_exceeded"),
        body={},
        body_media=BYTES,
    ),
    ("POST", "/batch"): Operation(
        {202: ref("BatchReply")},
        (*FIELDS, "read_only", "quota_exceeded", "queue_full"),
        body=ref("Batch"),
        headers=OF_A_QUOTA,
    ),
    ("POST", "/status"): Operation({200: ref("StatusReply")}, FIELDS, body=ref("StatusOf")),
    ("GET", "/summary"): Operation(
        {200: ref("Summary"), 304: {}},
        ("validation",),
        (query("since", TIME, "also count what has ended since this time"), IF_NONE_MATCH),
        headers=("ETag",),
    ),
    ("GET", "/stats"): Operation({200: ref("Stats")}),
    ("GET", "/workers"): Operation({200: ref("Workers")}),
    ("POST", "/tokens"): Operation(
        {201: ref("Token")}, ("tokens_off", *FIELDS), body=ref("OwnerToken"), body_needed=False
    ),
    ("POST", "/{id}/tokens"): Operation(
        {201: ref("Token")}, ("job_not_found", "tokens_off", *FIELDS), body=ref("JobToken"), body_needed=False
    ),
    ("GET", "/events"): Operation(
        {200: ref("Frame")},
        ("not_acceptable", "quota_exceeded"),
        (
            query("after", TEXT, "the cursor of the last frame the caller has; one that is no number counts as none"),
            LAST_EVENT_ID,
            TOKEN,
        ),
        media=(STREAM,),
        headers=OF_A_STREAM,
    ),
    ("GET", "/ws"): Operation(
        {101: {}},
        ("upgrade_required", "origin_refused", "validation", "quota_exceeded"),
        (SEC_WEBSOCKET_PROTOCOL,),
    ),
    ("GET", "/batches/{id}"): Operation({200: ref("BatchCounts")}, ("batch_not_found",)),
    ("POST", "/batches/{id}/cancel"): Operation(
        {200: ref("BatchCounts"), 202: ref("BatchCounts")},
        ("batch_not_found", *FIELDS),
        body=ref("Cancel"),
        body_needed=False,
    ),
    ("GET", "/batches/{id}/results"): Operation({200: TEXT}, ("batch_not_found",), media=(LINES,)),
    ("POST", "/bulk"): Operation({200: ref("BulkReply")}, (*FIELDS, "bad_cursor", "queue_full"), body=ref("Bulk")),
    ("GET", "/{id}"): Operation(
        {200: ref("AnyJob"), 304: {}},
        ("job_not_found", "validation"),
        (
            WAIT,
            PREFER,
            SINCE,
            listed("include", one_of("payload", "attempts"), "what to add"),
            IF_NONE_MATCH,
        ),
        headers=(*OF_A_JOB, "Preference-Applied"),
    ),
    ("DELETE", "/{id}"): Operation({204: {}}, ("job_not_found", "job_live")),
    ("GET", "/{id}/deliveries"): Operation({200: ref("Deliveries")}, ("job_not_found",)),
    ("POST", "/deliveries/{id}/redeliver"): Operation({202: ref("Delivery")}, ("job_not_found",)),
    ("GET", "/{id}/events"): Operation(
        {200: ref("EventPage"), 204: {}},
        ("job_not_found", "not_acceptable", "validation", "quota_exceeded"),
        (
            query("after", NUMBER, "the number of the last event the caller has; 0 is from the start"),
            TOKEN,
            LAST_EVENT_ID,
            query("limit", bounded(1, MAX_EVENTS_PAGE, EVENTS_PAGE), "events to a page of JSON"),
            WAIT,
        ),
        media=(JSON, STREAM),
        headers=OF_A_STREAM,
    ),
    ("GET", "/{id}/output"): Operation(
        {200: TEXT},
        ("job_not_found", "validation"),
        (
            query("after", NUMBER, "the number of characters the caller has"),
            query("channel", TEXT | {"default": "text"}, "a channel"),
        ),
        media=(PLAIN,),
        headers=OF_OUTPUT,
    ),
    ("GET", "/{id}/result"): Operation(
        {200: {}, 202: ref("AnyJob")}, ("job_not_found", "job_failed", "job_cancelled"), headers=OF_A_JOB
    ),
    ("POST", "/{id}/cancel"): Operation(
        {200: ref("AnyJob"), 202: ref("AnyJob")},
        ("job_not_found", *FIELDS),
        body=ref("Cancel"),
        body_needed=False,
        headers=OF_A_JOB,
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
        ref("Retry"),
        body_needed=False,
        headers=(*OF_A_JOB, *OF_A_QUOTA, "Location"),
    ),
    ("POST", "/{id}/signals/{name}"): Operation(
        {202: ref("AnyJob")},
        ("job_not_found", "job_ended", "inbox_full", "validation", *BODY),
        (KEY,),
        {},
        body_needed=False,
        headers=OF_A_JOB,
    ),
    ("GET", "/healthz"): Operation({200: record({"status": one_of("ok")})}),
    ("GET", "/readyz"): Operation({200: ref("Readiness"), 503: ref("Readiness")}),
    ("GET", "/metrics"): Operation({200: TEXT}, media=(PLAIN,)),
    ("GET", "/openapi.json"): Operation({200: FREE}),
}

BY_SECRET: tuple[Schema, ...] = ({"secret": []},)
CALLED = ("unauthenticated", "request_timeout", "payload_too_large", "internal_error", "store_unavailable")
NAMED = record({"jobId": TEXT, "turn": WHOLE})

OF_PUSHES: Mapping[Endpoint, Operation] = {
    push.run_slice: Operation({200: record({"ran": BOOLEAN})}, CALLED, body=NAMED, body_needed=False),
    push.dead_letter: Operation({200: record({"failed": BOOLEAN})}, CALLED, body=FREE, body_needed=False),
    push.sweep: Operation({200: record({"ran": COUNT})}, CALLED, security=BY_SECRET),
    push.sweep_by_get: Operation({200: record({"ran": COUNT})}, CALLED, security=BY_SECRET),
}
"""Of what a push calls, whose addresses go by its name."""

Leads = Mapping[str, Mapping[str, Any]]

MEANING = {
    101: "the connection is a WebSocket",
    200: "it is done",
    201: "it is made",
    202: "it is accepted",
    204: "there is nothing to send",
    304: "nothing has changed",
}
MEANING |= {503: "jobs do not get done"}


def describe(app: Outlast, routes: Iterable[tuple[str, Route]], root: str, *, by_key: bool = False) -> dict[str, Any]:
    """The document. `routes` come with the path they are mounted under, `root` is the path before all of them.

    `by_key`: nobody comes in without an API key, as far as is known.
    """
    found = list(routes)
    leads = links(route for _, route in found)
    paths: dict[str, Any] = {}
    for prefix, route in found:
        item = paths.setdefault(prefix + route.path, {})
        if names := in_path(route.path, app.limits):
            item["parameters"] = names
        item[route.method.lower()] = _operation(route, leads)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Outlast", "version": version("outlast"), "summary": "AI jobs that outlast the request"},
        "servers": [{"url": root or "/"}],
        "paths": paths,
        "components": {
            "schemas": {**schemas.FIXED, **bodies.FIXED, **of_handlers(app.handlers, app.limits)},
            "headers": dict(HEADERS),
            "links": {f"{schema}.{name}": link for schema, named in leads.items() for name, link in named.items()},
            "securitySchemes": _who_may_come(app),
        },
        "security": [{"key": []}] if by_key else [{"key": []}, {}],
    }


def _who_may_come(app: Outlast) -> dict[str, Schema]:
    bearer: Schema = {"type": "http", "scheme": "bearer"}
    return {"key": bearer} if app.push is None else {"key": bearer, "secret": bearer | {"description": "CRON_SECRET"}}


def told_of(route: Route) -> Operation:
    """What is said of a route beside its docstring."""
    return OF_PUSHES.get(route.endpoint) or OPERATIONS[route.method, route.path]


def _operation(route: Route, leads: Leads) -> dict[str, Any]:
    told = told_of(route)
    made: dict[str, Any] = {
        "operationId": route.endpoint.__name__,
        "summary": (getdoc(route.endpoint) or "").partition("\n")[0],
        "responses": _responses(route, told, leads),
    }
    if route.scope is None:
        made["security"] = list(told.security)
    parameters = [*told.parameters, *([OUTLAST_OWNER] if route.scope in USUAL_SCOPES else ())]
    if parameters:
        made["parameters"] = parameters
    if told.body is not None:
        made["requestBody"] = {"content": {told.body_media: {"schema": told.body}}, "required": told.body_needed}
    return made


def _responses(route: Route, told: Operation, leads: Leads) -> dict[str, Any]:
    responses = {str(status): _reply(status, schema, told, leads) for status, schema in told.replies.items()}
    always = () if route.scope is None else EVERYWHERE + (UNSAFE if route.method != "GET" else ())
    if route.scope in USUAL_SCOPES:
        always += ("validation",)
    codes: dict[int, list[str]] = {}
    for code in dict.fromkeys((*told.problems, *always)):
        codes.setdefault(CODES[code][0], []).append(code)
    for status, found in sorted(codes.items()):
        responses[str(status)] = {
            "description": ", ".join(found),
            "headers": headers(*(name for code in found for name in OF_PROBLEMS.get(code, ()))),
            "content": {"application/problem+json": {"schema": ref("Problem")}},
        }
    return responses


def _reply(status: int, schema: Schema, told: Operation, leads: Leads) -> dict[str, Any]:
    reply: dict[str, Any] = {"description": MEANING[status], "headers": headers(*told.headers)}
    if status not in (101, 204, 304):
        reply["content"] = {name: {"schema": ref("Frame") if name == STREAM else schema} for name in told.media}
    name = schema.get("$ref", "").rpartition("/")[2]
    if name in leads:
        reply["links"] = {target: {"$ref": f"#/components/links/{name}.{target}"} for target in leads[name]}
    return reply
