"""Outlast: AI jobs that outlast the request.

from outlast import Outlast, Context

app = Outlast()

@app.handler
async def greet(ctx: Context, name: str) -> str:
    return f"Hello {name}"
"""

from outlast.app import Outlast
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
    OutlastError,
    Retry,
    SignalTimeout,
    StepTimeout,
    StoreError,
    StoreUnavailable,
    WaitTimeout,
)
from outlast.job import Event, Job, Status, Step
from outlast.principal import Principal
from outlast.stores import open_store

__all__ = [
    "ConfigurationError",
    "Context",
    "ContextClosed",
    "Event",
    "Fail",
    "IdempotencyKeyReused",
    "InvalidRequest",
    "Job",
    "JobConflict",
    "JobNotFound",
    "Outlast",
    "OutlastError",
    "Principal",
    "Retry",
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
