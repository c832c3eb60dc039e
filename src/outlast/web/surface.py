"""A list of routes as an ASGI app: finds the route, lets the caller in, turns errors into problems."""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import getrandbits
from typing import NamedTuple, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.types import Receive, Scope, Send

from outlast.app import Outlast
from outlast.errors import StoreRefused
from outlast.principal import Principal
from outlast.web.auth import NOBODY, Door, require
from outlast.web.call import Call, Shared
from outlast.web.holder import require_place
from outlast.web.problems import Problem, problem_of, reply, unexpected

logger = logging.getLogger("outlast.web")


Endpoint = Callable[[Call], Awaitable[Response]]


class Upgrade(Protocol):
    """Makes a connection of a handshake. Raises Problem to refuse it."""

    async def __call__(self, call: Call, door: Door, *, known: bool) -> Response: ...


class Route(NamedTuple):
    """One method of one path. `scope` is what the caller needs; "" is any caller, None anybody at all.

    `upgrade` answers a WebSocket's handshake there; where that has told who asks, it is `known`.
    """

    method: str
    path: str
    endpoint: Endpoint
    scope: str | None
    upgrade: Upgrade | None = None

    def match(self, path: str) -> Mapping[str, str] | None:
        """The parameters of a path that is this route's; None if it is not."""
        own, parts = self.path.split("/"), path.split("/")
        if len(own) != len(parts):
            return None
        params = {name[1:-1]: part for name, part in zip(own, parts, strict=True) if name.startswith("{")}
        fixed = all(name.startswith("{") or name == part for name, part in zip(own, parts, strict=True))
        return params if fixed and all(params.values()) else None


Found = Sequence[tuple[Route, Mapping[str, str]]]
"""The routes of a path, whatever their method, with what the path names."""


EVERYWHERE = (
    (b"x-content-type-options", b"nosniff"),
    (b"vary", b"Accept, Authorization, Cookie, Origin, Outlast-Owner"),
)
"""Headers of every reply."""


class Surface:
    """The ASGI app."""

    def __init__(self, app: Outlast, routes: Sequence[Route], door: Door) -> None:
        self._app = app
        self._door = door
        self._fixed: dict[str, list[tuple[Route, Mapping[str, str]]]] = defaultdict(list)
        self._others: dict[int, list[Route]] = defaultdict(list)
        for route in routes:
            if "{" in route.path:
                self._others[route.path.count("/")].append(route)
            else:
                self._fixed[route.path].append((route, {}))
        self._shared = Shared()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(f"this app answers HTTP, not {scope['type']}")
        is_socket = scope["type"] == "websocket"
        # A handshake is a GET (RFC 6455, 4.1), and so is who sends it asked for.
        request = Request({**scope, "type": "http", "method": "GET"} if is_socket else scope, receive)
        request_id = f"req_{getrandbits(64):016x}"
        try:
            answer = self._upgrade if is_socket else self._answer
            response = self._door.cors.preflight(request) or await answer(request, request_id)
        except ClientDisconnect:
            return
        except Exception as error:
            response = reply(_problem(error, request, request_id), instance=scope["path"], request_id=request_id)
        response.headers.setdefault("Cache-Control", "no-store")
        # As bytes, for each reply pays for it.
        response.raw_headers += [(b"x-request-id", request_id.encode()), *EVERYWHERE, *self._door.cors.headers(request)]
        await response(scope, receive, send)

    async def _answer(self, request: Request, request_id: str) -> Response:
        """Who asks is settled first, so that nobody learns from a reply which addresses there are."""
        found = self._routes_of(below_root(request.scope))
        public = any(route.scope is None for route, _ in found)
        caller: Principal | None = None
        try:
            caller = NOBODY if public else await self._door.enter(request)
            return await self._served(request, request_id, caller, found)
        except Problem as problem:
            if problem.status in (401, 403):
                called = (caller and caller.name) or "a caller without a name"
                self._app.observe("access.denied", request_id=request_id, caller=called, code=problem.code)
            raise

    async def _served(self, request: Request, request_id: str, caller: Principal, found: Found) -> Response:
        if not found:
            raise Problem("not_found", "there is nothing at this address")
        require_place(caller, request.method, below_root(request.scope))
        method = "GET" if request.method == "HEAD" else request.method
        for route, params in found:
            if route.method == method:
                if route.scope:
                    require(caller, route.scope)
                return await route.endpoint(self._call(request, request_id, caller, params))
        return _other_method(request.method, {route.method for route, _ in found})

    async def _upgrade(self, request: Request, request_id: str) -> Response:
        principal = await self._door.greet(request)
        for route, _ in self._routes_of(below_root(request.scope)):
            if route.upgrade is not None:
                call = self._call(request, request_id, principal or NOBODY, {})
                return await route.upgrade(call, self._door, known=principal is not None)
        raise Problem("not_found", "there is no WebSocket at this address")

    def _call(self, request: Request, request_id: str, caller: Principal, params: Mapping[str, str]) -> Call:
        return Call(self._app, request, request_id, caller, params, self._shared)

    def _routes_of(self, path: str) -> Found:
        """A fixed word goes before the parameter it could be taken for."""
        if path in self._fixed:
            return self._fixed[path]
        alike = self._others.get(path.count("/"), ())
        return [(route, params) for route in alike if (params := route.match(path)) is not None]


def below_root(scope: Scope) -> str:
    """The path below the one this app is mounted under, itself "" and never "/"."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    below = path[len(root) :] if path == root or path.startswith(root + "/") else path
    return "" if below == "/" else below


class BareMount(Mount):
    """A mount that answers its own path too, without a redirect to a slash, which would lose a POST's body."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = below_root(scope) if scope["type"] in ("http", "websocket") else None
        if path is None or (path != self.path and not path.startswith(self.path + "/")):
            return Match.NONE, {}
        root = scope.get("root_path", "").rstrip("/")
        outer = {"app_root_path": scope.get("app_root_path", root), "path_params": dict(scope.get("path_params", {}))}
        # What a proxy cuts off, a server puts back into the path; FastAPI(root_path=...) only says what it was.
        whole = {"root_path": root + self.path, "path": root + path or "/"}
        return Match.FULL, outer | whole | {"endpoint": self.app}


def _other_method(method: str, methods: set[str]) -> Response:
    allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    allow = {"Allow": ", ".join(sorted(allowed))}
    if method == "OPTIONS":
        return Response(None, 204, allow)
    raise Problem("method_not_allowed", f"this address takes {allow['Allow']}", headers=allow)


def _problem(error: Exception, request: Request, request_id: str) -> Problem:
    problem = problem_of(error)
    if problem is None or isinstance(error, StoreRefused):
        extra = {"request_id": request_id, "action": "request.failed"}
        trace = error if problem is None else None
        logger.error("request %s (%s) failed: %s", request_id, request.method, error, exc_info=trace, extra=extra)
    return problem or unexpected()
