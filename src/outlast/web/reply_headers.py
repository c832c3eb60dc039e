"""The headers of replies in the words of OpenAPI: what each means, and which replies may have it.

Those of HTTP itself and of the connection are left out, as OpenAPI has it for `Content-Type`.
"""

from collections.abc import Mapping

from outlast.web.schemas import TEXT, Schema, one_of


def _header(schema: Schema, description: str) -> Schema:
    return {"schema": schema, "description": description}


COUNT: Schema = {"type": "integer", "minimum": 0}

HEADERS: Mapping[str, Schema] = {
    "Access-Control-Allow-Credentials": _header(one_of("true"), "to a page of an origin that may come"),
    "Access-Control-Allow-Origin": _header(TEXT, "the origin, if its pages may come"),
    "Access-Control-Expose-Headers": _header(TEXT, "the headers that such a page may read"),
    "Cache-Control": _header(TEXT, "whether a cache may keep the reply"),
    "Connection": _header(TEXT, "the connection ends, or becomes another"),
    "Content-Encoding": _header(one_of("identity"), "a stream is never compressed"),
    "ETag": _header({"type": "string", "pattern": '^"[0-9a-v]+"$'}, "of a job, its version: send it as If-None-Match"),
    "Idempotency-Replayed": _header(one_of("true"), "the request is another's repetition"),
    "Link": _header(TEXT, "the job's addresses, or the next page's"),
    "Location": _header(TEXT, "the job's address"),
    "Preference-Applied": _header(TEXT, "what was honoured of Prefer"),
    "RateLimit": _header(TEXT, "how many submits are left, and for how many seconds"),
    "RateLimit-Policy": _header(TEXT, "how many submits there may be within how many seconds"),
    "Retry-After": _header(COUNT, "seconds until it is worth to ask again"),
    "Sunset": _header(TEXT, "when the ended job will be removed"),
    "Upgrade": _header(one_of("websocket"), "the protocol of this address"),
    "Vary": _header(TEXT, "the request headers on which the reply depends"),
    "WWW-Authenticate": _header(TEXT, "how a caller may say who it is"),
    "X-Accel-Buffering": _header(one_of("no"), "tells proxies to pass a stream on as it comes"),
    "X-Content-Type-Options": _header(one_of("nosniff"), "the media type is what it says"),
    "X-Output-Complete": _header(one_of("?0", "?1"), "?1 once nothing can follow"),
    "X-Output-Offset": _header(COUNT, "length of the whole text in characters"),
    "X-Output-Resets": _header(COUNT, "how often text was taken back"),
    "X-Request-Id": _header({"type": "string", "pattern": "^req_[0-9a-f]{16}$"}, "the request's number in the log"),
}

ALWAYS = (
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Cache-Control",
    "Vary",
    "X-Content-Type-Options",
    "X-Request-Id",
)
OF_A_JOB = ("ETag", "Link", "Retry-After", "Sunset")
OF_A_LIST = ("ETag", "Link")
OF_OUTPUT = ("X-Output-Complete", "X-Output-Offset", "X-Output-Resets")
OF_A_STREAM = ("Content-Encoding", "X-Accel-Buffering")
OF_A_QUOTA = ("RateLimit", "RateLimit-Policy")

OF_PROBLEMS: Mapping[str, tuple[str, ...]] = {
    "payload_too_large": ("Connection",),
    "quota_exceeded": ("Retry-After", *OF_A_QUOTA),
    "request_timeout": ("Connection",),
    "store_unavailable": ("Retry-After",),
    "unauthenticated": ("WWW-Authenticate",),
    "upgrade_required": ("Connection", "Upgrade"),
}
"""By the code of a problem: what its reply says beside it."""


def headers(*names: str) -> dict[str, Schema]:
    """These, and those of every reply."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in sorted({*ALWAYS, *names})}
