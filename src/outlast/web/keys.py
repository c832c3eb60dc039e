"""The keys of `OUTLAST_KEYS`: their form, how one is made, and what each lets its holder do."""

import hashlib
import re
import secrets
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import NamedTuple

from outlast.errors import ConfigurationError
from outlast.principal import SCOPES, Principal


class Key(NamedTuple):
    """An API key as the server knows it: by its SHA-256, never by itself.

    `until` is the day, in UTC, from which on it is refused.
    """

    id: str
    digest: str
    principal: Principal
    until: date | None = None

    @property
    def expired(self) -> bool:
        return self.until is not None and datetime.now(UTC).date() >= self.until


FORM = re.compile(
    r"([A-Za-z0-9._-]{1,64}):([^:,]{1,128}):([a-z:]+(?:\+[a-z:]+)*):([0-9a-fA-F]{64})(?::(\d{4}-\d{2}-\d{2}))?"
)

RECIPE = "`outlast key new` makes one"


def parse_keys(text: str) -> tuple[Key, ...]:
    """The keys of `OUTLAST_KEYS`: `id:owner:scope+scope:sha256hex`, parted by commas. Raises ConfigurationError.

    A day may follow, `:2027-01-31`, from which on the key is refused.
    """
    return tuple(_key(number, entry.strip()) for number, entry in enumerate(text.split(","), 1) if entry.strip())


def _key(number: int, entry: str) -> Key:
    found = FORM.fullmatch(entry)
    if found is None:
        raise _refused(number, "not of this form")
    id, owner, scopes, digest, until = found.groups()
    unknown = set(scopes.split("+")) - SCOPES
    if unknown:
        raise _refused(number, f"unknown scope {', '.join(sorted(unknown))}")
    try:
        last = None if until is None else date.fromisoformat(until)
    except ValueError:
        raise _refused(number, f"there is no day {until}") from None
    return Key(id, digest.lower(), Principal(owner, frozenset(scopes.split("+")), id), last)


def _refused(number: int, said: str) -> ConfigurationError:
    return ConfigurationError(
        f"OUTLAST_KEYS, entry {number}: {said}. A key is id:owner:scope+scope:sha256hex, or that and :YYYY-MM-DD; "
        f"scopes are {', '.join(sorted(SCOPES))}; {RECIPE}"
    )


def new_key() -> str:
    """A key with 256 random bits. Its first letters tell a scanner of leaks what it is."""
    return "outlast_" + secrets.token_urlsafe(32)


def entry_of(key: str, *, id: str, owner: str, scopes: Collection[str], until: date | None = None) -> str:
    """The entry of `OUTLAST_KEYS` by which a server knows a key. Raises ConfigurationError for what it cannot hold."""
    parts = [id, owner, "+".join(scopes), digest_of(key), *([] if until is None else [until.isoformat()])]
    entry = ":".join(parts)
    parse_keys(entry)
    return entry


def digest_of(key: str) -> str:
    """What a server keeps of a key. The key is random, so that a fast digest of it is as good as a slow one."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
