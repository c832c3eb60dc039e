"""The driver's errors as Outlast names them."""

import psycopg
from psycopg import errors

from outlast.errors import ConfigurationError, OutlastError, StoreError, StoreRefused, StoreUnavailable

UNPREPARED = errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement
"""The session is another than it was: a pooler is between, and statements cannot be kept."""

AGAIN = (
    *UNPREPARED,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.LockNotAvailable,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
)
"""The server has undone the transaction, and the same one may well succeed next."""

_REFUSED = (
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
    errors.UndefinedTable,
    errors.InvalidSchemaName,
    errors.UndefinedColumn,
)
_NO_TENANT = (
    "the pooler knows no such project or user: take host and user (postgres.<project>) as Supabase's dashboard shows "
    "them under Connect"
)
_WRONG_URL = (
    ("password authentication failed", "the user or the password is wrong"),
    ("SASL authentication failed", "the user or the password is wrong"),
    ("Wrong password", "the user or the password is wrong"),
    ("no password supplied", "the URL gives no password"),
    ("does not exist", "the user or the database does not exist"),
    ("no such database", "the pooler knows no such database"),
    ("no such user", "the pooler knows no such user"),
    ("unsupported startup parameter", "the pooler takes no such option: leave it out of the URL"),
    ("Tenant or user not found", _NO_TENANT),
    ("tenant/user", _NO_TENANT),
    ("no tenant identifier", _NO_TENANT),
    ("no pg_hba.conf entry", "the server lets this user not in from here"),
    ("root certificate file", "the server's certificate cannot be checked: set sslrootcert"),
    ("certificate verify failed", "the server's certificate is not one that is trusted: set sslrootcert"),
    ("server does not support SSL", "the server has no TLS: set sslmode=prefer, or turn it on there"),
    ("could not translate host name", "there is no such host"),
    ("failed to resolve host", "there is no such host"),
)
"""What libpq, or a pooler by it, says when it cannot connect; it gives no code with it."""
_PASSES = "Temporary failure in name resolution"
"""The name may be right: as the machine starts, say, nobody answers for names yet."""


def ours(error: BaseException, where: str) -> BaseException:
    """The error as Outlast names it, with the driver's own as the cause."""
    named: StoreError
    if isinstance(error, OutlastError) or not isinstance(error, psycopg.Error | TimeoutError | UnicodeError | OSError):
        return error
    if isinstance(error, UnicodeError):
        named = StoreError(f"text that is no Unicode cannot be stored: {getattr(error, 'reason', error)}")
    elif isinstance(error, psycopg.DataError):
        named = StoreError(f"PostgreSQL cannot store this: {_line(error)}")
    elif isinstance(error, _REFUSED):
        named = StoreRefused(f"{where} cannot be used: {_line(error)}{_way_out(error)}")
    elif isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError, OSError)):
        named = StoreUnavailable(f"{where} does not answer: {_line(error)}")
    else:
        named = StoreError(f"{where}: {_line(error)}")
    named.__cause__ = error
    return named


def of_connecting(error: BaseException, where: str) -> BaseException:
    """The error of a first connection: what only another URL mends is told as such."""
    text = str(error)
    for said, meant in _WRONG_URL:
        if said in text and _PASSES not in text:
            wrong = ConfigurationError(f"{where}: {meant} ({_line(error)})")
            wrong.__cause__ = error
            return wrong
    return ours(error, where)


def _line(error: BaseException) -> str:
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return " ".join(str(error).split()) or "it took too long"


def _way_out(error: BaseException) -> str:
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return "; this is a replica, or set to read only: name the server that writes"
    if isinstance(error, errors.InsufficientPrivilege):
        return "; give this role its rights, or prepare the schema with `outlast db migrate` as one that has them"
    return "; were its tables removed? `outlast db migrate` makes them"
