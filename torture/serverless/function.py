"""A function of the platform: one process, one request, one answer. `python -m torture.serverless.function MODULE:APP`

The request comes on stdin, and the answer goes to stdout in frames: a letter, four bytes of length, and as many bytes.
No lifespan is run, for no platform promises one.
"""

import asyncio
import importlib
import json
import os
import sys
from collections.abc import MutableMapping
from typing import Any

START, BODY, END = b"S", b"B", b"E"


def main() -> None:
    asyncio.run(answer(sys.argv[1], sys.stdin.buffer.read()))
    # Until the platform kills this process, what the app has begun beside its answer goes on.
    sys.stdin.close()


async def answer(named: str, sent: bytes) -> None:
    head, _, body = sent.partition(b"\n")
    scope = json.loads(head)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in scope["headers"].items()]
    scope |= {"headers": headers, "query_string": scope["query_string"].encode(), "asgi": {"version": "3.0"}}
    module, _, name = named.partition(":")
    app = getattr(importlib.import_module(module), name)
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
            await asyncio.Event().wait()

    await app(scope, receive, send)


def write(kind: bytes, data: bytes) -> None:
    left = memoryview(kind + len(data).to_bytes(4, "big") + data)
    while left:
        left = left[os.write(1, left) :]


if __name__ == "__main__":
    main()
