"""The web layer: knows the app and the job, never a store."""

from outlast.web.api import asgi, mount
from outlast.web.auth import Principal

__all__ = ["Principal", "asgi", "mount"]
