"""Threads that own connections: one that writes with group commit and watches for others' writes, some that read.

A call is put into a thread's queue. The thread takes all calls that wait, runs them, and answers each on the event
loop it came from; a caller that went away does not stop its call. The writer runs what it took in one transaction,
one sync of the disk for all, each call in a savepoint of its own, so that one that fails leaves the others alone.

Other processes' commits show in `PRAGMA data_version`, which the writer's connection does not raise by its own. So the
writer reads it whenever it has nothing to do, and after each transaction.
"""

import asyncio
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

import apsw

from outlast.errors import ConfigurationError, OutlastError, StoreError, StoreRefused, StoreUnavailable
from outlast.stores.base import Listeners, News
from outlast.stores.sqlite_checkpoint import Checkpoints
from outlast.stores.sqlite_file import PATIENCE
from outlast.stores.sqlite_reads import Reads
from outlast.stores.sqlite_writes import Writes

T = TypeVar("T")

WATCH_IDLE, WATCH_AWAKE, AWAKE = 0.025, 0.002, 1.0
"""Seconds between two looks for others' writes: usually, soon after news, and how long that is.

A look each 10 ms would take an idle process 1.7 % of a core's time, each 25 ms takes it 0.9 %."""


class Call(Generic[T]):
    """A function for a thread to run, and the caller's place to be answered at."""

    def __init__(self, do: Callable[[Any], T], probe: Callable[[Any], T | None] | None = None) -> None:
        self.do, self.probe = do, probe
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.answer: T | None = None
        self.error: BaseException | None = None
        self.done = False


class Work(Protocol):
    """What a thread does with its connection."""

    def idle(self) -> float | None:
        """Called before each wait for calls; answers how long to wait at most."""
        ...

    def serve(self, calls: Sequence[Call[Any]]) -> None:
        """Give each call its answer or its error. An error raised is that of them all."""
        ...

    def close(self) -> None: ...


class Lane:
    """One thread and its queue. `start` is called in the thread, at the first call and until it succeeds."""

    def __init__(self, name: str, start: Callable[[], Work]) -> None:
        self._start = start
        self._work: Work | None = None
        self._calls: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._gate = threading.Lock()
        self._shut = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def call(self, do: Callable[[Any], T], probe: Callable[[Any], T | None] | None = None) -> T:
        if os.getpid() != self._pid:
            raise ConfigurationError("this store was opened before a fork; open one in the process that uses it")
        call = Call(do, probe)
        with self._gate:
            if self._shut:
                raise StoreUnavailable("the store is closed")
            self._calls.put(call)
        return await call.future

    async def stop(self) -> None:
        """Finish what waits, let go of the connection, end the thread."""
        with self._gate:
            if not self._shut:
                self._shut = True
                self._calls.put(None)
        while self._thread.is_alive():
            await asyncio.sleep(0.001)

    def _run(self) -> None:
        while calls := self._wait():
            try:
                self._work = self._work or self._start()
                self._work.serve(calls)
            except Exception as error:
                _fail(calls, error)
            _answer(calls)
        if self._work is not None:
            self._work.close()

    def _wait(self) -> list[Call[Any]]:
        """All calls that wait; none once the lane is stopped and all are answered."""
        calls: list[Call[Any]] = []
        call = self._first()
        while call is not None:
            calls.append(call)
            if self._calls.empty():
                return calls
            call = self._calls.get()
        if calls:
            self._calls.put(None)
        return calls

    def _first(self) -> Call[Any] | None:
        while True:
            try:
                return self._calls.get(timeout=self._pause())
            except Empty:
                pass

    def _pause(self) -> float | None:
        try:
            return None if self._work is None else self._work.idle()
        except Exception:
            # Looking is worth no thread: the next call meets the same error and has somebody to tell.
            return WATCH_IDLE


def _fail(calls: Sequence[Call[Any]], error: Exception) -> None:
    for call in calls:
        if not call.done:
            call.error = ours(error)


def _answer(calls: Sequence[Call[Any]]) -> None:
    """One wake-up for each event loop."""
    by_loop = defaultdict(list)
    for call in calls:
        by_loop[call.loop].append(call)
    for loop, its in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, its)
        except RuntimeError:
            pass  # the loop was closed: nobody waits there any more


