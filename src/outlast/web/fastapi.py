"""The surface as a FastAPI router: its operations stand in the host's own description, its dependencies go first.

FastAPI finds the route, runs what the host hangs before it, and hands the rest to the surface, which is the one place
that answers. What is no route of ours goes the same way, so that nothing gets by the host's dependencies.

A router brings paths into the host's description and no components, so each operation says all of itself.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from outlast.app import Outlast
from outlast.web.api import all_routes
from outlast.web.auth import Authenticate, Door
from outlast.web.openapi import describe, told_of
from outlast.web.surface import Route, Surface, below_root

COMPONENT = "#/components/"


def router(app: Outlast, authenticate: Authenticate | None = None) -> APIRouter:
    """See `Outlast.router`."""
    routes = all_routes(app)
    surface = Surface(app, routes, Door(app, authenticate))
    operations = Operations(app, routes, keyed=authenticate is None)
    keys = [] if authenticate else [Depends(HTTPBearer(scheme_name="outlast", auto_error=False))]
    made = APIRouter(tags=["jobs"])
    for route in routes:
        made.add_api_route(
            route.path,
            _endpoint(surface, route.path),
            name=f"outlast_{route.endpoint.__name__}",
            methods=[route.method],
            dependencies=[] if route.scope is None else keys,
            status_code=next(iter(told_of(route).replies)),
            response_class=Handed,
            response_model=None,
            openapi_extra=Told(operations, route),
        )
    for path, below in (("", ""), ("/{below:path}", "/{below}")):
        made.add_api_route(
            path,
            _endpoint(surface, below),
            methods=[],  # any of them
            operation_id="outlast",  # FastAPI would make one of the methods
            response_model=None,
            include_in_schema=False,
        )
        made.add_api_websocket_route(path, _connection(surface, below))
    return made


# -- the way to the surface -----------------------------------------------------------------------------------------


class Handed(Response):
    """The surface's answer, where FastAPI takes a response."""

    def __init__(self, surface: Surface, request: Request, below: str) -> None:
        super().__init__()
        self._surface = surface
        self._request = request
        self._below = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._surface(_moved(self._request, self._below), _again(self._request), send)
        if self.background is not None:
            await self.background()


def _endpoint(surface: Surface, below: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Handed(surface, request, below)

    return answer


def _connection(surface: Surface, below: str) -> Callable[[WebSocket], Awaitable[None]]:
    async def connect(websocket: WebSocket) -> None:
        async def send(message: Message) -> None:
            """As a server's own does, it raises OSError where nobody is there any more."""
            if websocket.application_state is WebSocketState.DISCONNECTED:
                raise ConnectionResetError("the WebSocket is closed")
            try:
                await websocket.send(message)
            except WebSocketDisconnect as error:
                raise ConnectionResetError("the WebSocket is closed") from error

        await surface(_moved(websocket, below), websocket.receive, send)

    return connect


def _moved(connection: HTTPConnection, below: str) -> Scope:
    """The scope as a mount at the router's prefix would have it."""
    scope = connection.scope
    rest = below.format_map(connection.path_params)
    root = scope.get("root_path", "").rstrip("/") + below_root(scope).removesuffix(rest)
    return {**scope, "root_path": root, "path": root + rest}


def _again(request: Request) -> Receive:
    """The request from its start, for a dependency may have read the body."""
    body = request.stream()

    async def receive() -> Message:
        try:
            piece = await anext(body, None)
        except ClientDisconnect:
            return {"type": "http.disconnect"}
        if piece is None:
            return await request.receive()
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    return receive


# -- the host's description -----------------------------------------------------------------------------------------


class Operations:
    """What is said of each route, by the handlers that there are when it is asked for."""

    def __init__(self, app: Outlast, routes: Sequence[Route], *, keyed: bool) -> None:
        self._app = app
        self._routes = routes
        self._keyed = keyed
        self._made: dict[tuple[str, str], dict[str, Any]] = {}
        self._handlers = -1

    def of(self, route: Route) -> dict[str, Any]:
        if self._handlers != len(self._app.handlers):
            self._handlers = len(self._app.handlers)
            self._made = self._make()
        return self._made[route.method, route.path]

    def _make(self) -> dict[tuple[str, str], dict[str, Any]]:
        document = describe(self._app, [("", route) for route in self._routes], "")
        components = document["components"]
        return {
            (route.method, route.path): self._alone(document["paths"][route.path], route.method.lower(), components)
            for route in self._routes
        }

    def _alone(self, item: Mapping[str, Any], method: str, components: Mapping[str, Any]) -> dict[str, Any]:
        # Links name operations, and security its schemes; the host has names of its own for both.
        operation = {name: value for name, value in item[method].items() if name not in ("operationId", "security")}
        replies = {
            status: {name: value for name, value in reply.items() if name != "links"}
            for status, reply in operation["responses"].items()
        }
        operation["responses"] = replies
        parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
        if parameters:
            operation["parameters"] = parameters
        if self._keyed and "security" not in item[method]:
            operation["security"] = [{}]  # beside the key: a server without keys lets everybody in
        alone: dict[str, Any] = whole(operation, components)
        return alone


class Told(dict[str, Any]):
    """What is said of one route. FastAPI reads it for each description it makes, and handlers may have come since."""

    def __init__(self, operations: Operations, route: Route) -> None:
        super().__init__(operations.of(route))
        self._operations = operations
        self._route = route

    def items(self) -> Any:
        self.update(self._operations.of(self._route))
        return super().items()


def whole(value: Any, components: Mapping[str, Any], within: tuple[str, ...] = ()) -> Any:
    """A schema with what its references name in their place. Within itself a component is any value."""
    if isinstance(value, list):
        return [whole(one, components, within) for one in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith(COMPONENT):
        kind, _, name = reference.removeprefix(COMPONENT).partition("/")
        beside = {key: one for key, one in value.items() if key != "$ref"}
        if name in within:
            return {"description": f"{name} again"} | beside
        return whole(components[kind][name], components, (*within, name)) | whole(beside, components, within)
    named = isinstance(value.get("discriminator"), dict) and "mapping" in value["discriminator"]
    # A discriminator picks by the names of components.
    return {key: whole(one, components, within) for key, one in value.items() if not (named and key == "discriminator")}
