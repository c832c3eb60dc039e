"""Tokens: what a server signs for a browser, so that it needs no key.

A *share token* reads one job, and cancels it if that was asked for; or it reads the feed of one owner. A *submit token*
submits one job of one type. Both are a JWS in compact form, signed by HS256 (RFC 7515, RFC 7518): `typ` says which of
the two, `aud` what it opens (`job`, `feed`, `submit`), `sub` the job or the owner. A job's token names no owner.

Nothing in a token chooses how it is verified. The signature is compared as text, for several texts stand for the bytes
of one, and the claims are read once it holds.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from outlast.errors import ConfigurationError, InvalidRequest
from outlast.job import Job
from outlast.notation import moment
from outlast.policy import Duration, seconds
from outlast.secret import WAY_OUT, signing_secrets
from outlast.stores.base import Records, Store

TTL = 15 * 60.0
LONGEST = 24 * 3600.0
"""Seconds for which a token is good: usually, and at most."""

Audience = Literal["job", "feed", "submit"]

NAMES = {"outlast-share+jwt": "share token", "outlast-submit+jwt": "submit token"}
"""The values of `typ`, and what each is called."""

TYPES: dict[Audience, str] = {"job": "outlast-share+jwt", "feed": "outlast-share+jwt", "submit": "outlast-submit+jwt"}


class Minted(NamedTuple):
    """A token as it is handed out, and until when it is good, in seconds since 1970."""

    token: str
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a token says: `subject` is a job's id for the audience `job`, else an owner (None: nobody)."""

    audience: Audience
    subject: str | None
    scopes: frozenset[str]
    type: str | None
    expires_at: float
    id: str

    @property
    def name(self) -> str:
        """What it is called in answers and logs, which never show the token itself."""
        return NAMES[TYPES[self.audience]]


class TokenRefused(Exception):
    """The token is not good, or no longer; the message calls it by its name."""


class Tokens:
    """Mints tokens, and reads those that come back. Both take `OUTLAST_SECRET`, of the same value in all processes."""

    def __init__(self, connect: Callable[[], Awaitable[Store]]) -> None:
        self._connect = connect

    @property
    def on(self) -> bool:
        """True if there is a secret to sign with."""
        return bool(_secrets())

    async def job(self, job: Job[Any] | str, *, scopes: Collection[str] = ("read",), ttl: Duration = TTL) -> Minted:
        """A share token for one job: to read it and, with `cancel` among the scopes, to cancel it.

        Parameters
        ----------
        ttl: how long it is good, at most 24 h; fresh ones may be minted for as long as the page is open.

        Raises ConfigurationError without a secret, InvalidRequest for a `ttl` that cannot be.
        """
        return await self._minted("job", job if isinstance(job, str) else job.id, scopes, ttl)

    async def feed(self, owner: str | None, *, ttl: Duration = TTL) -> Minted:
        """A share token for the feed of one owner. It names the owner. Raises as `job` does."""
        return await self._minted("feed", owner, ("read",), ttl)

    async def submit(self, type: str, *, owner: str | None, ttl: Duration = TTL) -> Minted:
        """A submit token: good for one job of this type, which will be the owner's. Raises as `job` does."""
        return await self._minted("submit", owner, ("submit",), ttl, type)

    async def _minted(
        self, audience: Audience, subject: str | None, scopes: Collection[str], ttl: Duration, type: str | None = None
    ) -> Minted:
        if not (known := _secrets()):
            raise ConfigurationError(f"OUTLAST_SECRET is not set, so there is nothing to sign tokens with; {WAY_OUT}")
        expires_at = int((await self._connect()).now() + _good_for(ttl))
        claims: dict[str, Any] = {"aud": audience, "sub": subject, "type": type, "scp": sorted(scopes)}
        claims |= {"exp": expires_at, "jti": secrets.token_hex(16)}
        told = {name: value for name, value in claims.items() if value is not None}
        signed = f"{_encoded({'alg': 'HS256', 'typ': TYPES[audience]})}.{_encoded(told)}"
        return Minted(f"{signed}.{_signature(signed, known[0])}", expires_at)

    async def read(self, text: str) -> Token:
        """What a token says. Raises TokenRefused unless it is signed by a secret of ours and good still."""
        token = _verified(text, _secrets())
        if (await self._connect()).now() >= token.expires_at:
            raise TokenRefused(f"this {token.name} has expired")
        return token

    async def use(self, token: Token) -> bool:
        """Use a token up; False if that has been done. Of several at once one does it, on any machine."""
        store = await self._connect()
        left = max(token.expires_at - store.now(), 0.0)
        return await store.put(_key(token), {}, version=0, ttl=left + 60.0) is not None

    async def give_back(self, token: Token) -> None:
        """It was used for nothing."""
        records: Records = await self._connect()
        await records.drop([_key(token)])


def _key(token: Token) -> str:
    return f"token/{token.id}"


def _secrets() -> tuple[bytes, ...]:
    return signing_secrets(os.environ.get("OUTLAST_SECRET", ""))


def _good_for(ttl: Duration) -> float:
    try:
        length = seconds(ttl)
    except ValueError as error:
        raise _wrong_ttl(str(error)) from None
    if not 1 <= length <= LONGEST:
        raise _wrong_ttl(f"a token is good for 1 s to {LONGEST / 3600:g} h")
    return length


def _wrong_ttl(detail: str) -> InvalidRequest:
    return InvalidRequest(f"ttlMs: {detail}", errors=[{"pointer": "/ttlMs", "detail": detail}])


# -- JWS ------------------------------------------------------------------------------------------------------------


def name_of(text: str) -> str | None:
    """What a text is called that says it is a token of ours; None if it says nothing of the kind."""
    header = _decoded(text.partition(".")[0][:LONGEST_HEADER])
    typ = header.get("typ")
    return NAMES.get(typ) if isinstance(typ, str) else None


LONGEST_HEADER = 200


def _verified(text: str, known: Collection[bytes]) -> Token:
    signed, _, signature = text.rpartition(".")
    # Every secret is tried, so that the time taken tells nothing.
    good = [hmac.compare_digest(_signature(signed, secret).encode(), _bytes(signature)) for secret in known]
    if not any(good):
        raise TokenRefused(f"this {name_of(text)} was not signed by this server, or was changed since")
    claims = _decoded(signed.partition(".")[2])
    expires_at = moment(claims.get("exp"))
    if expires_at is None:
        raise TokenRefused(f"this {name_of(text)} does not say until when it is good")
    return Token(
        audience=claims["aud"],
        subject=claims.get("sub"),
        scopes=frozenset(claims["scp"]),
        type=claims.get("type"),
        expires_at=expires_at,
        id=claims["jti"],
    )


def _signature(signed: str, secret: bytes) -> str:
    return _base64(hmac.new(secret, _bytes(signed), hashlib.sha256).digest())


def _encoded(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decoded(text: str) -> dict[str, Any]:
    """The JSON object behind a part of a token; an empty one if there is none."""
    try:
        value = json.loads(base64.urlsafe_b64decode(_bytes(text) + b"=="))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
