"""The body of a request: of bounded size, in bounded time; as text it is JSON by its own word, and UTF-8."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from outlast.web.problems import Problem, require_known, shown
from outlast.web.strict_json import read_members

SECONDS = 30.0
"""How long a body may take to arrive."""


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body of a request that must have one, whatever it is. Raises Problem."""
    _require_plain(request)
    body = await _read(request, limit)
    if not body:
        raise Problem("empty_body", "the body is empty; send the bytes as they are")
    return body


async def read_text(request: Request, limit: int) -> str:
    """The body of a request that must have one. Raises Problem."""
    _require_json(request)
    return _decoded(await _read(request, limit))


async def read_raw(request: Request, limit: int) -> bytes:
    """The body as it came, whatever it says it is; empty if there is none. Raises Problem."""
    return await _read(request, limit)


async def read_optional_text(request: Request, limit: int) -> str | None:
    """The body, or None if the request has none, for routes where it adds to what the address says."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return None
    return await read_text(request, limit)


async def read_fields(request: Request, limit: int, *known: str) -> Mapping[str, Any]:
    """The fields of a body that may be left out. Raises Problem for one that is not known."""
    text = await read_optional_text(request, limit)
    fields = {} if text is None else read_members(text).values
    require_known(fields, known)
    return fields


def _require_plain(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        detail = f"bodies are taken as they are; send this one without Content-Encoding {shown(encoding)}"
        raise Problem("encoding_off", detail)


def _require_json(request: Request) -> None:
    _require_plain(request)
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json":
        detail = f"send the body with Content-Type: application/json, not {shown(media_type.strip())}"
        raise Problem("unsupported_media_type", detail)
    name, _, charset = parameters.strip().lower().partition("=")
    if name.strip() == "charset" and charset.strip(' "') not in ("utf-8", "utf8"):
        raise Problem("not_utf8", f"JSON is sent as UTF-8, not as {shown(charset)}")


async def _read(request: Request, limit: int) -> bytes:
    """The body. What is beyond the limit is read for a while and thrown away, for a client that is still sending when
    the connection closes sees only that, and not the reply."""
    body, size = bytearray(), 0
    if _declared(request) > limit + THROWN_AWAY:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    body += chunk
                elif size > limit + THROWN_AWAY:
                    break
    except TimeoutError:
        raise Problem("request_timeout", f"the body did not arrive within {SECONDS:g} s", headers=CLOSE) from None
    if size > limit:
        raise _too_large(limit)
    return bytes(body)


THROWN_AWAY = 8 << 20
CLOSE = {"Connection": "close"}


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length[:20]) if length.isascii() and length.isdigit() else 0


def _too_large(limit: int) -> Problem:
    detail = f"the body is greater than {limit} bytes; keep large data elsewhere and send its address"
    return Problem("payload_too_large", detail, headers=CLOSE, more={"limitBytes": limit})


def _decoded(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Problem("not_utf8", f"byte {error.start} is not UTF-8, the one encoding of JSON") from None
    if text.startswith("\ufeff"):
        raise Problem("invalid_json", "not JSON: the text begins with a byte order mark; send UTF-8 without one")
    return text
