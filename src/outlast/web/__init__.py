"""The web layer: knows the app and the job, never a store. What it needs comes with the extra `server`."""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from outlast.errors import ConfigurationError
from outlast.principal import Principal

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from outlast.app import Outlast
    from outlast.web.auth import Authenticate

__all__ = ["Principal", "asgi", "mount"]

INSTALL = 'pip install ".[server]" in a checkout of Outlast (it is not on PyPI yet)'
"""How one comes by the extra."""


def asgi(app: "Outlast", authenticate: "Authenticate | None" = None) -> "ASGIApp":
    """See `Outlast.asgi`. Raises ConfigurationError where the extra is not installed."""
    asgi: ASGIApp = _api().asgi(app, authenticate)
    return asgi


def mount(app: "Outlast", host: Any, path: str = "/jobs", authenticate: "Authenticate | None" = None) -> None:
    """See `Outlast.mount`. Raises ConfigurationError where the extra is not installed, or the host takes no routes."""
    _api().mount(app, host, path, authenticate)


def _api() -> ModuleType:
    try:
        from outlast.web import api
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("starlette", "anyio"):
            raise
        raise ConfigurationError(f"{missing} is not installed; HTTP needs: {INSTALL}") from error
    return api
