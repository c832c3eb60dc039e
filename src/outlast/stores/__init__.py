"""Where jobs live. `open_store(url)` is the only door."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from urllib.parse import urlsplit

from outlast.errors import ConfigurationError
from outlast.stores.base import Clock, Store
from outlast.stores.default import advice_on

FORMS = (
    "sqlite:///relative/path.db, sqlite:////absolute/path.db, postgresql://user:password@host/database, "
    "redis://host:6379/0, mongodb://host/database, memory://"
)
SCHEMES = ("sqlite", "memory", "postgresql", "postgres", "redis", "rediss", "unix", "mongodb", "mongodb+srv")


def open_store(url: str, *, clock: Clock | None = None) -> Store:
    """The store at a URL, to be opened by `async with` or `await store.open()`.

    Parameters
    ----------
    url: one of `sqlite:///outlast.db`, `sqlite:////var/lib/outlast.db`, `postgresql://user@host/database`,
        `redis://host:6379/0`, `rediss://...`, `unix:///path/of/redis.sock`,
        `mongodb://host:27017/outlast`, `mongodb+srv://...`, `memory://`.
    clock: replaces the wall clock or the server's, for tests.

    Raises ConfigurationError if the URL is none of these, or its driver is not installed.
    """
    scheme = _scheme_of(url)
    if scheme == "memory":
        from outlast.stores.memory import MemoryStore

        return MemoryStore(clock=clock)
    if scheme == "sqlite":
        from outlast.stores.sqlite import SqliteStore

        return SqliteStore(url, clock=clock)
    if scheme in ("postgresql", "postgres"):
        with _driver("PostgreSQL", "postgres"):
            from outlast.stores.postgres import PostgresStore
        return PostgresStore(url, clock=clock)
    if scheme in ("redis", "rediss", "unix"):
        with _driver("Redis", "redis"):
            from outlast.stores.redis import RedisStore
        return RedisStore(url, clock=clock)
    if scheme in ("mongodb", "mongodb+srv"):
        with _driver("MongoDB", "mongodb"):
            from outlast.stores.mongo import MongoStore
        return MongoStore(url, clock=clock)
    advice = advice_on(url)
    raise ConfigurationError(f"this is no database. {advice}" if advice else _unknown(url, scheme))


def _scheme_of(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:
        # Its words would show what stands between brackets, which may be a password.
        raise ConfigurationError(
            "the store URL has [ or ] elsewhere than around the address of a host: in user and password write %5B for "
            "[ and %5D for ], and where a form says [YOUR-PASSWORD], its brackets go too"
        ) from None


@contextmanager
def _driver(engine: str, extra: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(f"{engine} needs a driver: pip install 'outlast[{extra}]'") from error


def _unknown(url: str, scheme: str) -> str:
    if not scheme:
        # What has an @ may have a password, too.
        shown = "" if "@" in url else f" {url[:64]!r}"
        return f"the store URL{shown} has no scheme; write one of {FORMS}, without quotes around it"
    near = get_close_matches(scheme, SCHEMES, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"no store is known for {scheme[:64]!r}{meant}; this release keeps jobs in {FORMS}"
