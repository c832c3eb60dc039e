"""What a `postgresql://` URL says: where the server is, and which of its schemas is the store."""

import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from outlast.errors import ConfigurationError

CONNECT, OPERATION = 5, 10.0
"""Seconds to wait for a connection, and for the answer to one call."""
CONNECTIONS = 4
"""How many of one event loop may be open at once."""
LONGEST_NAME = 48
"""Bytes of a schema's name: PostgreSQL cuts names at 63, and the channel's is longer than the schema's."""

_HOST = r"(\[[^]]*\]|[^:,]*)(:[0-9]+)?"
_HOSTS = re.compile(f"{_HOST}(,{_HOST})*")

FORM = "postgresql://user:password@host:5432/database?schema=outlast"


class Place(NamedTuple):
    """What the URL says.

    conninfo: for libpq, the password with it.
    listen: the same for the connection that hears of others' writes.
    shown: the URL without its password.
    """

    conninfo: str
    listen: str
    shown: str
    schema: str
    connections: int

    def __repr__(self) -> str:
        return f"Place({self.shown!r})"

    @property
    def channel(self) -> str:
        """Where writes to this schema are told."""
        return f"outlast_news_{self.schema}"


def place_of(url: str) -> Place:
    """Raises ConfigurationError with what is wrong, and without the password."""
    _check_escapes(url)
    bare, options = _own_options(url)
    listen = options.pop("listen_url", None)
    schema = options.pop("schema", "outlast")
    connections = options.pop("connections", str(CONNECTIONS))
    if not schema or "\0" in schema or len(schema.encode()) > LONGEST_NAME:
        raise ConfigurationError(f"schema={schema[:64]!r}: a schema's name has 1 to {LONGEST_NAME} bytes")
    if not connections.isdecimal() or int(connections) < 1:
        raise ConfigurationError(f"connections={connections[:20]!r} is no number of connections; write 1 or more")
    parsed = _parsed(bare)
    conninfo = _conninfo(parsed)
    return Place(
        conninfo=conninfo,
        listen=conninfo if listen is None else _conninfo(_listen(listen)),
        shown=_shown(parsed, schema),
        schema=schema,
        connections=int(connections),
    )


def _check_escapes(url: str) -> None:
    """libpq would take what stands behind an unescaped `@`, `/`, `#` or `?` of a password for something else."""
    place, _, query = url.partition("://")[2].partition("?")
    # What is no list of hosts and ports is a user, and a password up to its `?`.
    is_cut = "@" in query and not {"@", "/"} & set(place) and not _HOSTS.fullmatch(place)
    is_cut = is_cut or any("@" in pair.partition("=")[0] for pair in query.split("&"))
    if is_cut or place.count("@") > 1 or "#" in place or "@" in place.partition("/")[2]:
        raise ConfigurationError(
            f"the user or password of the store's URL holds a character that must be escaped: write %40 for @, %2F for "
            f"/, %23 for #, %3F for ? ({FORM}; in Python, urllib.parse.quote(password, safe=''))"
        )


def _own_options(url: str) -> tuple[str, dict[str, str]]:
    """The URL without the options that are Outlast's, and these."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    own = {name: value for name, value in pairs if name in ("schema", "listen_url", "connections")}
    # libpq takes a `+` for a plus.
    rest = urlencode([(name, value) for name, value in pairs if name not in own], quote_via=quote)
    # Not by urlunsplit, which leaves out the slashes of a URL that names its host in an option.
    return f"postgresql://{parts.netloc}{parts.path}{'?' if rest else ''}{rest}", own


def _parsed(url: str) -> dict[str, Any]:
    _check_escapes(url)
    try:
        parsed = dict(conninfo_to_dict(url))
    except ProgrammingError as error:
        # libpq's own words quote the URL, and the password with it.
        raise ConfigurationError(f"{_why(error, url)}; write {FORM}") from None
    if any(not port.isdecimal() for port in str(parsed.get("port") or "1").split(",")):
        raise ConfigurationError(f"the port in the store's URL is no number; write {FORM}")
    return parsed


def _listen(url: str) -> dict[str, Any]:
    try:
        return _parsed(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"listen_url=, in which each % of its own is written %25: {error}") from None


def _why(error: ProgrammingError, url: str) -> str:
    text = str(error).strip()
    option = text.rpartition(":")[2].strip().strip('"')
    # Behind the `?` of a password stands the rest of it, up to an `@`.
    if "URI query parameter" in text and option.isidentifier() and "%40" not in url.partition("?")[2]:
        return f"the store's URL has an option that is neither Outlast's nor libpq's: {option}; leave it out"
    return "PostgreSQL's library cannot read the store's URL"


def _conninfo(parsed: dict[str, Any]) -> str:
    settings: dict[str, Any] = {
        "connect_timeout": CONNECT,
        "application_name": "outlast",
        "client_encoding": "UTF8",
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }
    return make_conninfo(**(settings | parsed))


def _shown(parsed: dict[str, Any], schema: str) -> str:
    user = f"{parsed['user']}@" if parsed.get("user") else ""
    host = parsed.get("host") or parsed.get("hostaddr") or ""
    port = f":{parsed['port']}" if parsed.get("port") else ""
    database = parsed.get("dbname") or ""
    socket = f"&host={host}" if host.startswith("/") else ""
    return f"postgresql://{user}{'' if socket else host}{port}/{database}?schema={schema}{socket}"
