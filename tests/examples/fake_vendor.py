"""A vendor on loopback: speaks the streaming chat protocol of OpenAI, and answers by the offline rules.

So the same handler runs through a real SDK, and what it makes of a transcript can be compared.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from examples.journeys.offline.answers import answer

Refusal = Callable[[int], Response | None]
"""From the number of the request, counted from 1, to what it is refused with."""


class FakeVendor:
    """`url` is what a client takes as base; `requests` are the bodies that came."""

    def __init__(self, refusal: Refusal) -> None:
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self._refusal = refusal

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.keys.append(request.headers.get("authorization", ""))
        refused = self._refusal(len(self.requests))
        return refused or StreamingResponse(_chunks(body), media_type="text/event-stream")


@asynccontextmanager
async def fake_vendor(refusal: Refusal = lambda number: None) -> AsyncIterator[FakeVendor]:
    vendor = FakeVendor(refusal)
    app = Starlette(routes=[Route("/v1/chat/completions", vendor.complete, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        vendor.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield vendor
        finally:
            server.should_exit = True
            await serving


def refused(status: int, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": "no", "type": "x", "code": "x"}}, status, headers)


async def _chunks(body: dict[str, Any]) -> AsyncIterator[str]:
    wanted = body["tools"][0]["function"]["name"]
    prompt = next(message["content"] for message in body["messages"] if message["role"] == "user")
    text = answer(wanted, prompt).model_dump_json(by_alias=True)
    yield _frame(body, {"role": "assistant", "tool_calls": [_call(wanted, "")]})
    for start in range(0, len(text), 40):
        yield _frame(body, {"tool_calls": [_call(None, text[start : start + 40])]})
    yield _frame(body, {}, finish="tool_calls")
    usage = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
    yield f"data: {json.dumps(_head(body) | {'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


def _call(name: str | None, arguments: str) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"index": 0, "function": function} | ({"id": "call_1", "type": "function"} if name else {})


def _frame(body: dict[str, Any], delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps(_head(body) | {'choices': [choice]})}\n\n"


def _head(body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
