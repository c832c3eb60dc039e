"""Every error Outlast raises, in one tree; and beside it what ends a slice.

    OutlastError
    ├── ConfigurationError     a setting, a URL or a registration is wrong
    ├── InvalidRequest         what was asked for cannot be accepted
    │   └── IdempotencyKeyReused   the key belongs to another request
    ├── JobNotFound            no such job for this owner
    ├── JobConflict            the job is not in a status that allows this
    ├── WaitTimeout            the job is still live; nothing happened to it
    ├── NotAllowed             a server does not know the caller, or does not let it do this
    ├── ServerUnavailable      a server does not answer; try again
    ├── StoreError
    │   ├── StoreUnavailable   the store does not answer; try again
    │   └── StoreRefused       the store is not what it should be: damaged, newer, read-only
    ├── IllegalMove            a move that the life of a job does not have
    └── HandlerError           raised inside a handler
        ├── Retry              raised by a handler: try again later
        ├── Fail               raised by a handler: do not try again
        ├── SignalTimeout      ctx.wait_for gave up waiting
        ├── StepTimeout        a step ran longer than its own timeout
        ├── NotJson            a value that JSON cannot hold
        │   └── Misfit             a value that is not what its annotation says
        └── LimitExceeded      a cap of the job is reached

    ContextClosed              the slice is over; no Exception, so that `except Exception` lets it pass

`code` is the word a program reads, on the wire and in logs; the message is for people.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, get_args

from outlast.job import EndCode
from outlast.policy import seconds


class OutlastError(Exception):
    """Root of all errors raised by Outlast."""

    code = "error"


class ConfigurationError(OutlastError):
    """A setting, a URL or a registration is wrong; the message names it and the way out."""

    code = "configuration"


class InvalidRequest(OutlastError):
    """What was asked for cannot be accepted; nothing was stored.

    Parameters
    ----------
    message: what is wrong and what would be right.
    code: the word for it, such as `unknown_type` or `validation`.
    errors: one mapping for each wrong field: `pointer` (RFC 6901) and `detail`.
    """

    def __init__(self, message: str, *, code: str = "validation", errors: Sequence[dict[str, str]] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.errors = list(errors)


class IdempotencyKeyReused(InvalidRequest):
    """The idempotency key already belongs to another request; `job_id` is the job it made."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"this idempotency key was used for a different request, which made {job_id}; send a new key",
            code="idempotency_key_reused",
        )
        self.job_id = job_id


class JobNotFound(OutlastError):
    """There is no job with this id for this owner (unknown, purged and foreign ids look alike)."""

    code = "job_not_found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id[:64]!r}")
        self.job_id = job_id


class JobConflict(OutlastError):
    """The job exists, but its status does not allow this call."""

    def __init__(self, message: str, *, code: str, job_id: str) -> None:
        super().__init__(message)
        self.code = code
        self.job_id = job_id


class WaitTimeout(OutlastError, TimeoutError):
    """The job is still live after the time given; it goes on, wait again or follow it."""

    code = "wait_timeout"


class NotAllowed(OutlastError):
    """A server does not know the caller, or does not let it do this; another key may."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class ServerUnavailable(OutlastError):
    """A server does not answer, or says that it cannot just now; what was sent is safe to send again."""

    code = "server_unavailable"


class StoreError(OutlastError):
    """The store failed; the driver's own error is the cause."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The store does not answer or is full; the outcome of a write is unknown and it is safe to repeat."""

    code = "store_unavailable"


class StoreRefused(StoreError):
    """The store opens, but is not one Outlast can keep its promises on."""

    code = "store_refused"


class IllegalMove(OutlastError):
    """A move that the life of a job does not have: a defect in the caller."""

    code = "illegal_move"


class HandlerError(OutlastError):
    """Raised inside a handler, by the Context or by the handler itself."""

    code = "handler_error"


class Retry(HandlerError):
    """Raise it in a handler to try again later; it uses up one of the job's tries.

    Parameters
    ----------
    message: why, shown as the job's last error.
    after: until the next try, as seconds, a timedelta or text such as `90s`; None: the handler's backoff.
    code: one of the closed list of end codes, used if no try is left.
    """

    def __init__(
        self,
        message: str = "the handler asked to try again",
        *,
        after: str | float | timedelta | None = None,
        code: EndCode = "handler_error",
    ) -> None:
        super().__init__(message)
        self.after = None if after is None else seconds(after)
        self.code = _end_code(code)


class Fail(HandlerError):
    """Raise it in a handler to end the job as failed at once, whatever tries are left.

    Parameters
    ----------
    message: what went wrong, for the person who sees the job.
    code: one of the closed list of end codes.
    advice: what that person can do about it.
    details: more facts, as a JSON object.

    Raises TypeError or ValueError, at the line that makes it, if `advice` or `details` is not JSON, and ValueError for
    another code.
    """

    def __init__(
        self,
        message: str,
        *,
        code: EndCode = "handler_error",
        advice: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = _end_code(code)
        # Here, where the traceback still leads to the line that raises it.
        self.advice, kept = json.loads(json.dumps([advice, details], allow_nan=False, ensure_ascii=False).encode())
        self.details = None if kept is None else dict(kept)


class SignalTimeout(HandlerError, TimeoutError):
    """`ctx.wait_for` waited as long as it was told and the signal did not come."""

    def __init__(self, signal: str) -> None:
        super().__init__(f"the signal {signal!r} did not come in time")
        self.signal = signal


class StepTimeout(HandlerError, TimeoutError):
    """A step ran longer than the timeout it was given by `ctx.options(timeout=...)`."""

    code = "timeout"

    def __init__(self, step: str, timeout: float) -> None:
        super().__init__(f"step {step!r} ran longer than its timeout of {timeout:g} s")
        self.step = step


class NotJson(HandlerError, TypeError):
    """A value that JSON cannot hold; `path` leads to it."""

    code = "result_not_json"

    def __init__(self, what: str, path: str, found: str, advice: str) -> None:
        super().__init__(f"{what} holds {found} at {path}, which JSON cannot hold; {advice}")
        self.path = path


class Misfit(NotJson):
    """A value that is not what its annotation says, when it is written or when it is read back."""

    def __init__(self, what: str, path: str, found: str) -> None:
        Exception.__init__(self, f"{what} does not fit its annotation at {path}: {found}")
        self.path = path


class LimitExceeded(HandlerError):
    """A cap of the job is reached (see the table of caps); the attempt ends and is not retried."""

    def __init__(self, message: str, *, code: EndCode = "limit_exceeded") -> None:
        super().__init__(message)
        self.code = code


class ContextClosed(BaseException):
    """The slice is over (ended, parked or taken over), so this call of the Context changes nothing.

    To a `def` handler it is what `asyncio.CancelledError` is to an `async def` one, and like it no Exception: code that
    shrugs off errors and tries again must not hold up a thread whose job goes on elsewhere.
    """


def decisive(error: BaseException) -> BaseException:
    """Of a group of errors the one that decides: what a handler said on purpose, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [decisive(one) for one in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, HandlerError)), leaves[0])


def _end_code(code: str) -> str:
    if code not in get_args(EndCode):
        raise ValueError(f"code {code!r} is not one of {', '.join(get_args(EndCode))}")
    return code
