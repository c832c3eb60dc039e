"""The bodies of requests that are the same for all handlers, as JSON schemas, by what reads them."""

from collections.abc import Collection, Mapping

from outlast.bulk import FITS
from outlast.callback import LONGEST
from outlast.ends import ENDS
from outlast.tokens import LONGEST as LONGEST_TTL
from outlast.tokens import TTL
from outlast.web.jobs import LONGEST_REASON, ORIGINS
from outlast.web.lists import MOST_IDS
from outlast.web.schemas import SOME_TEXT, TEXT, Schema, bounded, one_of, or_null, record
from outlast.web.strict_json import MAX_WHOLE

REASON = or_null(TEXT | {"maxLength": LONGEST_REASON})
ORIGIN = one_of(*ORIGINS)

CANCEL = record({"reason": REASON}, optional=("reason",), closed=True)
RETRY = record({"from": ORIGIN}, optional=("from",), closed=True)
STATUS = record({"ids": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": MOST_IDS}}, closed=True)

WEBHOOK = record(
    {
        "url": {"type": "string", "format": "uri", "maxLength": LONGEST},
        "events": {"type": "array", "items": one_of(*ENDS), "minItems": 1},
        "full": {"type": "boolean", "default": False},
    },
    optional=("events", "full"),
    closed=True,
)

# -- many jobs ------------------------------------------------------------------------------------------------------


def _bulk(action: str, statuses: Collection[str]) -> Schema:
    status = one_of(*sorted(statuses))
    filters = {
        "status": {"anyOf": [status, {"type": "array", "items": status, "minItems": 1}]},
        "type": SOME_TEXT,
        "owner": or_null(SOME_TEXT),
        "tag": SOME_TEXT,
        "olderMs": {"type": "integer", "minimum": 0, "maximum": MAX_WHOLE},
    }
    others = {
        "filter": record(filters, optional=tuple(filters), closed=True),
        "all": {"type": "boolean", "default": False},
        "dryRun": {"type": "boolean", "default": False},
        "cursor": or_null(TEXT),
        "reason": REASON,
        "from": ORIGIN,
    }
    body = record({"action": {"const": action}, **others}, optional=tuple(others), closed=True)
    return body | {"anyOf": [SOME, EVERY]}


SOME: Schema = {"properties": {"filter": {"minProperties": 1}}, "required": ["filter"]}
EVERY: Schema = {"properties": {"all": {"const": True}}, "required": ["all"]}

BULK: Schema = {"oneOf": [_bulk(action, statuses) for action, statuses in FITS.items()]}

# -- tokens ---------------------------------------------------------------------------------------------------------

TTL_MS = bounded(1000, int(LONGEST_TTL * 1000), int(TTL * 1000))


def _scopes(*words: str) -> Schema:
    return {"type": "array", "items": one_of(*words), "minItems": 1}


JOB_TOKEN = record({"scope": _scopes("read", "cancel"), "ttlMs": TTL_MS}, optional=("scope", "ttlMs"), closed=True)


def owner_token(types: Collection[str]) -> Schema:
    """A feed's, or that of a submit of one of the types."""
    feed = {"scope": _scopes("read") | {"maxItems": 1}, "ttlMs": TTL_MS}
    submit = {"scope": _scopes("submit") | {"maxItems": 1}, "type": one_of(*types), "ttlMs": TTL_MS}
    choices = [record(feed, optional=("scope", "ttlMs"), closed=True)]
    choices += [record(submit, optional=("ttlMs",), closed=True)] if types else []
    return {"oneOf": choices}


FIXED: Mapping[str, Schema] = {
    "Bulk": BULK,
    "Cancel": CANCEL,
    "JobToken": JOB_TOKEN,
    "Retry": RETRY,
    "StatusOf": STATUS,
    "Webhook": WEBHOOK,
}
