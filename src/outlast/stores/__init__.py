"""Where jobs live. `open_store(url)` is the only door."""

from difflib import get_close_matches
from urllib.parse import urlsplit

from outlast.errors import ConfigurationError
from outlast.stores.base import Clock, Store

FORMS = "sqlite:///relative/path.db, sqlite:////absolute/path.db, memory://, mongodb://host/database"


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """The store at a URL, to be opened by `async with` or `await store.open()`.

    Parameters
    ----------
    url: one of `sqlite:///outlast.db`, `sqlite:////var/lib/outlast.db`, `memory://`,
        `mongodb://host:27017/outlast`, `mongodb+srv://...`.
    clock: replaces the wall clock, for tests.

    Raises ConfigurationError if the URL is none of these.
    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        from outlast.stores.memory import MemoryStore

        return MemoryStore(clock=clock)
    if scheme == "sqlite":
        from outlast.stores.sqlite import SqliteStore

        return SqliteStore(url, clock=clock)
    if scheme in ("mongodb", "mongodb+srv"):
        return _mongo(url, clock)
    raise ConfigurationError(_unknown(url, scheme))


def _mongo(url: str, clock: Clock | None) -> Store:
    try:
        from outlast.stores.mongo import MongoStore
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pymongo":
            raise
        raise ConfigurationError("a mongodb:// store needs PyMongo: pip install 'outlast[mongodb]'") from None
    return MongoStore(url, clock=clock)


def _unknown(url: str, scheme: str) -> str:
    if not scheme:
        return f"the store URL {url[:64]!r} has no scheme; write one of {FORMS}"
    near = get_close_matches(scheme, ["sqlite", "memory", "mongodb"], n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"no store is known for {scheme[:64]!r}{meant}; this release keeps jobs in {FORMS}"
