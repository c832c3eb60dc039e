"""The platform: a fresh process for each request, killed when its answer is complete, or at the limit."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import MutableMapping
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from torture.serverless.function import BODY, END, START
from torture.serverless.wire import Request, head_of, read_request

ROOT = Path(__file__).parents[2]


class Platform:
    """Serves an ASGI app on a port of this machine for as long as the `async with` lasts.

    Parameters
    ----------
    app: `module:name`, found from the root of the checkout.
    environ: of the functions; may be changed later.
    limit: seconds after which a function is killed, however far it is.
    at_once: how many may live at the same time; others wait.
    """

    def __init__(self, app: str, environ: MutableMapping[str, str], *, limit: float, at_once: int = 8) -> None:
        self.environ = environ
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.url = ""
        self._app = app
        self._room = asyncio.Semaphore(at_once)
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._living: set[asyncio.subprocess.Process] = set()
        self._closing = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        self._closing = True
        for process in self._living:
            process.kill()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            await self._serve(await read_request(reader), writer)
        except (OSError, asyncio.IncompleteReadError):
            self.counts["callers that went"] += 1
        finally:
            writer.close()

    async def _serve(self, request: Request, writer: asyncio.StreamWriter) -> None:
        async with self._room:
            if self._closing:
                return
            self.counts["calls"] += 1
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "torture.serverless.function", self._app),
                cwd=ROOT,
                env=dict(self.environ),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            self._living.add(process)
            try:
                async with asyncio.timeout(0 if self._closing else self.limit):
                    await self._relay(request, process, writer)
            except TimeoutError:
                self.counts["killed at the limit"] += 1
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
                self._living.discard(process)

    async def _relay(self, request: Request, process: asyncio.subprocess.Process, writer: asyncio.StreamWriter) -> None:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(_sent(request))
        process.stdin.close()
        started = False
        try:
            while True:
                kind, length = await process.stdout.readexactly(1), await process.stdout.readexactly(4)
                data = await process.stdout.readexactly(int.from_bytes(length, "big"))
                if kind == START:
                    told = json.loads(data)
                    writer.write(head_of(told["status"], told["headers"]))
                    started = True
                elif kind == BODY:
                    writer.write(data)
                await writer.drain()
                if kind == END:
                    self.counts["killed with the answer"] += 1
                    return
        except asyncio.IncompleteReadError:
            self.counts["crashed"] += 1
        finally:
            # Whether it crashed or was killed, the caller learns no more than that.
            if not started:
                writer.write(head_of(504, {"content-length": "0"}))


def _sent(request: Request) -> bytes:
    parts = urlsplit(request.target)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "path": unquote(parts.path),
        "query_string": parts.query,
        "headers": dict(request.headers),
    }
    return json.dumps(scope).encode() + b"\n" + request.body
