"""Outlast: AI jobs that outlast the request.

from outlast import Outlast, Context

app = Outlast()

@app.handler
async def greet(ctx: Context, name: str) -> str:
    return f"Hello {name}"
"""

from typing import TYPE_CHECKING, Any

from outlast.app import Outlast
from outlast.attachments import Attached, Attachment
from outlast.blocking import SyncContext
from outlast.context import Context
from outlast.errors import (
    ConfigurationError,
    ContextClosed,
    Fail,
    IdempotencyKeyReused,
    InvalidRequest,
    JobConflict,
    JobNotFound,
    NotAllowed,
    OutlastError,
    Retry,
    ServerUnavailable,
    SignalTimeout,
    StepTimeout,
    StoreError,
    StoreUnavailable,
    WaitTimeout,
)
from outlast.job import Event, Job, Status, Step
from outlast.principal import Principal
from outlast.stores import open_store
from outlast.webhooks import Endpoint

if TYPE_CHECKING:
    from outlast.client import Client

__all__ = [
    "Attached",
    "Attachment",
    "Client",
    "ConfigurationError",
    "Context",
    "ContextClosed",
    "Endpoint",
    "Event",
    "Fail",
    "IdempotencyKeyReused",
    "InvalidRequest",
    "Job",
    "JobConflict",
    "JobNotFound",
    "NotAllowed",
    "Outlast",
    "OutlastError",
    "Principal",
    "Retry",
    "ServerUnavailable",
    "SignalTimeout",
    "Status",
    "Step",
    "StepTimeout",
    "StoreError",
    "StoreUnavailable",
    "SyncContext",
    "WaitTimeout",
    "open_store",
]


def __getattr__(name: str) -> Any:
    # A program that submits to its own store has no use for it, and may not have what it needs.
    if name != "Client":
        raise AttributeError(f"module 'outlast' has no attribute {name!r}")
    try:
        from outlast.client import Client
    except ModuleNotFoundError as error:
        raise ConfigurationError("outlast.Client needs httpx2: pip install 'outlast[server]'") from error
    return Client
