"""The shapes of the wire that are the same for all handlers, as JSON schemas (2020-12)."""

from collections.abc import Mapping
from typing import Any, get_args

from outlast.bulk import FITS
from outlast.ends import ENDS
from outlast.job import LIVE, RANK, EndCode, Status
from outlast.posting import Outcome
from outlast.web.problems import CODES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
SOME_TEXT: Schema = {"type": "string", "minLength": 1}
WHOLE: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
FREE: Schema = {"type": "object", "additionalProperties": True}


def matching(pattern: str) -> Schema:
    """Text that is all of this pattern."""
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def record(fields: Mapping[str, Schema], *, optional: tuple[str, ...] = (), closed: bool = False) -> Schema:
    """An object with these fields. Clients must let pass fields they do not know, unless it is closed."""
    required = [name for name in fields if name not in optional]
    schema: Schema = {"type": "object", "properties": dict(fields), "required": required}
    return schema | {"additionalProperties": False} if closed else schema


def bounded(low: int, high: int, default: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high, "default": default}


def one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


# -- the fixed ones -------------------------------------------------------------------------------------------------

JOB_ERROR = record(
    {
        "code": one_of(*get_args(EndCode)),
        "message": TEXT,
        "retryable": {"type": "boolean"},
        "attempt": WHOLE,
        "at": TIME,
        "advice": TEXT,
        "details": FREE,
    },
    optional=("advice", "details"),
)

STEP = record(
    {
        "name": TEXT,
        "index": WHOLE,
        "status": one_of("pending", "running", "completed", "failed"),
        "durationMs": WHOLE,
    },
    optional=("durationMs",),
)

ATTEMPT = record(
    {
        "attempt": WHOLE,
        "worker": or_null(TEXT),
        "startedAt": TIME,
        "endedAt": or_null(TIME),
        "status": one_of(*Status),
        "code": or_null(one_of(*get_args(EndCode))),
        "message": or_null(TEXT),
        "traceback": or_null(TEXT),
        "lines": {
            "type": "array",
            "items": record({"time": TIME, "level": TEXT, "logger": TEXT, "text": TEXT}),
        },
        "linesDropped": WHOLE,
    }
)

JOB_LITE_FIELDS: Mapping[str, Schema] = {
    "id": TEXT,
    "type": TEXT,
    "status": one_of(*Status),
    "version": WHOLE,
    "progress": or_null({"type": "number", "minimum": 0, "maximum": 100}),
    "currentStep": or_null(TEXT),
    "message": or_null(TEXT),
    "createdAt": TIME,
    "updatedAt": TIME,
    "completedAt": or_null(TIME),
}

JOB_LITE = record(
    {
        **JOB_LITE_FIELDS,
        "lastError": or_null(record({"code": TEXT, "message": TEXT})),
        "urls": record({"self": TEXT}),
    }
)

JOB = record(
    {
        **JOB_LITE_FIELDS,
        "owner": or_null(TEXT),
        "seq": WHOLE,
        "steps": {"type": "array", "items": ref("Step")},
        "priority": one_of(*RANK),
        "attempt": WHOLE,
        "retryCount": WHOLE,
        "maxRetries": WHOLE,
        "retryOf": or_null(TEXT),
        "batchId": or_null(TEXT),
        "externalId": or_null(TEXT),
        "tags": {"type": "array", "items": TEXT},
        "metadata": FREE,
        "waiting": or_null(
            record(
                {
                    "reason": one_of("sleep", "signal", "provider", "rate_limit"),
                    "until": or_null(TIME),
                    "signals": {"type": "array", "items": TEXT},
                }
            )
        ),
        "queuedAt": TIME,
        "startedAt": or_null(TIME),
        "cancelRequestedAt": or_null(TIME),
        "cancelReason": or_null(TEXT),
        "expiresAt": or_null(TIME),
        "deadline": or_null(TIME),
        "estimatedCompletion": or_null(TIME),
        "pollAfterMs": or_null(WHOLE),
        "output": record({"offset": WHOLE, "complete": {"type": "boolean"}}),
        "payload": FREE,
        "attempts": {"type": "array", "items": ref("Attempt")},
        "result": {},
        "lastError": or_null(ref("JobError")),
        "usage": or_null(FREE),
        "urls": record({"self": TEXT, "events": TEXT, "result": TEXT, "cancel": TEXT}),
        "warning": TEXT,
        "token": ref("Token"),
    },
    optional=("owner", "payload", "attempts", "result", "warning", "token"),
)

JOB_PAGE = record(
    {
        "data": {"type": "array", "items": ref("JobLite")},
        "nextCursor": or_null(TEXT),
        "hasMore": {"type": "boolean"},
    }
)

EVENT = record({"type": TEXT, "jobId": TEXT, "seq": WHOLE, "time": TIME, "attempt": WHOLE})

EVENT_PAGE = record({"data": {"type": "array", "items": ref("Event")}, "nextAfter": WHOLE})

FRAME = record({"id": TEXT, "event": TEXT, "data": TEXT, "retry": WHOLE}, optional=("id", "event", "data", "retry"))
"""One of a stream's; `data` is the JSON of an event."""

