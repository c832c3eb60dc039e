"""A double of QStash: it takes what is published, calls when it is due, signs, tries again, and gives up.

By its published protocol, as far as Outlast uses it. Faults come on demand: copies of a call, and publishes that are
acknowledged and lost.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time
from typing import Any, Self

import httpx2

from torture.serverless.wire import Request, head_of, read_request

DEDUPLICATES = 600.0
"""Seconds for which the same deduplication id is one message."""

SIGNATURE_LASTS = 300


@dataclass(frozen=True)
class Message:
    """What was published."""

    id: str
    destination: str
    headers: Mapping[str, str]
    body: bytes


class Queue:
    """Serves the API on a port of this machine for as long as the `async with` lasts.

    Parameters
    ----------
    token: of the account.
    key: signs the calls; it may be another from one call to the next, when keys are rolled.
    copies: how many calls are made of each message, at the same time.
    loses: whether a message that was acknowledged is never called for.
    """

    def __init__(
        self,
        token: str,
        key: str,
        *,
        copies: int = 1,
        loses: Callable[[Message], bool] = lambda message: False,
    ) -> None:
        self.token, self.key, self.copies, self.loses = token, key, copies, loses
        self.url = ""
        self.counts: Counter[str] = Counter()
        self.dead: list[Message] = []
        self._known: dict[str, tuple[float, str]] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._http = httpx2.AsyncClient(timeout=None, trust_env=False)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    # -- in ---------------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            status, told = self._published(await read_request(reader))
            body = json.dumps(told).encode()
            head = {"content-type": "application/json", "content-length": str(len(body))}
            writer.write(head_of(status, head) + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _published(self, request: Request) -> tuple[int, dict[str, Any]]:
        _, found, destination = request.target.partition("/v2/publish/")
        if not found or request.method != "POST":
            return 404, {"error": "not found"}
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"error": "unauthorized"}
        known = self._known.get(request.headers.get("upstash-deduplication-id", ""))
        if known is not None and known[0] > time() - DEDUPLICATES:
            self.counts["deduplicated"] += 1
            return 202, {"messageId": known[1], "deduplicated": True}
        message = Message(f"msg_{secrets.token_hex(8)}", destination, request.headers, request.body)
        if (key := request.headers.get("upstash-deduplication-id")) is not None:
            self._known[key] = time(), message.id
        self._keep(message)
        return 200, {"messageId": message.id}

    def _keep(self, message: Message) -> None:
        self.counts["published"] += 1
        if self.loses(message):
            self.counts["lost"] += 1
            return
        for _ in range(self.copies):
            task = asyncio.get_running_loop().create_task(self._deliver(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # -- out --------------------------------------------------------------------------------------------------------

    async def _deliver(self, message: Message) -> None:
        headers = message.headers
        await asyncio.sleep(max(float(headers.get("upstash-not-before", 0)) - time(), 0.0))
        for retried in range(int(headers.get("upstash-retries", 3)) + 1):
            status = await self._call(message.destination, message.body, message.id, retried, headers)
            if 200 <= status < 300:
                return
            self.counts[f"answered {status}"] += 1
            await asyncio.sleep(_pause(headers.get("upstash-retry-delay", "1000 * pow(2, retried)"), retried))
        self.dead.append(message)
        if (callback := headers.get("upstash-failure-callback")) is not None:
            told = {"sourceMessageId": message.id, "sourceBody": base64.b64encode(message.body).decode()}
            await self._call(callback, json.dumps(told).encode(), f"{message.id}_dead", 0, headers)

    async def _call(self, url: str, body: bytes, id: str, retried: int, published: Mapping[str, str]) -> int:
        self.counts["calls"] += 1
        headers = {
            "Content-Type": published.get("content-type", "text/plain"),
            "Upstash-Message-Id": id,
            "Upstash-Retried": str(retried),
            "Upstash-Signature": self._signed(url, body),
            "User-Agent": "Upstash-QStash",
        }
        try:
            async with asyncio.timeout(float(published.get("upstash-timeout", "900s").removesuffix("s"))):
                return (await self._http.post(url, content=body, headers=headers)).status_code
        except (TimeoutError, httpx2.HTTPError):
            return 0

    def _signed(self, url: str, body: bytes) -> str:
        now = int(time())
        claims = {"iss": "Upstash", "sub": url, "nbf": now, "iat": now, "exp": now + SIGNATURE_LASTS}
        claims |= {"jti": f"jwt_{secrets.token_hex(8)}", "body": _text(hashlib.sha256(body).digest())}
        parts = {"alg": "HS256", "typ": "JWT"}, claims
        signed = ".".join(_text(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_text(hmac.digest(self.key.encode(), signed.encode(), 'sha256'))}"


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _pause(expression: str, retried: int) -> float:
    """Seconds; the expression is of the trial's own making, so it may be evaluated."""
    return float(eval(expression, {"pow": pow, "min": min, "max": max, "retried": retried})) / 1000
