"""One try of a delivery: a POST to an address that was judged, and what came of it in one word.

Nothing of the receiver's answer is kept but that word, so that a webhook is no way to look around in a network. A
transport is used, and no client over it: it follows no redirect, keeps no cookie, knows no proxy. No connection is used
twice, for it is made to an address, and the next host at that address may be another's.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC
from time import time
from typing import TYPE_CHECKING, Literal, NamedTuple

from outlast import callback
from outlast.callback import Refused, Resolve, Target, Unresolved

if TYPE_CHECKING:
    import ssl

    from httpx2 import AsyncHTTPTransport, Request, Response

PATIENCE = 15.0
"""Seconds that a try may take in all, its name look-up among them."""

MOST_READ = 64 << 10
"""Bytes that are read of an answer, which then is dropped."""

Outcome = Literal[
    "delivered",
    "rejected",
    "gone",
    "redirected",
    "timeout",
    "no_connection",
    "dns",
    "refused",
    "unsigned",
    "unknown_endpoint",
]
"""delivered: 2xx. rejected: another answer, but for gone (410) and redirected (3xx). no_connection: none was made, or
it broke, or its certificate is wrong. refused: the address is none that is called. unsigned: there is no secret.
unknown_endpoint: the app has no such endpoint any more."""


class Answer(NamedTuple):
    """What came of a try, and the seconds after which the receiver wants the next."""

    outcome: Outcome
    retry_after: float | None = None


class Poster:
    """Makes the tries of one event loop.

    Parameters
    ----------
    hosts: those that the operator allows beside the public ones.
    resolve: a name to its addresses.
    tls: what certificates are believed; None: the system's.
    """

    def __init__(
        self, hosts: Collection[str], resolve: Resolve = callback.resolved, tls: "ssl.SSLContext | None" = None
    ) -> None:
        self._hosts = hosts
        self._resolve = resolve
        self._tls = tls
        self._transport: AsyncHTTPTransport | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, trusted: bool) -> Answer:
        """Try once. `trusted` is the operator's own URL, which may lead anywhere."""
        from httpx2 import HTTPError

        until = asyncio.get_running_loop().time() + PATIENCE
        try:
            async with asyncio.timeout_at(until):
                target = callback.target(url, self._hosts, trusted=trusted)
                hosts = {*self._hosts, target.host} if trusted else self._hosts
                addresses = await callback.addresses(target, hosts, self._resolve)
                response = await self._answered(target, addresses, body, headers)
        except Refused:
            return Answer("refused")
        except Unresolved:
            return Answer("dns")
        except TimeoutError:
            return Answer("timeout")
        except HTTPError:
            return Answer("no_connection")
        # Once there is a status, it does not matter how the rest of the answer goes.
        await _let_go(response, until)
        return answer_of(response)

    async def close(self) -> None:
        """Let go of every connection."""
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None

    async def _answered(
        self, target: Target, addresses: Sequence[str], body: bytes, headers: Mapping[str, str]
    ) -> "Response":
        """By the first address that takes a connection."""
        from httpx2 import ConnectError

        *others, last = addresses
        for address in others:
            try:
                return await self._connecting().handle_async_request(_request(address, target, body, headers))
            except ConnectError:
                continue
        return await self._connecting().handle_async_request(_request(last, target, body, headers))

    def _connecting(self) -> "AsyncHTTPTransport":
        from httpx2 import AsyncHTTPTransport, Limits

        if self._transport is None:
            limits = Limits(max_connections=None, max_keepalive_connections=0)
            self._transport = AsyncHTTPTransport(verify=self._tls or True, trust_env=False, limits=limits)
        return self._transport


def _request(address: str, target: Target, body: bytes, headers: Mapping[str, str]) -> "Request":
    """The connection is to the address; name and certificate are those of the URL's host."""
    from httpx2 import Request

    host = f"[{address}]" if ":" in address else address
    return Request(
        "POST",
        f"{target.scheme}://{host}:{target.port}{target.path}",
        headers={"Host": target.authority, "Content-Type": "application/json", "User-Agent": "outlast", **headers},
        content=body,
        extensions={"sni_hostname": target.host},
    )


async def _let_go(response: "Response", until: float) -> None:
    from httpx2 import HTTPError

    try:
        async with asyncio.timeout_at(until), aclosing(response.aiter_raw(MOST_READ)) as chunks:
            await anext(chunks, None)
    except (TimeoutError, HTTPError):
        pass
    finally:
        await response.aclose()


def is_installed() -> bool:
    """True if this process can make tries at all."""
    from importlib.util import find_spec

    return find_spec("httpx2") is not None


def answer_of(response: "Response") -> Answer:
    """What a status means."""
    status = response.status_code
    if 200 <= status < 300:
        return Answer("delivered")
    if status == 410:
        return Answer("gone")
    if 300 <= status < 400:
        return Answer("redirected")
    asked = response.headers.get("retry-after") if status in (429, 503) else None
    return Answer("rejected", None if asked is None else _seconds(asked))


def _seconds(retry_after: str) -> float | None:
    """Of a `Retry-After` (RFC 9110, 10.2.3): seconds, or a date."""
    from email.utils import parsedate_to_datetime

    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time(), 0.0)
