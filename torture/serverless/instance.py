"""A process of the platform, and what may be done to it."""

import asyncio
import json
import os
import re
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import IO, Self
from urllib.parse import unquote, urlsplit

from torture.serverless.function import READY
from torture.serverless.wire import Request

FUNCTION = Path(__file__).with_name("function.py")


class Instance:
    """A function that answers one request at a time; it is ready once it has imported its app."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._to, self._from = process, process.stdin, process.stdout
        self._began = monotonic()
        self._ready = self.killed = False

    @classmethod
    async def start(
        cls, app: str, environ: Mapping[str, str], *, folder: Path, python: str, log: IO[bytes] | None
    ) -> Self:
        """A cold one, which finds its app from a folder and logs into a file; None: where this process does."""
        return cls(
            await asyncio.create_subprocess_exec(
                python, "-P", FUNCTION, app, cwd=folder, env=environ, stdin=PIPE, stdout=PIPE, stderr=log
            )
        )

    @property
    def lives(self) -> bool:
        return self._process.returncode is None

    @property
    def peak(self) -> int:
        """The most memory that it has taken, in bytes; 0 once it has gone."""
        with suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
            return 0 if found is None else int(found[1]) << 10
        return 0

    async def ready(self) -> None:
        """Once it has imported its app. Raises asyncio.IncompleteReadError if it dies over that."""
        if not self._ready:
            kind, _ = await self.frame()
            assert kind == READY
            self._ready = True

    def send(self, request: Request) -> None:
        sent = _sent(request)
        self._to.write(len(sent).to_bytes(4, "big") + sent)

    async def frame(self) -> tuple[bytes, bytes]:
        """The next part of its answer, a letter and some bytes. Raises asyncio.IncompleteReadError if it dies first."""
        kind, length = await self._from.readexactly(1), await self._from.readexactly(4)
        data = await self._from.readexactly(int.from_bytes(length, "big"))
        return kind, data

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self.killed = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # Not by the process's own method, which would take its end away from the loop that waits for it.
        if self.lives:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def gone(self) -> float:
        """Once it is: for how many seconds it was there."""
        await self._process.wait()
        return monotonic() - self._began


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
