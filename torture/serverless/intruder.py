"""Somebody who hears the calls of a queue: he makes some again as they were, later, and others that he made up."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from itertools import cycle
from random import Random
from typing import Any, Self

import httpx2

from torture.serverless.queue import Call, Queue, signed

HIS_KEY = f"sig_{'x' * 28}"


class Intruder:
    """At it for as long as the `async with` lasts, which ends once he has made the last call.

    Parameters
    ----------
    queue: whose calls he hears.
    chance: draws.
    replays, forges: how likely it is that a call gives him the idea, from 0 to 1.
    patience: seconds, at most, after which he makes it.

    `accepted` tells of each forged call that was not refused.
    """

    def __init__(self, queue: Queue, chance: Random, *, replays: float, forges: float, patience: float) -> None:
        self._queue, self._chance, self._patience = queue, chance, patience
        self._replays, self._forges = replays, forges
        self._ways = cycle(FORGERIES)
        self.counts: Counter[str] = Counter()
        self.accepted: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._http = httpx2.AsyncClient(timeout=None, trust_env=False)

    async def __aenter__(self) -> Self:
        self._queue.heard = self._hear
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._queue.heard = lambda call: None
        await asyncio.gather(*self._tasks)
        await self._http.aclose()

    def _hear(self, call: Call) -> None:
        if self._chance.random() < self._replays:
            self._begin(self._replay(call, self._chance.uniform(0.0, self._patience)))
        if self._chance.random() < self._forges:
            self._begin(self._forge(call, next(self._ways)))

    def _begin(self, doing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replay(self, call: Call, after: float) -> None:
        await asyncio.sleep(after)
        status, body = await self._make(call)
        if status == 200:
            self.counts["replayed"] += 1
        if (status, body) == (200, b'{"ran":false}'):
            self.counts["replayed in vain"] += 1

    async def _forge(self, call: Call, how: str) -> None:
        status, body = await self._make(FORGERIES[how](call))
        if status == 401:
            self.counts[f"forged {how}"] += 1
        elif 0 < status < 500:
            self.accepted.append(f"a call forged {how} was answered {status}: {body.decode(errors='replace')}")

    async def _make(self, call: Call) -> tuple[int, bytes]:
        try:
            reply = await self._http.post(call.url, content=call.body, headers=dict(call.headers))
        except httpx2.HTTPError:
            return 0, b""
        return reply.status_code, reply.content


def _by_another_key(call: Call) -> Call:
    return call._replace(headers={**call.headers, "Upstash-Signature": signed(HIS_KEY, call.url, call.body)})


def _with_another_body(call: Call) -> Call:
    """Of another turn; the signature is the one that fitted before."""
    return call._replace(body=json.dumps(json.loads(call.body) | {"turn": -1}).encode())


def _without_a_signature(call: Call) -> Call:
    return call._replace(headers={name: value for name, value in call.headers.items() if name != "Upstash-Signature"})


def _at_another_address(call: Call) -> Call:
    """Where it would have everything done that is due."""
    return call._replace(url=f"{call.url.rpartition('/')[0]}/sweep")


FORGERIES: Mapping[str, Callable[[Call], Call]] = {
    "by another key": _by_another_key,
    "with another body": _with_another_body,
    "without a signature": _without_a_signature,
    "at another address": _at_another_address,
}
