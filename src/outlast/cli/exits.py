"""How a command ends: exit codes, and errors as a message that names the way out.

0    done
1    the job that was watched failed or was cancelled
2    usage or configuration: asked like this, it can never work (a job that is not there, too)
3    not reachable: the server or the store does not answer; the same may work later
4    serve, worker: too many threads outlived their slices, so that only a new process helps; start it again
130  Ctrl-C
141  nobody reads the output any more
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import click
from click.exceptions import Exit

from outlast.errors import OutlastError, StoreUnavailable
from outlast.web import INSTALL

DONE, FAILED, USAGE, UNREACHABLE, STUCK, INTERRUPTED, OUTPUT_CLOSED = 0, 1, 2, 3, 4, 130, 141

EXTRA = frozenset({"anyio", "httpx2", "rich", "starlette", "uvicorn"})
"""What the extra `server` brings."""


class Refused(click.ClickException):
    """Asked like this, it can never work."""

    exit_code = USAGE


class Unreachable(click.ClickException):
    """The server or the store does not answer now."""

    exit_code = UNREACHABLE


class NotSent(Unreachable):
    """There was nobody to send it to, so nothing has happened."""


@contextmanager
def translated() -> Iterator[None]:
    """What goes wrong within leaves as a message and an exit code; a defect of ours as it is, with its traceback."""
    try:
        yield
    except Exception as error:
        ended = _named(error)
        if ended is None:
            raise
        raise ended from error


def _named(error: Exception) -> click.ClickException | Exit | None:
    match error:
        case StoreUnavailable():
            return Unreachable(masked(str(error)))
        case OutlastError():
            return Refused(masked(str(error)))
        case ModuleNotFoundError() if (error.name or "").partition(".")[0] in EXTRA:
            return Refused(f"{error.name} is not installed; the command line needs: {INSTALL}")
        case BrokenPipeError():
            return Exit(OUTPUT_CLOSED)
        case OSError(strerror=str()):
            return Refused(": ".join(str(part) for part in (error.filename, error.strerror) if part))
    return None


def masked(text: str) -> str:
    """The text without the passwords of the URLs in it."""
    hidden, count = re.subn(r"(\w+://[^\s:/@]*):\S*@", r"\1:***@", text)
    if count and re.search(r"://\S*@\S*@", text):
        hidden += " (in a URL, an @ of the password is written %40)"
    return hidden
