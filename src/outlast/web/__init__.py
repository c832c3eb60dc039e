"""The web layer: knows the app and the job, never a store."""

from outlast.principal import Principal
from outlast.web.api import asgi, mount

__all__ = ["Principal", "asgi", "mount"]
