"""The log of commits (WAL) copied into the database file, beside the commits and not within them.

    the log is long ──▶ a thread copies what it holds by now, while commits go on
                    ──▶ the writer copies the little that came since, and the log begins anew

SQLite would copy all of it within a commit, and whoever waits for that commit would wait for thousands of pages.
"""

import threading
from collections.abc import Callable
from contextlib import closing, suppress

import apsw

LONG = 4000
"""Pages. Four times SQLite's own: a page that several commits dirty is copied once, for at most 16 MiB to replay."""

LONGER = 1000
"""Pages more until it is tried again, where a reader's old view keeps the log from beginning anew."""


class Checkpoints:
    """Watches over the length of the log; belongs to the writer's thread.

    Parameters
    ----------
    writer: the connection that commits.
    connect: opens another to the same file, in the thread that copies.
    """

    def __init__(self, writer: apsw.Connection, connect: Callable[[], apsw.Connection]) -> None:
        self._writer, self._connect = writer, connect
        self._pages, self._enough = 0, LONG
        self._thread: threading.Thread | None = None
        # In place of SQLite's own hook, which would copy.
        writer.set_wal_hook(self._committed)

    def look(self) -> None:
        """Called between two transactions of the writer."""
        if self._thread is None and self._pages >= self._enough:
            self._enough = self._pages + LONGER
            self._thread = threading.Thread(target=self._copy_most, name="outlast-sqlite-checkpoint", daemon=True)
            self._thread.start()
        elif self._thread is not None and not self._thread.is_alive():
            self._thread = None
            with suppress(apsw.Error):
                _copy(self._writer)

    def wait(self) -> None:
        """Until nothing is being copied."""
        if self._thread is not None:
            self._thread.join()

    def _committed(self, connection: apsw.Connection, database: str, pages: int) -> int:
        if pages < self._pages:
            self._enough = LONG
        self._pages = pages
        return apsw.SQLITE_OK

    def _copy_most(self) -> None:
        # Whatever fails, what was committed is safe in the log. Another process may be copying it, too.
        with suppress(apsw.Error), closing(self._connect()) as connection:
            _copy(connection)


def _copy(connection: apsw.Connection) -> None:
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
