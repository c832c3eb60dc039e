"""A cold start, in a process that lives for it alone: prints how many milliseconds it took from its first line on.

python -m bench.serverless_start import NAMES    modules, with commas between
python -m bench.serverless_start ask REQUEST     the smallest function, to the first byte of its answer
"""

import sys
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Asgi = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


def imported(names: str) -> float:
    """When all of them were there."""
    from importlib import import_module

    for name in names.split(","):
        import_module(name)
    return time.perf_counter()


def answered(request: str) -> float:
    import asyncio
    import json

    from bench.serverless_function import api

    return asyncio.run(asked(api, json.loads(request)))


async def asked(api: Asgi, request: Mapping[str, Any]) -> float:
    """When the first byte of the answer was sent. Raises RuntimeError if it is not the one that is wanted."""
    status, body, first = 0, b"", 0.0

    async def receive() -> Message:
        return {"type": "http.request", "body": request["body"].encode(), "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, body, first
        first = first or time.perf_counter()
        status, body = message.get("status", status), body + message.get("body", b"")

    await api(scope_of(request), receive, send)
    if status != 200 or request["wanted"].encode() not in body:
        raise RuntimeError(f"{request['path']} was answered {status}: {body!r}")
    return first


def scope_of(request: Mapping[str, Any]) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "https",
        "method": request["method"],
        "path": request["path"],
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in request["headers"].items()],
    }


def main() -> None:
    began = time.perf_counter()
    what, given = sys.argv[1:]
    ended = imported(given) if what == "import" else answered(given)
    print((ended - began) * 1000)


if __name__ == "__main__":
    main()
