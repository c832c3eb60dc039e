"""The HTTP surface of the jobs: its routes, and how it is put into a host."""

from typing import Any

from starlette.types import ASGIApp

from outlast.app import Outlast
from outlast.errors import ConfigurationError
from outlast.principal import ADMIN, CANCEL, READ, WRITE
from outlast.web import attachments, batches, deliveries, jobs, lists, operators, tokens
from outlast.web.auth import Authenticate, Door
from outlast.web.bulk import bulk
from outlast.web.events import events
from outlast.web.feed import feed
from outlast.web.push import push_routes
from outlast.web.sockets import socket, upgrade
from outlast.web.surface import BareMount, Route, Surface

JOBS = (
    Route("POST", "", jobs.submit, WRITE),
    Route("GET", "", lists.find, READ),
    Route("POST", "/attachments", attachments.attach, WRITE),
    Route("POST", "/batch", batches.submit_batch, WRITE),
    Route("POST", "/bulk", bulk, ADMIN),
    Route("POST", "/status", lists.status, READ),
    Route("GET", "/summary", lists.summary, READ),
    Route("GET", "/stats", operators.stats, ADMIN),
    Route("GET", "/workers", operators.workers, ADMIN),
    Route("POST", "/tokens", tokens.mint_for_owner, WRITE),
    Route("GET", "/events", feed, READ),
    Route("GET", "/ws", socket, READ, upgrade),
    Route("GET", "/batches/{id}", batches.show_batch, READ),
    Route("POST", "/batches/{id}/cancel", batches.cancel_batch, CANCEL),
    Route("GET", "/batches/{id}/results", batches.batch_results, READ),
    Route("POST", "/deliveries/{id}/redeliver", deliveries.redeliver, WRITE),
    Route("GET", "/{id}", jobs.show, READ),
    Route("DELETE", "/{id}", jobs.delete, WRITE),
    Route("GET", "/{id}/deliveries", deliveries.show_deliveries, READ),
    Route("GET", "/{id}/events", events, READ),
    Route("GET", "/{id}/output", jobs.show_output, READ),
    Route("GET", "/{id}/result", jobs.result, READ),
    Route("POST", "/{id}/cancel", jobs.cancel, CANCEL),
    Route("POST", "/{id}/retry", jobs.retry, WRITE),
    Route("POST", "/{id}/tokens", tokens.mint_for_job, WRITE),
    Route("POST", "/{id}/signals/{name}", jobs.signal, WRITE),
)
"""Below the mount point."""


def all_routes(app: Outlast) -> tuple[Route, ...]:
    """Those of the jobs, and with them what a push calls, for a host that gives them no place beside."""
    return (*JOBS, *push_routes(app.push, "/push"))


def asgi(app: Outlast, authenticate: Authenticate | None = None) -> ASGIApp:
    """The surface as an ASGI app that holds no `/jobs` of its own."""
    return Surface(app, all_routes(app), Door(app, authenticate))


def mount(app: Outlast, host: Any, path: str = "/jobs", authenticate: Authenticate | None = None) -> None:
    """Put the surface under a path of a Starlette or FastAPI app, and what a push calls beside it.

    Raises ConfigurationError if the host is neither.
    """
    routes = getattr(getattr(host, "router", None), "routes", None)
    if not isinstance(routes, list):
        raise ConfigurationError(f"{type(host).__name__} has no routes to add to; mount app.asgi() there by hand")
    if not path.startswith("/") or path.endswith("/"):
        raise ConfigurationError(f"the path {path!r} must begin with a slash and end without one")
    door = Door(app, authenticate)
    routes.append(BareMount(path, app=Surface(app, JOBS, door), name="outlast"))
    if pushes := push_routes(app.push):
        beside = f"{path.rpartition('/')[0]}/push"
        routes.append(BareMount(beside, app=Surface(app, pushes, door), name="outlast push"))
