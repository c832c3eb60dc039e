"""A double of QStash: it takes what is published, calls when it is due, signs, tries again, and gives up.

By its published protocol, as far as Outlast uses it. What goes wrong on the way does so by the odds that a trial sets.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from time import time
from typing import Any, Literal, NamedTuple, Self

import httpx2

from torture.serverless.wire import Request, head_of, read_request

DEDUPLICATES = 600.0
"""Seconds for which the same deduplication id is one message."""

SIGNATURE_LASTS = 300

Fault = Literal["lost", "unanswered", "doubled", "late"]
"""A publish that is acknowledged and never called for, or taken and not acknowledged; a message that is called for
twice, or long after its time."""


@dataclass(frozen=True)
class Message:
    """What was published, by its number in the order of publishing."""

    id: str
    number: int
    destination: str
    headers: Mapping[str, str]
    body: bytes


class Call(NamedTuple):
    """A call as it is made."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """What came of a call: status 0 if there was no answer."""

    status: int
    body: bytes = b""


class Queue:
    """Serves the API on a port of this machine for as long as the `async with` lasts.

    Parameters
    ----------
    token: of the account.
    key: signs the calls; it may be another from one call to the next, when keys are rolled.
    odds: how likely each fault is, from 0, where it is not named, to 1; they may be changed later.
    late_by: seconds, where a call is late.
    spread: seconds; each call comes up to so much later than it should, so that they overtake each other.
    deduplicates: seconds for which the same deduplication id is one message.
    chance: draws.

    `heard`, if it is set, is told of every call before it is made.
    """

    def __init__(
        self,
        token: str,
        key: str,
        *,
        odds: Mapping[Fault, float] | None = None,
        late_by: float = 0.0,
        spread: float = 0.0,
        deduplicates: float = DEDUPLICATES,
        chance: Random | None = None,
    ) -> None:
        self.token, self.key = token, key
        self.odds: Mapping[Fault, float] = odds or {}
        self.late_by, self.spread, self.deduplicates = late_by, spread, deduplicates
        self.url = ""
        self.counts: Counter[str] = Counter()
        self.dead: list[Message] = []
        self.heard: Callable[[Call], None] = lambda call: None
        self._chance = chance or Random(0)
        self._known: dict[str, tuple[float, str]] = {}
        self._newest_called = 0
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

    async def idle(self) -> None:
        """Wait until every message has been called for."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _happens(self, fault: Fault) -> bool:
        happens = self._chance.random() < self.odds.get(fault, 0.0)
        if happens:
            self.counts[fault] += 1
        return happens

    # -- in ---------------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            status, told = self._published(await read_request(reader))
            if status == 200 and self._happens("unanswered"):
                return
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
        if known is not None and known[0] > time() - self.deduplicates:
            self.counts["deduplicated"] += 1
            return 202, {"messageId": known[1], "deduplicated": True}
        self.counts["published"] += 1
        id = f"msg_{secrets.token_hex(8)}"
        if (key := request.headers.get("upstash-deduplication-id")) is not None:
            self._known[key] = time(), id
        self._keep(Message(id, self.counts["published"], destination, request.headers, request.body))
        return 200, {"messageId": id}

    def _keep(self, message: Message) -> None:
        if self._happens("lost"):
            return
        for _ in range(2 if self._happens("doubled") else 1):
            task = asyncio.get_running_loop().create_task(self._deliver(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # -- out --------------------------------------------------------------------------------------------------------

    async def _deliver(self, message: Message) -> None:
        headers = message.headers
        await asyncio.sleep(max(float(headers.get("upstash-not-before", 0)) - time(), 0.0) + self._behind())
        self._count_if_overtaken(message)
        retried, retries = 0, int(headers.get("upstash-retries", 3))
        while not 200 <= (reply := await self._call(message, retried)).status < 300:
            self.counts[f"answered {reply.status}"] += 1
            if retried == retries:
                await self._give_up(message, retried, reply)
                return
            await asyncio.sleep(_pause(headers.get("upstash-retry-delay", "1000 * pow(2, retried)"), retried))
            retried += 1

    async def _give_up(self, message: Message, retried: int, reply: Reply) -> None:
        self.dead.append(message)
        if (callback := message.headers.get("upstash-failure-callback")) is not None:
            told = _given_up(message, retried, reply)
            await self._call(replace(message, id=f"{message.id}_dead", destination=callback, body=told), 0)

    def _behind(self) -> float:
        return self._chance.uniform(0.0, self.spread) + (self.late_by if self._happens("late") else 0.0)

    def _count_if_overtaken(self, message: Message) -> None:
        if "upstash-not-before" in message.headers:
            return
        if message.number < self._newest_called:
            self.counts["overtaken"] += 1
        self._newest_called = max(self._newest_called, message.number)

    async def _call(self, message: Message, retried: int) -> Reply:
        self.counts["calls"] += 1
        headers = {
            "Content-Type": message.headers.get("content-type", "text/plain"),
            "Upstash-Message-Id": message.id,
            "Upstash-Retried": str(retried),
            "Upstash-Signature": signed(self.key, message.destination, message.body),
            "User-Agent": "Upstash-QStash",
        }
        self.heard(Call(message.destination, headers, message.body))
        try:
            async with asyncio.timeout(float(message.headers.get("upstash-timeout", "900s").removesuffix("s"))):
                reply = await self._http.post(message.destination, content=message.body, headers=headers)
                return Reply(reply.status_code, reply.content)
        except (TimeoutError, httpx2.HTTPError):
            return Reply(0)


def signed(key: str, url: str, body: bytes) -> str:
    """The signature of a call: a JWT by this key."""
    now = int(time())
    claims = {"iss": "Upstash", "sub": url, "nbf": now, "iat": now, "exp": now + SIGNATURE_LASTS}
    claims |= {"jti": f"jwt_{secrets.token_hex(8)}", "body": _text(hashlib.sha256(body).digest())}
    parts = {"alg": "HS256", "typ": "JWT"}, claims
    text = ".".join(_text(json.dumps(part).encode()) for part in parts)
    return f"{text}.{_text(hmac.digest(key.encode(), text.encode(), 'sha256'))}"


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _pause(expression: str, retried: int) -> float:
    """Seconds; the expression is of the trial's own making, so it may be evaluated."""
    return float(eval(expression, {"pow": pow, "min": min, "max": max, "retried": retried})) / 1000


def _given_up(message: Message, retried: int, reply: Reply) -> bytes:
    """What a failure callback tells."""
    told = {
        "status": reply.status,
        "body": base64.b64encode(reply.body).decode(),
        "retried": retried,
        "maxRetries": int(message.headers.get("upstash-retries", 3)),
        "dlqId": f"{message.id}_dlq",
        "sourceMessageId": message.id,
        "url": message.destination,
        "method": "POST",
        "sourceBody": base64.b64encode(message.body).decode(),
    }
    return json.dumps(told).encode()
