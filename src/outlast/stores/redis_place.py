"""What a URL says: which server, which namespace of it, and what its user puts up with; pure."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from outlast.errors import ConfigurationError

ESCAPES = "in a password write each of / ? # % @ as %2F %3F %23 %25 %40"
FORMS = "redis://host:6379/0, rediss://user:password@host:6379, unix:///run/redis.sock"
SETTINGS = ("namespace", "db", "allow_volatile", "min_replicas_ack", "ssl_ca_certs")
PORT = 6379
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A namespace of a server.

    path: of its socket; None: it is at `host` and `port`.
    volatile: jobs may be lost, and the user knows.
    acks: replicas that must have a write before it counts.
    """

    scheme: str
    host: str = ""
    port: int = PORT
    path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    ca_certs: str | None = None
    namespace: str = "outlast"
    volatile: bool = False
    acks: int = 0

    @property
    def prefix(self) -> str:
        """What all keys begin with; the braces put them into one slot of a cluster."""
        return "{" + self.namespace + "}:"

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        at = self.path if self.path is not None else f"{self.host}:{self.port}/{self.db}"
        db = f"db={self.db}&" if self.path is not None and self.db else ""
        return f"{self.scheme}://{at}?{db}namespace={self.namespace}"


def place_of(url: str) -> Place:
    """Read a URL; ConfigurationError if it is none of ours."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError(
            f"the store URL is no URL: its port is no number; write {FORMS}, and {ESCAPES}"
        ) from None
    if parts.scheme != "unix" and "@" in parts.path + parts.query + parts.fragment:
        raise ConfigurationError(f"the password in the store URL holds a character that must be escaped; {ESCAPES}")
    asked = _settings(parts.query)
    user, password = _unquoted(parts.username), _unquoted(parts.password)
    settings: dict[str, Any] = {"username": user or None, "password": password or None, **_own(asked)}
    if parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.hostname:
            raise ConfigurationError("a unix:// URL names the path of a socket: unix:///run/redis.sock")
        return Place(scheme="unix", path=unquote(parts.path), db=_number("db", asked.get("db", "0")), **settings)
    if not parts.hostname:
        raise ConfigurationError(f"the store URL names no host; write {FORMS}")
    db = _number("db", parts.path.strip("/") or asked.get("db", "0"))
    return Place(scheme=parts.scheme, host=parts.hostname, port=port or PORT, db=db, **settings)


def _settings(query: str) -> dict[str, str]:
    asked = dict(parse_qsl(query, keep_blank_values=True))
    for name in asked:
        if name not in SETTINGS:
            raise ConfigurationError(f"the store URL has no setting {name[:64]!r}; it has {', '.join(SETTINGS)}")
    return asked


def _own(asked: dict[str, str]) -> dict[str, Any]:
    namespace = asked.get("namespace", "outlast")
    if not _NAMESPACE.fullmatch(namespace):
        raise ConfigurationError(f"namespace={namespace[:64]!r}: write 1 to 64 letters, digits, dots, - or _")
    volatile = asked.get("allow_volatile", "false")
    if volatile not in ("true", "false"):
        raise ConfigurationError(f"allow_volatile={volatile[:64]!r}: write true or false")
    return {
        "namespace": namespace,
        "volatile": volatile == "true",
        "acks": _number("min_replicas_ack", asked.get("min_replicas_ack", "0")),
        "ca_certs": asked.get("ssl_ca_certs"),
    }


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"{name}={text[:64]!r} in the store URL is no number")
    return int(text)


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text)
