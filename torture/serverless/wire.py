"""As much of HTTP/1.1 as a platform needs that closes each connection with its answer."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """A request as it came; names of headers are in small letters."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Raises asyncio.IncompleteReadError if the peer goes before it has sent all."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))


def head_of(status: int, headers: Mapping[str, str]) -> bytes:
    """What stands before the body of an answer that ends with its connection."""
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers.items()), "connection: close"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
