"""The stand-alone service: the jobs, beside them health and description, and whatever pages are served with them."""

from collections.abc import Callable, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Receive, Scope, Send

from outlast.app import Outlast
from outlast.principal import METRICS
from outlast.web.auth import ANYBODY, Authenticate, Door
from outlast.web.call import Call
from outlast.web.health import healthz, readyz
from outlast.web.metrics import metrics
from outlast.web.push import push_routes
from outlast.web.replies import json_reply
from outlast.web.surface import BareMount, Route, Surface

MOUNT = "/jobs"


async def index(call: Call) -> Response:
    """What there is, for somebody who opens the bare address. A page of the same path goes before it."""
    there = {"jobs": MOUNT, "openapi": "/openapi.json", "health": "/healthz", "ready": "/readyz", "metrics": "/metrics"}
    return json_reply({"name": "outlast"} | {name: call.root + path for name, path in there.items()})


async def openapi(call: Call) -> Response:
    """This service in the words of OpenAPI."""
    from outlast.web.api import JOBS
    from outlast.web.openapi import describe

    routes = [(MOUNT, route) for route in JOBS] + [("", route) for route in beside_jobs(call.app)]
    by_key = call.principal is not ANYBODY and "authorization" in call.request.headers
    return json_reply(describe(call.app, routes, call.root, by_key=by_key))


SERVICE = (
    Route("GET", "/healthz", healthz, None),
    Route("GET", "/readyz", readyz, None),
    Route("GET", "/metrics", metrics, METRICS),
    Route("GET", "/openapi.json", openapi, ""),
)


def beside_jobs(app: Outlast) -> tuple[Route, ...]:
    """The service's own routes, and what a push calls."""
    return (*SERVICE, *push_routes(app.push, "/push"))


def service(
    app: Outlast,
    *,
    worker: bool = True,
    authenticate: Authenticate | None = None,
    pages: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """The service as an ASGI app, which connects and works for as long as it lives.

    Parameters
    ----------
    worker: run jobs in this process too.
    authenticate: as in `app.mount`.
    pages: routes to be served beside the service's own.
    """
    door = Door(app, authenticate)
    own = beside_jobs(app)
    beside = Surface(app, (*own, Route("GET", "", index, None)), door)
    routes: list[BaseRoute] = [
        *(Path(route.path, beside) for route in own),
        *pages,
        BareMount("", app=beside),
    ]
    others = Starlette(routes=routes, lifespan=partial(app.lifespan, worker=worker))
    return Service(BareMount(MOUNT, app=Later(lambda: _jobs(app, door))), others)


def _jobs(app: Outlast, door: Door) -> ASGIApp:
    from outlast.web.api import JOBS

    return Surface(app, JOBS, door)


class Later:
    """An ASGI app that is made for its first request: a function that runs a slice does not pay for it at its start."""

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make
        self._made: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._made = self._made or self._make()
        await self._made(scope, receive, send)


class Service:
    """The ASGI app. Requests for jobs go straight to them, and pay for nothing that finds pages."""

    def __init__(self, jobs: BareMount, others: ASGIApp) -> None:
        self._jobs = jobs
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match, inner = self._jobs.matches(scope)
        if match is Match.FULL:
            # The app that an `authenticate` finds as `request.app`.
            scope.update(inner, app=self._others)
            await self._jobs.app(scope, receive, send)
        else:
            await self._others(scope, receive, send)