PROBLEM = record(
    {
        "type": TEXT,
        "title": TEXT,
        "status": WHOLE,
        "code": one_of(*CODES),
        "detail": TEXT,
        "instance": TEXT,
        "requestId": TEXT,
        "jobId": TEXT,
        "retryAfterMs": WHOLE,
        "violated-policies": {"type": "array", "items": TEXT},
        "limitBytes": WHOLE,
        "line": WHOLE,
        "column": WHOLE,
        "lastError": or_null(ref("JobError")),
        "errors": {
            "type": "array",
            "items": record(
                {"pointer": TEXT, "detail": TEXT, "in": one_of("query", "header")},
                optional=("in",),
            ),
        },
    },
    optional=(
        "instance",
        "requestId",
        "jobId",
        "retryAfterMs",
        "violated-policies",
        "limitBytes",
        "line",
        "column",
        "lastError",
        "errors",
    ),
)

READINESS = record(
    {
        "status": one_of("ready", "unavailable"),
        "reasons": {"type": "array", "items": record({"code": TEXT, "detail": TEXT})},
        "workers": {"type": "object", "additionalProperties": WHOLE},
        "oldestReadyMs": WHOLE,
    },
    optional=("workers", "oldestReadyMs"),
)

BULK_REPLY = record(
    {
        "action": one_of(*FITS),
        "dryRun": {"type": "boolean"},
        "matched": WHOLE,
        "byStatus": {"type": "object", "additionalProperties": WHOLE},
        "done": WHOLE,
        "skipped": WHOLE,
        "nextCursor": or_null(TEXT),
    },
    optional=("matched", "byStatus", "done", "skipped", "nextCursor"),
)

COUNTS: Mapping[str, Schema] = {status.value: WHOLE for status in Status}

BATCH_COUNTS = record(
    {
        "batchId": TEXT,
        "status": one_of("live", "ended"),
        "total": WHOLE,
        **COUNTS,
        "urls": record({"self": TEXT, "cancel": TEXT, "results": TEXT}),
    }
)

BATCH_REPLY = record(
    {
        "batchId": TEXT,
        "jobs": {
            "type": "array",
            "items": record(
                {"index": WHOLE, "id": TEXT, "replayed": {"const": True}, "problem": ref("Problem")},
                optional=("id", "replayed", "problem"),
            ),
        },
        "urls": record({"self": TEXT, "cancel": TEXT, "results": TEXT}),
    }
)

STATUS_REPLY = record(
    {
        "data": {"type": "object", "additionalProperties": ref("JobLite")},
        "missing": {"type": "array", "items": TEXT},
    }
)

SUMMARY = record(
    {
        "active": WHOLE,
        **{status.value: WHOLE for status in Status if status in LIVE},
        "completedSince": WHOLE,
        "failedSince": WHOLE,
        "newest": {"type": "array", "items": ref("JobLite")},
    },
    optional=("completedSince", "failedSince"),
)

STATS = record(
    {
        "total": record(COUNTS),
        "byType": {"type": "object", "additionalProperties": record(COUNTS)},
        "oldestReadyMs": WHOLE,
        "oldestDueMs": WHOLE,
    }
)

WORKER = record(
    {
        "id": TEXT,
        "host": TEXT,
        "pid": WHOLE,
        "types": {"type": "array", "items": TEXT},
        "slots": WHOLE,
        "running": WHOLE,
        "jobsEnded": WHOLE,
        "memoryBytes": or_null(WHOLE),
        "startedAt": TIME,
        "seenAt": TIME,
    }
)

TOKEN = record({"token": TEXT, "expiresAt": TIME})

DELIVERY = record(
    {
        "id": TEXT,
        "url": TEXT,
        "type": one_of(*ENDS),
        "status": one_of("pending", "delivered", "given_up"),
        "nextAt": or_null(TIME),
        "tries": {"type": "array", "items": record({"at": TIME, "outcome": one_of(*get_args(Outcome))})},
    }
)

ATTACHED = record({"attachment": TEXT, "digest": TEXT, "size": WHOLE, "mediaType": TEXT})

FIXED: Mapping[str, Schema] = {
    "Stats": STATS,
    "Workers": record({"data": {"type": "array", "items": WORKER}}),
    "Token": TOKEN,
    "BatchCounts": BATCH_COUNTS,
    "BatchReply": BATCH_REPLY,
    "StatusReply": STATUS_REPLY,
    "Summary": SUMMARY,
    "Job": JOB,
    "JobLite": JOB_LITE,
    "JobPage": JOB_PAGE,
    "JobError": JOB_ERROR,
    "Attempt": ATTEMPT,
    "Step": STEP,
    "Event": EVENT,
    "EventPage": EVENT_PAGE,
    "Delivery": DELIVERY,
    "Attached": ATTACHED,
    "Deliveries": record({"data": {"type": "array", "items": ref("Delivery")}}),
    "Frame": FRAME,
    "BulkReply": BULK_REPLY,
    "Problem": PROBLEM,
    "Readiness": READINESS,
}