def _settle(calls: Sequence[Call[Any]]) -> None:
    for call in calls:
        if call.future.done():
            continue
        if call.error is not None:
            call.future.set_exception(call.error)
        else:
            call.future.set_result(call.answer)


# -- reading --------------------------------------------------------------------------------------------------------


class Reader:
    """Runs reads, all that waited in one read transaction, so that each sees one moment."""

    def __init__(self, connection: apsw.Connection, reads: Reads) -> None:
        self._connection, self._reads = connection, reads

    def idle(self) -> None:
        return None

    def serve(self, calls: Sequence[Call[Any]]) -> None:
        with _transaction(self._connection, "begin"):
            for call in calls:
                try:
                    call.answer = call.do(self._reads)
                except Exception as error:
                    call.error = ours(error)

    def close(self) -> None:
        self._connection.close()


# -- writing --------------------------------------------------------------------------------------------------------


class Writer:
    """Runs writes with group commit, tells what they wrote, and watches for what others write."""

    def __init__(
        self, connection: apsw.Connection, writes: Writes, checkpoints: Checkpoints, listeners: Listeners
    ) -> None:
        self._connection, self._writes, self._listeners = connection, writes, listeners
        self._checkpoints = checkpoints
        self._seen = self._version()
        self._awake_until = 0.0

    def idle(self) -> float:
        self._watch()
        self._checkpoints.look()
        return WATCH_AWAKE if time.monotonic() < self._awake_until else WATCH_IDLE

    def serve(self, calls: Sequence[Call[Any]]) -> None:
        if all(self._probed(call) for call in calls):
            return
        self._writes.begin()
        open_calls = [call for call in calls if not call.done]
        isolated = self._isolated if len(open_calls) > 1 else self._alone
        with _transaction(self._connection, "begin immediate"):
            for call in open_calls:
                isolated(call)
        if news := self._writes.news():
            self._listeners.tell(news)

    def _probed(self, call: Call[Any]) -> bool:
        """True if a read alone answers the call, so that it needs no lock."""
        call.answer = call.probe(self._writes) if call.probe is not None else None
        call.done = call.answer is not None
        return call.done

    def _alone(self, call: Call[Any]) -> None:
        """Its transaction is its own: if it fails, that is rolled back."""
        call.answer = call.do(self._writes)

    def _isolated(self, call: Call[Any]) -> None:
        self._connection.execute("savepoint one")
        try:
            call.answer = call.do(self._writes)
        except _OF_THE_FILE:
            raise
        except Exception as error:
            call.error = ours(error)
            self._connection.execute("rollback to one")
            self._writes.forget()
        self._connection.execute("release one")

    def _watch(self) -> None:
        version = self._version()
        if version != self._seen:
            self._seen = version
            self._awake_until = time.monotonic() + AWAKE
            self._listeners.tell(News(None, ready=True))

    def _version(self) -> int:
        return int(self._connection.pragma("data_version"))

    def close(self) -> None:
        self._checkpoints.wait()
        self._connection.close()


@contextmanager
def _transaction(connection: apsw.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


# -- errors ---------------------------------------------------------------------------------------------------------

_UNAVAILABLE = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.NoMemError,
    apsw.CantOpenError,
    apsw.InterruptError,
    apsw.ProtocolError,
)
_REFUSED = (apsw.CorruptError, apsw.NotADBError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.AuthError)
_OF_THE_FILE = _UNAVAILABLE + _REFUSED
"""Errors that concern the transaction, not the one call that met them."""


def ours(error: Exception) -> Exception:
    """The error as Outlast names it, with SQLite's own as the cause."""
    if isinstance(error, OutlastError) or not isinstance(error, apsw.Error | UnicodeEncodeError):
        return error
    if isinstance(error, UnicodeEncodeError):
        named: StoreError = StoreError(f"text that is no Unicode cannot be stored: {error.reason}")
    elif isinstance(error, _REFUSED):
        named = StoreRefused(f"the database file cannot be used: {error}")
    elif isinstance(error, apsw.BusyError):
        named = StoreUnavailable(f"another process has kept the database locked for {PATIENCE:g} s")
    elif isinstance(error, _UNAVAILABLE):
        named = StoreUnavailable(f"the database does not answer: {error}")
    else:
        named = StoreError(str(error))
    named.__cause__ = error
    return named
