"""The signature of QStash's calls: a JWT over the address and the body, signed by HS256 (RFC 7515, RFC 7519).

Nothing in a token chooses how it is verified, and its claims are read once the signature holds. The reason of a refusal
is one word.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from outlast.notation import moment
from outlast.push.base import Unverified

ISSUER = "Upstash"

SKEW = 5.0
"""Seconds by which the clocks of the two sides may differ."""


def require_signed(token: str, keys: Sequence[str], *, url: str, body: bytes, now: float) -> None:
    """Raise Unverified unless the token is signed by one of the keys, for this address and this body, and is good now.

    Parameters
    ----------
    keys: several, for they are rotated, and each region has its own.
    body: the raw bytes; parsed and written anew they would be others.
    now: seconds since 1970, by the wall clock.
    """
    signed, _, signature = token.rpartition(".")
    header, _, claims = signed.partition(".")
    # Every key is tried, so that the time taken tells nothing.
    good = [hmac.compare_digest(_signature(signed, key), _bytes(signature)) for key in keys]
    if not any(good) or not _is_known(_decoded(header)):
        raise Unverified(
            "the signature", "no key that is set has signed it; are they of the account and region that call?"
        )
    _require_claims(_decoded(claims), url, body, now)


def _is_known(header: dict[str, Any]) -> bool:
    return header.get("alg") == "HS256" and "crit" not in header


def _require_claims(claims: dict[str, Any], url: str, body: bytes, now: float) -> None:
    if claims.get("iss") != ISSUER:
        raise Unverified("the issuer")
    if claims.get("sub") != url:
        raise Unverified("the address", f"it is signed for {str(claims.get('sub'))[:200]!r}, and {url} is what is set")
    begins, ends = moment(claims.get("nbf")), moment(claims.get("exp"))
    if begins is None or ends is None or not begins - SKEW <= now < ends + SKEW:
        raise Unverified("the time", "the clock of this machine is wrong, or the call is an old one")
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=")
    brought = claims.get("body")
    if not isinstance(brought, str) or not hmac.compare_digest(_bytes(brought).rstrip(b"="), digest):
        raise Unverified("the body")


def _signature(signed: str, key: str) -> bytes:
    digest = hmac.digest(key.encode(), _bytes(signed), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=")


def _decoded(part: str) -> dict[str, Any]:
    """The JSON object behind a part of a token; an empty one if there is none."""
    try:
        value = json.loads(base64.urlsafe_b64decode(_bytes(part) + b"=="))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
