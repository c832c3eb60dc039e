"""How workers show that they live: a record with a sign of life, and on this host a file that each holds locked.

The operating system releases the lock when the process is gone, however it went, so its jobs need not wait for their
leases. A paused process keeps its lock; then the lease alone decides.
"""

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from outlast.stores.base import Record, Records, Store

# Where there are no POSIX locks, the leases alone tell.
if sys.platform != "win32":
    import fcntl

PREFIX = "worker/"
TTL = 60.0
"""Seconds after which a worker that gave no sign is no longer listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """What is known of a worker: its place, slots, types, and jobs in hand. Times by the store's clock.

    `ended` counts the jobs that its process brought to an end, `memory` is what is resident of it, in bytes.
    """

    id: str
    host: str
    pid: int
    types: tuple[str, ...]
    slots: int
    running: int
    ended: int
    memory: int | None
    started_at: float
    seen_at: float

    def value(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {**fields, "types": list(self.types)}

    @classmethod
    def of(cls, record: Record) -> Self:
        return cls(**{**record.value, "types": tuple(record.value["types"])})


async def show(records: Records, info: WorkerInfo) -> None:
    """Give a sign of life."""
    await records.put(PREFIX + info.id, info.value(), ttl=TTL)


async def leave(records: Records, worker: str) -> None:
    """The worker is no more."""
    await records.drop([PREFIX + worker])


async def present(records: Records) -> list[WorkerInfo]:
    """All workers that gave a sign within the last minute."""
    return [WorkerInfo.of(record) for record in await records.scan(PREFIX)]


class HostLock:
    """The locked file of one worker. Held until `release`, or until the process is gone."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker}.lock"
        self._fd: int | None = None

    def acquire(self) -> None:
        if sys.platform != "win32":
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def gone(folder: Path, workers: Sequence[WorkerInfo]) -> frozenset[str]:
    """Those of the workers on this host whose lock the operating system has released.

    A worker without a lock file here is not among them: it may live in another container.
    """
    return frozenset(worker.id for worker in workers if worker.host == host() and _released(folder, worker.id))


def folder(store: Store) -> Path:
    """Where the workers of a store on this host keep their locks."""
    return store.locks or _folder_of_user()


def _folder_of_user() -> Path:
    import getpass
    import tempfile

    return Path(tempfile.gettempdir()) / f"outlast-{getpass.getuser()}.locks"


def forget(folder: Path, worker: str) -> None:
    """Remove the lock file of a worker that is gone."""
    (folder / f"{worker}.lock").unlink(missing_ok=True)


def host() -> str:
    return socket.gethostname()


def resident() -> int | None:
    """Bytes of this process in memory; where the system shows only the most there ever were, these; None: neither."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return _peak()


def _peak() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _released(folder: Path, worker: str) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fd = os.open(folder / f"{worker}.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
