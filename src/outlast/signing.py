"""Signatures of webhooks by Standard Webhooks 1.0.0 (standardwebhooks.com), and the secrets they are made with.

A secret is `whsec_` and the base64 of 24 to 64 bytes. An owner's own secret is derived from OUTLAST_SECRET, so that it
is kept nowhere, and every process and `outlast key webhook OWNER` come to the same one.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence

from outlast.errors import ConfigurationError
from outlast.secret import WAY_OUT, signing_secrets

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret."""


def headers(id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of a message; with several secrets any one of the signatures will do, for a rotation.

    Parameters
    ----------
    id: the same in every try of one message.
    timestamp: of this try, in seconds since 1970.
    """
    signatures = " ".join(signature(id, timestamp, body, secret) for secret in secrets)
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": signatures}


def signature(id: str, timestamp: int, body: bytes, secret: str) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. Raises ConfigurationError for what is no secret."""
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, "sha256")).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret. Raises ConfigurationError, which never shows it."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        form = f"{PREFIX} and the base64 of {SHORTEST} to {LONGEST} random bytes"
        raise ConfigurationError(f"a secret of an Endpoint is not of its form, which is {form}")
    return key


def owner_secret(owner: str | None, environ: Mapping[str, str]) -> str:
    """What a receiver of this owner verifies by; None: of jobs that are nobody's.

    Raises ConfigurationError if there is no OUTLAST_SECRET to derive it from.
    """
    return owner_secrets(owner, environ)[0]


def owner_secrets(owner: str | None, environ: Mapping[str, str]) -> list[str]:
    """What the webhooks of this owner's jobs are signed with: one for each that OUTLAST_SECRET has, the newest first.

    Raises ConfigurationError if there is none.
    """
    secrets = signing_secrets(environ.get("OUTLAST_SECRET", ""))
    if not secrets:
        raise ConfigurationError(f"webhooks of jobs are signed by OUTLAST_SECRET, which is not set; {WAY_OUT}")
    # HKDF-Expand (RFC 5869) to one block; no owner has an empty name.
    info = b"outlast webhook\0" + (owner or "").encode() + b"\x01"
    return [PREFIX + base64.b64encode(hmac.digest(secret, info, "sha256")).decode() for secret in secrets]
