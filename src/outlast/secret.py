"""`OUTLAST_SECRET`: what the server signs with, so that it knows its own words when they come back."""

from outlast.errors import ConfigurationError

LEAST = 32
"""Bytes of a secret: as many as the digest has that it goes into (RFC 7518, 3.2)."""

SAMPLES = ("change", "example", "sample", "secret", "0123456789", "your-", "xxxx")
"""What stands in secrets that were copied from a page."""

WAY_OUT = "make one with `openssl rand -base64 32`"


def signing_secrets(text: str) -> tuple[bytes, ...]:
    """The secrets of `OUTLAST_SECRET`, parted by commas: the first signs, each verifies, so that one can be changed.

    Raises ConfigurationError for one that is too short, or that everybody knows. No secret is ever in the message.
    """
    secrets = tuple(part.strip() for part in text.split(",") if part.strip())
    for number, secret in enumerate(secrets, 1):
        if (length := len(secret.encode())) < LEAST:
            raise _refused(number, f"{length} bytes, and fewer than {LEAST} can be guessed")
        if len(set(secret)) < 8 or any(sample in secret.lower() for sample in SAMPLES):
            raise _refused(number, "it looks like a sample out of a page, which everybody knows")
    return tuple(secret.encode() for secret in secrets)


def _refused(number: int, said: str) -> ConfigurationError:
    return ConfigurationError(f"OUTLAST_SECRET, secret {number}: {said}; {WAY_OUT}")
