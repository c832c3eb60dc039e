"""The platform: a process for each request, which is killed with its answer, or frozen until another request comes."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, NamedTuple, Self

from torture.serverless.function import BODY, END, START
from torture.serverless.instance import Instance
from torture.serverless.wire import Request, head_of, read_request

ROOT = Path(__file__).parents[2]


class Blow(NamedTuple):
    """What meets a process in the middle of a request, so many seconds into it: it is frozen for a while, or killed."""

    after: float
    frozen: float | None = None
    """Seconds; None: killed."""


class Platform:
    """Serves an ASGI app on a port of this machine for as long as the `async with` lasts.

    Parameters
    ----------
    app: `module:name`, found from `folder`.
    environ: of the functions; may be changed later.
    limit: seconds that a function may take for a request once it is there; then it is killed, however far it is.
    at_once: how many may run at the same time; other requests wait.
    warm: a process is frozen with its answer and used again, rather than killed.
    blow: draws what meets the process of the next request; None: nothing.
    folder: where the functions begin; None: the root of the checkout.
    python: that runs them.
    log: where they log; None: where this process does.

    `working` are the processes that have a request; `seconds` is how long those that are gone lived in all, and `peak`
    the most memory that one of them took, in bytes.
    """

    def __init__(
        self,
        app: str,
        environ: MutableMapping[str, str],
        *,
        limit: float,
        at_once: int = 8,
        warm: bool = False,
        blow: Callable[[], Blow | None] = lambda: None,
        folder: Path | None = None,
        python: str = sys.executable,
        log: IO[bytes] | None = None,
    ) -> None:
        self.environ, self.limit, self.warm, self.blow = environ, limit, warm, blow
        self.counts: Counter[str] = Counter()
        self.url = ""
        self.seconds, self.peak = 0.0, 0
        self._app, self._folder, self._python, self._log = app, folder or ROOT, python, log
        self._room = asyncio.Semaphore(at_once)
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.working: set[Instance] = set()
        self._frozen: list[Instance] = []
        self._closing = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        self._closing = True
        for instance in self.working:
            instance.kill()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.gather(*map(self._end, self._frozen))

    async def idle(self) -> None:
        """Wait until every request has been answered."""
        while self._serving:
            await asyncio.wait(self._serving)

    # -- a request ----------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            request = await read_request(reader)
            async with self._room:
                # Whoever did not wait until there was room needs no process.
                if not (self._closing or reader.at_eof()):
                    await self._serve(request, writer)
        except (OSError, asyncio.IncompleteReadError):
            self.counts["callers that went"] += 1
        finally:
            writer.close()

    async def _serve(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.counts["calls"] += 1
        instance, answered = await self._instance(), False
        try:
            answered = await self._relay(request, instance, writer)
        except TimeoutError:
            self.counts["killed at the limit"] += 1
        finally:
            await self._leave(instance, answered)

    async def _relay(self, request: Request, instance: Instance, writer: asyncio.StreamWriter) -> bool:
        """True once the answer is complete, False if the process died before."""
        started = False
        try:
            await instance.ready()
            async with asyncio.timeout(self.limit), self._struck(instance):
                instance.send(request)
                while True:
                    kind, data = await instance.frame()
                    if kind == START:
                        told = json.loads(data)
                        writer.write(head_of(told["status"], told["headers"]))
                        started = True
                    elif kind == BODY:
                        writer.write(data)
                    await writer.drain()
                    if kind == END:
                        return True
        except asyncio.IncompleteReadError:
            if not instance.killed:
                self.counts["crashed"] += 1
            return False
        finally:
            # Whether it crashed or was killed, the caller learns no more than that.
            if not started:
                writer.write(head_of(504, {"content-length": "0"}))

    @asynccontextmanager
    async def _struck(self, instance: Instance) -> AsyncIterator[None]:
        """Within the block a blow may meet the process."""
        striking = asyncio.create_task(self._strike(instance, self.blow()))
        try:
            yield
        finally:
            striking.cancel()

    async def _strike(self, instance: Instance, blow: Blow | None) -> None:
        if blow is None:
            return
        await asyncio.sleep(blow.after)
        if blow.frozen is None:
            self.counts["killed in the middle"] += 1
            instance.kill()
            return
        self.counts["frozen in the middle"] += 1
        instance.freeze()
        await asyncio.sleep(blow.frozen)
        instance.thaw()

    # -- a process ----------------------------------------------------------------------------------------------------

    async def _instance(self) -> Instance:
        """The one that was frozen the longest, for it has the most to catch up; a cold one if there is none."""
        while self._frozen:
            instance = self._frozen.pop(0)
            if instance.lives:
                self.counts["thawed"] += 1
                instance.thaw()
                self.working.add(instance)
                return instance
            await self._end(instance)
        instance = await Instance.start(
            self._app, self.environ, folder=self._folder, python=self._python, log=self._log
        )
        self.working.add(instance)
        if self._closing:
            instance.kill()
        return instance

    async def _leave(self, instance: Instance, answered: bool) -> None:
        if answered and self.warm and not self._closing:
            self.counts["frozen with the answer"] += 1
            instance.freeze()
            self.working.discard(instance)
            self._frozen.append(instance)
            return
        if answered:
            self.counts["killed with the answer"] += 1
        await self._end(instance)

    async def _end(self, instance: Instance) -> None:
        self.peak = max(self.peak, instance.peak)
        instance.kill()
        # Not in one statement, which would read the sum before it waits, and lose what others add meanwhile.
        lived = await instance.gone()
        self.seconds += lived
        self.working.discard(instance)
