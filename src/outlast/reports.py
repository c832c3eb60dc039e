"""An exception in words, for people and programs: short, clean, and without the passwords of URLs."""

import re
import traceback

from outlast.errors import Fail, LimitExceeded, NotJson, Retry, SignalTimeout

MESSAGE = 8_192
"""Characters of an error's message; what is longer is cut."""

TRACEBACK = 32_768
"""Characters of a traceback; of a longer one the middle is left out."""


def described(error: BaseException) -> str:
    """What was raised, whatever its `__str__` does."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        return name
    if not isinstance(error, Fail | Retry | NotJson | LimitExceeded | SignalTimeout):
        text = f"{name}: {text}" if text else name
    return _head(text, MESSAGE)


def traceback_of(error: BaseException) -> str:
    """Where it was raised and out of what, as Python prints it."""
    text = "".join(traceback.format_exception(error))
    if len(text) <= TRACEBACK:
        return _head(text, TRACEBACK)
    return f"{_head(text, TRACEBACK // 2)}\n[...]\n{_masked(text[-TRACEBACK:])[-TRACEBACK // 2 :]}"


def _head(text: str, most: int) -> str:
    # Twice of it is searched, so that no password is missed for being cut, and no megabyte is searched.
    return _masked(text[: 2 * most])[:most]


def _masked(text: str) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return re.sub(r"(\w{1,16}://[^\s:/@]*):[^\s@/]*@", r"\1:***@", clean)
