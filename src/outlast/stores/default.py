"""Which store it is where the app names none: what the environment says, else a file in the current folder."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from outlast.errors import ConfigurationError

DEFAULT_STORE = "sqlite:///outlast.db"


def default_store(environ: Mapping[str, str]) -> str:
    """A URL: `OUTLAST_STORE`, else `SUPABASE_DB_URL`, else a SQLite file.

    Raises ConfigurationError where Supabase is meant and only the address of its web API is known.
    """
    named = environ.get("OUTLAST_STORE") or environ.get("SUPABASE_DB_URL")
    if not named and environ.get("SUPABASE_URL"):
        raise ConfigurationError(f"SUPABASE_URL names no database. {SUPABASE}; or name another store by OUTLAST_STORE")
    return named or DEFAULT_STORE


def is_supabase(url: str) -> bool:
    """True for the address of a project's web API, which is often taken for that of its database."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and (parts.hostname or "").endswith((".supabase.co", ".supabase.in"))


SUPABASE = (
    "Outlast needs the connection string of Supabase's database, postgresql://..., which its dashboard shows under "
    "Connect; put it into SUPABASE_DB_URL or OUTLAST_STORE, with the password escaped"
)
