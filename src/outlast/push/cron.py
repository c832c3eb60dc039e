"""Cron: whatever calls a URL now and then. Each call of `/push/sweep` does what is due, and runs jobs for a while."""

import hmac
import os
from collections.abc import Mapping

from outlast.errors import ConfigurationError
from outlast.policy import Duration
from outlast.push.base import BUDGET, About, Incoming, Unverified, budget_of

LEAST = 16
"""Characters of a secret."""


class Cron:
    """Nothing is published: the calls of a clock are enough.

    Parameters
    ----------
    secret: what calls carry as `Authorization: Bearer SECRET`; None: that of the environment, `CRON_SECRET`.
    budget: how long a call may take.

    Raises ConfigurationError if there is no secret, or one that can be guessed.
    """

    name = "sweep"

    def __init__(self, *, secret: str | None = None, budget: Duration = BUDGET) -> None:
        self.budget = budget_of(budget)
        self._secret = cron_secret({"CRON_SECRET": secret} if secret is not None else os.environ)
        if self._secret is None:
            raise ConfigurationError(f"Cron needs a secret, in CRON_SECRET or by secret=; {WAY_OUT}")

    def describe(self) -> About:
        """A clock of yours calls; nothing else does."""
        return About("a clock is to call /push/sweep, with the secret, each minute or so")

    def received(self, call: Incoming) -> None:
        """Such a call names no job. Raises Unverified unless it is one to sweep and brings the secret."""
        if call.place != "sweep":
            raise Unverified("the secret")
        require_secret(call, self._secret)


WAY_OUT = "make one with `openssl rand -base64 32`, and have the caller send it"


def cron_secret(environ: Mapping[str, str]) -> str | None:
    """`CRON_SECRET`, if it is set. Raises ConfigurationError for one that can be guessed, which it does not show."""
    secret = environ.get("CRON_SECRET", "").strip() or None
    if secret is not None and len(secret) < LEAST:
        raise ConfigurationError(f"CRON_SECRET has fewer than {LEAST} characters, which can be guessed; {WAY_OUT}")
    return secret


def require_secret(call: Incoming, secret: str | None) -> None:
    """Raise Unverified unless the call brings this secret."""
    if not carries(call, secret):
        is_to = "its caller is to send `Authorization: Bearer` and the secret that is set here, such as by CRON_SECRET"
        raise Unverified("the secret", is_to if secret else "CRON_SECRET is not set here")


def carries(call: Incoming, secret: str | None) -> bool:
    """True if the call brings this secret; how long it takes to say so tells nothing of it."""
    scheme, _, brought = call.headers.get("authorization", "").partition(" ")
    # Both as bytes, for of text only ASCII can be compared like this.
    same = hmac.compare_digest(brought.strip().encode("utf-8", "surrogatepass"), (secret or "").encode())
    return same and scheme.lower() == "bearer" and bool(secret)
