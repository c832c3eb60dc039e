"""The web layer: knows the app and the job, never a store. What it needs comes with the extra `server`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from outlast.errors import ConfigurationError
from outlast.principal import Principal

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.types import ASGIApp

    from outlast.app import Outlast
    from outlast.web.auth import Authenticate

__all__ = ["Principal", "asgi", "mount", "router"]

INSTALL = 'pip install ".[server]" in a checkout of Outlast (it is not on PyPI yet)'
"""How one comes by the extra."""

NEEDED = {
    "anyio": ("HTTP", INSTALL),
    "starlette": ("HTTP", INSTALL),
    "fastapi": ("app.router()", "pip install fastapi; app.mount and app.asgi do without"),
}


def asgi(app: "Outlast", authenticate: "Authenticate | None" = None) -> "ASGIApp":
    """See `Outlast.asgi`. Raises ConfigurationError where the extra is not installed."""
    with _explained():
        from outlast.web import api
    return api.asgi(app, authenticate)


def mount(app: "Outlast", host: Any, path: str = "/jobs", authenticate: "Authenticate | None" = None) -> None:
    """See `Outlast.mount`. Raises ConfigurationError where the extra is not installed, or the host takes no routes."""
    with _explained():
        from outlast.web import api
    api.mount(app, host, path, authenticate)


def router(app: "Outlast", authenticate: "Authenticate | None" = None) -> "APIRouter":
    """See `Outlast.router`. Raises ConfigurationError where FastAPI or the extra is not installed."""
    with _explained():
        from outlast.web import fastapi
    return fastapi.router(app, authenticate)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in NEEDED:
            raise
        what, how = NEEDED[missing]
        raise ConfigurationError(f"{missing} is not installed; {what} needs: {how}") from error
