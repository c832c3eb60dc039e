"""Pages of other origins: what a browser lets them see and send (WHATWG Fetch, 3.2). Off, unless the app names them."""

import re
from collections.abc import Collection

from starlette.requests import Request
from starlette.responses import Response

from outlast.errors import ConfigurationError

EXPOSED = (
    "ETag, Idempotency-Replayed, Link, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, Sunset, "
    "WWW-Authenticate, X-Output-Complete, X-Output-Offset, X-Output-Resets, X-Request-Id"
)

PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
    "Access-Control-Allow-Headers": (
        "Authorization, Cancel-After, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer, traceparent"
    ),
    "Access-Control-Max-Age": "600",
}

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")


class Cors:
    """The origins whose pages may come, each with the cookies and headers of its user."""

    def __init__(self, origins: Collection[str]) -> None:
        for origin in origins:
            if not isinstance(origin, str) or not ORIGIN.fullmatch(origin):
                raise ConfigurationError(
                    f"cors: {str(origin)[:64]!r} is no origin; name each as browsers do, such as https://shop.example "
                    "(lower case, no path), for any page at all could act for its visitor otherwise"
                )
        self._origins = frozenset(origins)

    def allows(self, origin: str | None) -> bool:
        """True if pages of this origin may come. `null` is none: any sandboxed page has it."""
        return origin in self._origins

    def headers(self, request: Request) -> list[tuple[bytes, bytes]]:
        """What every reply says, errors and 304 too, or a page would not learn what was wrong; as bytes, in order."""
        exposed = (b"access-control-expose-headers", EXPOSED.encode())
        origin = request.headers.get("origin")
        if origin is None or not self.allows(origin):
            return [exposed]
        allowed = (b"access-control-allow-origin", origin.encode())
        return [exposed, allowed, (b"access-control-allow-credentials", b"true")]

    def preflight(self, request: Request) -> Response | None:
        """The answer to a browser that asks whether it may send a request; it has no key to show yet."""
        asks = request.method == "OPTIONS" and "access-control-request-method" in request.headers
        return Response(None, 204, PREFLIGHT) if asks and self.allows(request.headers.get("origin")) else None
