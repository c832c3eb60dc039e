"""AWS Lambda, as far as a function notices: processes that are called one call at a time, and frozen in between.

`python -m tests.push.environments MODULE:NAME` is one of them. A call comes as a line of JSON, and so goes its answer.
"""

import asyncio
import importlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Self

ROOT = Path(__file__).parents[2]


class Lambda:
    """A function in as many processes as there are calls at once.

    Parameters
    ----------
    function: `module:name`, found from the root of the checkout.
    limit: seconds after which a call is ended with its process.
    """

    def __init__(self, function: str, environ: Mapping[str, str], *, limit: float) -> None:
        self.counts: Counter[str] = Counter()
        self._function = function
        self._environ = environ
        self._limit = limit
        self._frozen: list[asyncio.subprocess.Process] = []
        self._busy: set[asyncio.subprocess.Process] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for process in (*self._frozen, *self._busy):
            await _end(process)

    async def invoke(self, event: Mapping[str, Any], fate: str = "") -> Mapping[str, Any] | None:
        """The function's answer; None if it died or raised."""
        self.counts[fate] += 1
        process = self._frozen.pop() if self._frozen else await self._started()
        self._busy.add(process)
        process.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(self._limit):
                answer = await _called(process, {"event": event, "seconds": self._limit, "fate": fate})
        except TimeoutError:
            answer = None
            self.counts["ended at the limit"] += 1
        self._busy.discard(process)
        if answer is None:
            await _end(process)
            return None
        process.send_signal(signal.SIGSTOP)
        self._frozen.append(process)
        found: Mapping[str, Any] | None = answer.get("answer")
        return found

    async def _started(self) -> asyncio.subprocess.Process:
        self.counts["cold starts"] += 1
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "tests.push.environments", self._function)
        return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=self._environ, stdin=pipe, stdout=pipe)


async def _called(process: asyncio.subprocess.Process, call: Mapping[str, Any]) -> Any:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(call).encode() + b"\n")
    line = await process.stdout.readline()
    return json.loads(line) if line else None


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


class Call:
    """What a function is told of a call beside the event."""

    def __init__(self, seconds: float) -> None:
        self._until = monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return round((self._until - monotonic()) * 1000)


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    while line := sys.stdin.readline():
        call = json.loads(line)
        os.environ["FATE"] = call["fate"]
        try:
            answer = {"answer": function(call["event"], Call(call["seconds"]))}
        except Exception as error:
            answer = {"error": repr(error)}
        if call["fate"] == "dies unheard":
            os.kill(os.getpid(), signal.SIGKILL)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
