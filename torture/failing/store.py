"""A store around the real one, in which the process dies before or after a chosen call, as by `kill -9`.

FAIL_AT    `before` or `after`, and the site (sites.py)
FAIL_NTH   at which of the calls from that site; the first if not said
FAIL_NOTES the file in which each call leaves its site
"""

import os
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

from outlast.stores.base import Store
from torture.failing.sites import METHODS, names

KILLED = 137


def failing(store: Store) -> Store:
    """The store, in which the process dies as the environment says."""
    return cast(Store, Failing(store))


class Failing:
    """Implements Store by the store given, and counts the calls from each site."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._when, _, self._site = os.environ.get("FAIL_AT", "").partition(" ")
        self._nth = int(os.environ.get("FAIL_NTH", "1"))
        self._notes = os.environ.get("FAIL_NOTES")
        self._calls = Counter[str]()
        self._gate = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._store, name)
        return self._counted(name, inner) if name in METHODS else inner

    def _counted(self, method: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        def call(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            caller = sys._getframe(1)
            module, function = caller.f_globals["__name__"], caller.f_code.co_qualname
            fatal = self._reach(names(method, args, module, function))
            return self._fatal(inner, args, kwargs) if fatal else inner(*args, **kwargs)

        return call

    def _reach(self, sites: set[str]) -> bool:
        """Count these sites; True if this is the call to die at."""
        # The renewer calls from a thread of its own.
        with self._gate:
            self._calls.update(sites)
            if self._notes is not None:
                _append(self._notes, "".join(f"{site}\n" for site in sorted(sites)))
            return self._site in sites and self._calls[self._site] == self._nth

    async def _fatal(self, inner: Callable[..., Awaitable[Any]], args: Any, kwargs: Any) -> None:
        if self._when == "after":
            await inner(*args, **kwargs)
        os._exit(KILLED)


def _append(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
