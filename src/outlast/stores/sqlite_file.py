"""The database file: where a URL says it is, whether it can be trusted, and its tables brought up to date."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import apsw

from outlast.errors import ConfigurationError, StoreRefused

APPLICATION = 0x4F55544C
"""`OUTL`: marks a database as Outlast's."""
SCHEMA = 1
"""The number of the last migration, sqlite_0001.sql being the first."""
DURABILITY = {"disk": "full", "process": "normal"}
"""What a commit survives, and the `synchronous` that gives it. In WAL mode, `normal` syncs at checkpoints only."""
LOG_BYTES = 64 * 1024 * 1024
"""A log that grew behind a long read is cut back to this."""
CACHE_KIB = 64 * 1024
PATIENCE = 10.0
"""Seconds to wait for another process's transaction before the store counts as unavailable."""
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "ceph", "fuse.glusterfs", "lustre", "drvfs"}


class Place(NamedTuple):
    """What the URL says."""

    path: Path
    durability: str


def place_of(url: str) -> Place:
    """Three slashes begin a relative path, four an absolute one."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or (parts.path and not parts.path.startswith("/")):
        named = "names a host" if parts.netloc else "has no slashes"
        raise ConfigurationError(f"{url!r} {named}; a file is sqlite:///relative.db or sqlite:////absolute.db")
    if path in ("", ":memory:"):
        raise ConfigurationError(f"{url!r} names no file; memory:// is the store that keeps nothing")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    durability = options.pop("durability", "disk")
    if options or durability not in DURABILITY:
        raise ConfigurationError(f"{url!r}: the one option is durability=disk (default) or durability=process")
    return Place(Path(path).absolute(), durability)


def open_file(place: Place) -> apsw.Connection:
    """A connection for writing to a file that was checked, with its tables in order.

    Raises ConfigurationError or StoreRefused with what is wrong with the file.
    """
    _check_path(place.path)
    try:
        return _opened(place)
    except apsw.NotADBError as error:
        raise StoreRefused(f"{place.path} is not a SQLite database; Outlast leaves it as it is") from error
    except apsw.CorruptError as error:
        raise StoreRefused(f"{place.path} is damaged: {error}") from error
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise StoreRefused(f"{place.path} or its folder cannot be written by this user") from error


def _opened(place: Place) -> apsw.Connection:
    connection = connect(place)
    try:
        _check_file(connection, place.path)
        _keep_log(connection, place.path)
        _migrate(connection, place.path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect(place: Place) -> apsw.Connection:
    """A connection to the file, with the settings that every connection has."""
    connection = apsw.Connection(str(place.path))
    connection.set_busy_handler(_wait_for_others())
    # Without this a statement is planned anew for each value bound to it, which costs more than to run it.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.pragma("synchronous", DURABILITY[place.durability])
    connection.pragma("wal_autocheckpoint", 0)  # sqlite_checkpoint.py copies the log
    connection.pragma("journal_size_limit", LOG_BYTES)
    connection.pragma("cache_size", -CACHE_KIB)
    connection.pragma("temp_store", "memory")
    # No mmap: a page that cannot be read shall be an error, not a signal that ends the process.
    return connection


def _wait_for_others() -> Callable[[int], bool]:
    """A busy handler. SQLite's own sleeps ever longer, and starves a writer that waits while others come and go."""
    began = 0.0

    def wait(times: int) -> bool:
        nonlocal began
        now = time.monotonic()
        began = now if times == 0 else began
        if now - began > PATIENCE:
            return False
        time.sleep(random.uniform(0.0002, 0.0006))
        return True

    return wait


# -- is it a file to keep jobs in? ------------------------------------------------------------------------------------


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder {path.parent} does not exist; create it, or name another file")
    kind = _network(path)
    if kind is not None:
        raise StoreRefused(f"{path} is on a network ({kind}), where SQLite's locks do not hold; use a local disk")


def _network(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The kind of network file system that the file is on, where the system tells."""
    if not mounts.exists():
        return None
    real, best, kind, options = path.resolve(), Path(), "", ""
    for line in mounts.read_text(errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        mount = Path(before.split()[4].replace("\\040", " "))
        if real.is_relative_to(mount) and len(mount.parts) >= len(best.parts):
            best, (kind, *_), options = mount, after.split(), after
    # Windows drives in WSL are 9p as well; elsewhere 9p is what some containers call their own disk.
    return kind if kind in NETWORK or (kind == "9p" and "drvfs" in options) else None


def _check_file(connection: apsw.Connection, path: Path) -> None:
    application, schema = connection.pragma("application_id"), connection.pragma("user_version")
    if application != APPLICATION and (application or schema or _has_tables(connection)):
        raise StoreRefused(f"{path} is another program's database; Outlast leaves it as it is")
    if connection.readonly("main"):
        raise StoreRefused(f"{path} or its folder cannot be written by this user")


def _has_tables(connection: apsw.Connection) -> bool:
    return bool(connection.execute("select count(*) from sqlite_schema").get)


# -- its tables -------------------------------------------------------------------------------------------------------


def _keep_log(connection: apsw.Connection, path: Path) -> None:
    if connection.pragma("journal_mode", "wal") != "wal":
        raise StoreRefused(f"{path}: this file system cannot hold SQLite's shared log (WAL); use a local disk")


def _migrate(connection: apsw.Connection, path: Path) -> None:
    if connection.pragma("user_version") == SCHEMA:
        return
    connection.execute("begin immediate")
    try:
        for number in range(_schema(connection, path) + 1, SCHEMA + 1):
            _run(connection, _script(number))
        connection.pragma("application_id", APPLICATION)
        connection.pragma("user_version", SCHEMA)
        connection.execute("commit")
    finally:
        if connection.in_transaction:
            connection.execute("rollback")


def _script(number: int) -> str:
    from importlib.resources import files  # a file that is up to date need not pay for it

    return files("outlast.stores").joinpath(f"sqlite_{number:04}.sql").read_text("utf-8")


def _schema(connection: apsw.Connection, path: Path) -> int:
    schema = int(connection.pragma("user_version"))
    if schema > SCHEMA:
        raise StoreRefused(f"{path} has schema {schema} and this Outlast knows up to {SCHEMA}; upgrade outlast")
    return schema


def _run(connection: apsw.Connection, script: str) -> None:
    """All statements: SQLite runs a text only as far as its rows are fetched."""
    for _ in connection.execute(script):
        pass
