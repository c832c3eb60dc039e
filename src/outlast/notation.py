"""How ids, times and digests are written."""

import hashlib
import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
JOB_ID = f"job_[{CROCKFORD}]{{29}}"


def job_id(now: float, entropy: bytes) -> str:
    """`job_` and 29 Crockford base32 characters: 48 bits of milliseconds, then 96 random bits.

    Raises ValueError unless `entropy` holds 12 bytes.
    """
    if len(entropy) != 12:
        raise ValueError(f"a job id takes 12 random bytes, not {len(entropy)}")
    bits = (int(now * 1000) & (1 << 48) - 1) << 96 | int.from_bytes(entropy)
    return "job_" + "".join(CROCKFORD[bits >> 5 * place & 31] for place in range(28, -1, -1))


def rfc3339(seconds: float | None) -> str | None:
    """UTC with milliseconds, as RFC 3339 writes it."""
    if seconds is None:
        return None
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{_to_the_second(whole)}.{milliseconds:03d}Z"


@lru_cache(maxsize=256)
def _to_the_second(whole: int) -> str:
    """Kept, for the times of a job that is shown lie close together, and those of all that are, too."""
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def moment(claim: object) -> float | None:
    """Seconds since 1970 as a claim of a token has them (RFC 7519, NumericDate); None for what is no such number."""
    if isinstance(claim, bool) or not isinstance(claim, int | float) or not abs(claim) < END_OF_TIME:
        return None
    return float(claim)


END_OF_TIME = 2.0**53
"""Up to here a float can tell one second from the next; what is not finite is beyond it."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces, the form that digests are taken of. `value` is plain JSON data."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def pointer_part(name: object) -> str:
    """One part of a JSON pointer (RFC 6901), cut to 64 characters."""
    return str(name)[:64].replace("~", "~0").replace("/", "~1")


def clean(text: object, most: int) -> str:
    """Words for people: at most `most` characters, and only such as every store and reader can take."""
    return str(text)[:most].encode("utf-8", "replace").decode().replace("\0", "\ufffd")
