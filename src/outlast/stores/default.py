"""Which store it is where the app names none: what the environment says, else a file in the current folder."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from outlast.errors import ConfigurationError, StoreRefused

DEFAULT_STORE = "sqlite:///outlast.db"


def default_store(environ: Mapping[str, str]) -> str:
    """A URL: `OUTLAST_STORE`, else `SUPABASE_DB_URL`, else a SQLite file.

    Raises ConfigurationError where Supabase is meant and only the address of its web API is known.
    """
    named = environ.get("OUTLAST_STORE") or environ.get("SUPABASE_DB_URL")
    if not named and environ.get("SUPABASE_URL"):
        raise ConfigurationError(f"SUPABASE_URL names no database. {SUPABASE}; or name another store by OUTLAST_STORE")
    return named or DEFAULT_STORE


def named_or_store(store: Any) -> Any:
    """What an app was given for a store, if it is a URL, a store, or None. Raises ConfigurationError."""
    if store is None or isinstance(store, str) or hasattr(store, "claim"):
        return store
    raise ConfigurationError(f"{store!r} is no store; write its URL, such as sqlite:///path/of/outlast.db")


def require_lasting(url: str, environ: Mapping[str, str]) -> None:
    """Raise StoreRefused for a file where each process has a disk of its own, which goes with it."""
    platform = next((name for variable, name in PLATFORMS.items() if environ.get(variable)), None)
    if platform is not None and url.startswith("sqlite:"):
        raise StoreRefused(
            f"{platform} gives each process a disk of its own and throws it away, and a SQLite file with it. Name a "
            "store that lasts in OUTLAST_STORE, such as Supabase by the connection string of its pooler "
            "(postgresql://...:6543/postgres), or Upstash by rediss://...; both have free plans"
        )


PLATFORMS = {
    "VERCEL": "Vercel",
    "AWS_LAMBDA_FUNCTION_NAME": "AWS Lambda",
    "K_SERVICE": "Cloud Run",
    "NETLIFY": "Netlify",
}
"""Variables that serverless platforms set, and their names."""


def advice_on(url: str) -> str | None:
    """What to name instead of the address of a service's web API, which is often taken for that of its database."""
    parts = urlsplit(url)
    host = parts.hostname or "" if parts.scheme in ("http", "https") else ""
    return next((advice for ending, advice in WEB_APIS.items() if host.endswith(ending)), None)


SUPABASE = (
    "Outlast needs the connection string of Supabase's database, postgresql://..., which its dashboard shows under "
    "Connect; put it into SUPABASE_DB_URL or OUTLAST_STORE, with the password escaped"
)
UPSTASH = (
    "Outlast speaks Redis's own protocol: put rediss://default:PASSWORD@NAME.upstash.io:6379 into OUTLAST_STORE, as "
    "Upstash's console shows it beside the address of its REST API"
)
WEB_APIS = {".supabase.co": SUPABASE, ".supabase.in": SUPABASE, ".upstash.io": UPSTASH}
