"""The keys of `OUTLAST_KEYS`: their form, and what each lets its holder do."""

import re
from dataclasses import dataclass

from outlast.errors import ConfigurationError
from outlast.principal import SCOPES, Principal


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as the server knows it: by its SHA-256, never by itself."""

    id: str
    digest: str
    principal: Principal


FORM = re.compile(r"([A-Za-z0-9._-]{1,64}):([^:,]{1,128}):([a-z:]+(?:\+[a-z:]+)*):([0-9a-fA-F]{64})")

RECIPE = "the last part is what `printf %s KEY | sha256sum` prints"


def parse_keys(text: str) -> tuple[Key, ...]:
    """The keys of `OUTLAST_KEYS`: `id:owner:scope+scope:sha256hex`, parted by commas. Raises ConfigurationError."""
    return tuple(_key(number, entry.strip()) for number, entry in enumerate(text.split(","), 1) if entry.strip())


def _key(number: int, entry: str) -> Key:
    found = FORM.fullmatch(entry)
    unknown = set(found[3].split("+")) - SCOPES if found else set()
    if found is None or unknown:
        said = f"unknown scope {', '.join(sorted(unknown))}" if unknown else "not of this form"
        raise ConfigurationError(
            f"OUTLAST_KEYS, entry {number}: {said}. A key is id:owner:scope+scope:sha256hex; "
            f"scopes are {', '.join(sorted(SCOPES))}; {RECIPE}"
        )
    id, owner, scopes, digest = found.groups()
    return Key(id, digest.lower(), Principal(owner, frozenset(scopes.split("+")), id))
