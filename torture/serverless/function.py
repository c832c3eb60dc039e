"""A function of the platform: a process that answers one request after the other. `python -P function.py MODULE:APP`

Requests come on stdin, each with its length in four bytes before it, and answers go to stdout in frames: a letter, four
bytes of length, and as many bytes. No lifespan is run, for no platform promises one.
"""

import asyncio
import importlib
import json
import os
import sys
from collections.abc import MutableMapping
from typing import Any

READY, START, BODY, END = b"R", b"S", b"B", b"E"


def main() -> None:
    # The app is found from where the process begins.
    sys.path.insert(0, os.getcwd())
    module, _, name = sys.argv[1].partition(":")
    app = getattr(importlib.import_module(module), name)
    write(READY, b"")
    asyncio.run(serve(app))


async def serve(app: Any) -> None:
    """Until the platform kills this process. What the app has begun beside an answer goes on while it waits."""
    while sent := await asyncio.to_thread(read):
        await answer(app, sent)


async def answer(app: Any, sent: bytes) -> None:
    head, _, body = sent.partition(b"\n")
    scope = json.loads(head)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in scope["headers"].items()]
    scope |= {"headers": headers, "query_string": scope["query_string"].encode(), "asgi": {"version": "3.0"}}
    received = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal received
        if received:
            await asyncio.Event().wait()
        received = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            told = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            write(START, json.dumps({"status": message["status"], "headers": told}).encode())
            return
        write(BODY, message.get("body", b""))
        if not message.get("more_body", False):
            write(END, b"")

    await app(scope, receive, send)


def read() -> bytes:
    """The next request; nothing once the platform has gone."""
    return sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(4), "big"))


def write(kind: bytes, data: bytes) -> None:
    left = memoryview(kind + len(data).to_bytes(4, "big") + data)
    while left:
        left = left[os.write(1, left) :]


if __name__ == "__main__":
    main()
