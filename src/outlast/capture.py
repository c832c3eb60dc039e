"""Log records that are made within a handler or its steps, kept for whoever operates, whichever logger they are of.

Records are seen as they are made (`logging.setLogRecordFactory`) and not by a handler on the root logger: with one
there, `logging.basicConfig` would do nothing any more, and warnings would not be shown where no logging is set up.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from outlast.context import Context
from outlast.observe import logger as own
from outlast.stores.base import Store
from outlast.words import Lines, line_of


class Capture:
    """Hands each record to the Context it was made in, if that is one of this store's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before = logging.getLogRecordFactory()
        self._lock = threading.Lock()
        self._on = True
        self._users = 0

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._before(*args, **kwargs)
        context = Context.of_slice()
        if self._on and context is not None and context.is_of(self._store) and record.name != own.name:
            self._lines(context).add(line_of(record, self._store.now()))
        return record

    def _lines(self, context: Context) -> Lines:
        with self._lock:
            context.lines = context.lines or Lines()
            return context.lines

    def serves(self, store: Store) -> bool:
        """True if it takes the records of this store's jobs."""
        return self._on and self._store is store

    def begin(self) -> None:
        """One more worker or slice wants records taken."""
        self._users += 1
        if self._users == 1:
            logging.setLogRecordFactory(self)

    def end(self) -> None:
        """After the last, take no more; one that others have built upon since goes on as if it were not there."""
        self._users -= 1
        if self._users > 0:
            return
        self._on = False
        if logging.getLogRecordFactory() is self:
            logging.setLogRecordFactory(self._before)


@contextmanager
def capturing(store: Store) -> Iterator[None]:
    """Keep what is logged within the handlers of this store's jobs."""
    factory = logging.getLogRecordFactory()
    capture = factory if isinstance(factory, Capture) and factory.serves(store) else Capture(store)
    capture.begin()
    try:
        yield
    finally:
        capture.end()
