"""A WebSocket (RFC 6455), subprotocol `outlast.v1`: many jobs at once, and the owner's feed, on one connection.

What is told is what streams tell, an object to a frame; beside it `ack`, `pong` and `error`. Each job that is followed
has a task of its own, which reads the log as the connection takes it: a slow reader costs no memory, is cut off after
15 s, and loses nothing, for it goes on elsewhere from the numbers it has.

Who asks is known by the handshake, or says so in its first frame, never in the address, which lands in logs.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack, aclosing, suppress
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from outlast.errors import JobNotFound, StoreError
from outlast.principal import CANCEL, READ
from outlast.web.auth import Door, require
from outlast.web.call import Call
from outlast.web.feed import told_of_owner
from outlast.web.frames import Frame, Told, end, told_of_job
from outlast.web.holder import require_place
from outlast.web.ops import MINE, MOST_JOBS, Op, read
from outlast.web.problems import Problem, document, problem_of, wrong_field
from outlast.web.replies import to_bytes
from outlast.web.streams import TooSlow, lifetime, patiently, reading, require_room
from outlast.web.strict_json import Refused

SUBPROTOCOL = "outlast.v1"

LARGEST = 64 << 10
"""Bytes of a frame that is taken."""

AUTH = 5.0
"""Seconds in which who asks must have said who it is."""

IDLE = 60.0
"""Seconds for which a connection may follow nothing and say nothing."""

OPS, WITHIN = 100, 10.0
"""How many ops a connection may send within how many seconds."""

GOODBYE = 0.5
"""Seconds that the closing frame of a connection that takes nothing is tried for."""

logger = logging.getLogger("outlast.web")


Work = Callable[[], Coroutine[Any, Any, None]]


class Closing(NamedTuple):
    """How a connection ends. `code` is None where there is nobody left to tell."""

    code: int | None
    reason: str = ""


GONE = Closing(None)
NOT_TEXT = Closing(1003, "frames are text")
NO_AUTH_YET = Closing(1008, "the first frame must be an auth")
TOO_LARGE = Closing(1009, f"a frame has at most {LARGEST} bytes")
DEFECT = Closing(1011, "the server failed")
SHUTDOWN = Closing(1012, "shutdown")
DEADLINE = Closing(1012, "deadline")
STORE_AWAY = Closing(1013, "store_unavailable")
BAD_FRAME = Closing(4400, "bad frame")
UNAUTHENTICATED = Closing(4401, "unauthenticated")
TOKEN_EXPIRED = Closing(4401, "token_expired")
FORBIDDEN = Closing(4403, "forbidden")
NOTHING_THERE = Closing(4404, "there is nothing to follow")
IDLED = Closing(4408, "idle")
TOO_OFTEN = Closing(4429, "too many frames")
TOO_MANY = Closing(4429, "too many streams of this owner")


async def socket(call: Call) -> Response:
    """Many jobs at once over a WebSocket of the subprotocol outlast.v1."""
    detail = f"this address is a WebSocket; ask for an upgrade and the subprotocol {SUBPROTOCOL}"
    raise Problem("upgrade_required", detail, headers={"Upgrade": "websocket", "Connection": "Upgrade"})


async def upgrade(call: Call, door: Door, *, known: bool) -> Response:
    """The connection after a handshake; `known` if that has told who asks. Raises Problem."""
    if SUBPROTOCOL not in call.request.scope["subprotocols"]:
        raise wrong_field("/Sec-WebSocket-Protocol", f"offer the subprotocol {SUBPROTOCOL}", place="header")
    if call.request.url.query:
        raise wrong_field("/", "this address takes no query; a token goes into the first frame", place="query")
    if known:
        require(call.principal, READ)
        require_room(call)
    return Socket(call, door, known=known)


class Socket(Response):
    """One connection, from its handshake to its end."""

    def __init__(self, call: Call, door: Door, *, known: bool) -> None:
        super().__init__(None, 101)
        self._call = call
        self._door = door
        self._known = known
        self._follows: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._counted = ExitStack()
        self._lock = asyncio.Lock()
        self._window, self._count = monotonic(), 0
        self._late = DEADLINE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        self._over: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()
        with self._counted:
            if self._known:
                self._counted.enter_context(reading(self._call))
            await receive()
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL, "headers": self.raw_headers})
            closing = await self._until_over(receive)
        if closing.code is not None:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await send({"type": "websocket.close", "code": closing.code, "reason": closing.reason})

    async def _until_over(self, receive: Receive) -> Closing:
        self._latest = asyncio.get_running_loop().time() + self._call.app.limits.stream
        self._begin(partial(self._listen, receive))
        self._begin(self._end_with_app)
        try:
            async with asyncio.timeout_at(self._latest) as self._time:
                await self._limit()
                return await self._over
        except TimeoutError:
            return self._late
        except asyncio.CancelledError:
            # A host that goes down waits no longer; see streams.py.
            return SHUTDOWN
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _limit(self) -> None:
        """No longer than any connection, and than the caller's token is good."""
        life = await lifetime(self._call)
        at = asyncio.get_running_loop().time() + life.seconds
        expires = life.ends == "token_expired" and at < self._latest
        with suppress(RuntimeError):  # it is ending already
            self._time.reschedule(at if expires else self._latest)
            self._late = TOKEN_EXPIRED if expires else DEADLINE

    # -- tasks ------------------------------------------------------------------------------------------------------

    def _begin(self, work: Work) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Work) -> None:
        """Whatever a part of it fails by is how the connection ends."""
        try:
            await work()
        except TooSlow:
            logger.warning("a reader on a WebSocket did not take its events and was cut off")
            self._close(GONE)
        except StoreError:
            self._close(STORE_AWAY)
        except OSError:
            self._close(GONE)
        except Exception:
            logger.exception("a WebSocket failed", extra={"request_id": self._call.request_id})
            self._close(DEFECT)

    def _close(self, closing: Closing) -> None:
        """The first closing counts."""
        if not self._over.done():
            self._over.set_result(closing)

    async def _end_with_app(self) -> None:
        await self._call.app.stops()
        self._close(SHUTDOWN)

    # -- what the client says ---------------------------------------------------------------------------------------

    async def _listen(self, receive: Receive) -> None:
        while not self._over.done():
            try:
                async with asyncio.timeout(IDLE if self._known else AUTH):
                    message = await receive()
            except TimeoutError:
                if not self._known:
                    return self._close(UNAUTHENTICATED)
                if not self._follows:
                    return self._close(IDLED)
                continue
            await self._take(message)
        return None

    async def _take(self, message: Message) -> None:
        text = message.get("text")
        if message["type"] == "websocket.disconnect":
            self._close(GONE)
        elif text is None:
            self._close(NOT_TEXT)
        elif len(text) > LARGEST or len(text.encode("utf-8", "surrogatepass")) > LARGEST:
            self._close(TOO_LARGE)
        elif self._is_too_often():
            self._close(TOO_OFTEN)
        else:
            await self._heed(text)

    def _is_too_often(self) -> bool:
        now = monotonic()
        if now - self._window > WITHIN:
            self._window, self._count = now, 0
        self._count += 1
        return self._count > OPS

    async def _heed(self, text: str) -> None:
        try:
            op = read(text)
        except (Refused, Problem) as error:
            if not self._known:
                return self._close(NO_AUTH_YET)
            await self._say_error(None, error)
            return self._close(BAD_FRAME)
        if not self._known and op.name != "auth":
            return self._close(NO_AUTH_YET)
        return await self._do(op)

    async def _do(self, op: Op) -> None:
        try:
            match op.name:
                case "auth" | "refresh":
                    await self._identify(op)
                case "subscribe":
                    await self._subscribe(op)
                case "unsubscribe":
                    await self._unsubscribe(op)
                case "cancel":
                    await self._cancel(op)
                case "ping":
                    await self._say({"type": "pong"})
        except Problem as problem:
            await self._say_error(op, problem)

    # -- ops --------------------------------------------------------------------------------------------------------

    async def _identify(self, op: Op) -> None:
        """Who asks, by a token; later on by a fresh one, which must be of the same owner."""
        try:
            principal = await self._door.enter(bearing(self._call.request, op.token))
        except Exception as error:
            problem = problem_of(error)
            if problem is None or problem.status not in (401, 403):
                raise
            await self._say_error(op, problem)
            return self._close(UNAUTHENTICATED)
        if not principal.may(READ) or (self._known and principal.sees != self._call.sees):
            return self._close(FORBIDDEN)
        self._call = self._call._replace(principal=principal)
        await self._limit()
        return await self._greeted(op)

    async def _greeted(self, op: Op) -> None:
        if not self._known:
            try:
                require_room(self._call)
            except Problem as problem:
                await self._say_error(op, problem)
                return self._close(TOO_MANY)
            self._counted.enter_context(reading(self._call))
            self._known = True
        return await self._say(_ack(op))

    async def _subscribe(self, op: Op) -> None:
        for id in op.jobs:
            require_place(self._call.principal, "GET", f"/{id}/events")
        if op.mine:
            require_place(self._call.principal, "GET", "/events")
        if len((self._follows.keys() | op.jobs.keys()) - {MINE}) > MOST_JOBS:
            detail = f"one connection follows at most {MOST_JOBS} jobs; follow the scope {MINE} instead"
            raise Problem("quota_exceeded", detail)
        found = {job.id: job for job in await self._call.app.get_many(list(op.jobs), owner=self._call.sees)}
        await self._say(_ack(op) | {"jobs": list(found)})
        for id in op.jobs.keys() - found.keys():
            await self._say_error(op, JobNotFound(id), id)
        for id, job in found.items():
            after = op.jobs[id]
            if job.ended and after == job.seq:
                await self._say(end("complete", id).data)
                continue
            lost = after is not None and after > job.seq
            call = self._call._replace(params={"id": id})
            self._follow(id, told_of_job(call, job, None if lost else after, lost=lost))
        if op.mine:
            self._follow(MINE, told_of_owner(self._call, op.after))
        if not self._follows and not found:
            self._close(NOTHING_THERE)

    async def _unsubscribe(self, op: Op) -> None:
        for key in [*op.jobs, *([MINE] if op.mine else [])]:
            self._unfollow(key)
        await self._say(_ack(op) | {"jobs": list(op.jobs)})

    async def _cancel(self, op: Op) -> None:
        require(self._call.principal, CANCEL)
        [id] = op.jobs
        require_place(self._call.principal, "POST", f"/{id}/cancel")
        who = self._call.principal.owner
        try:
            job = await self._call.app.cancel(id, owner=self._call.sees, by=who, reason=op.reason)
        except JobNotFound as error:
            await self._say_error(op, error, id)
        else:
            await self._say(_ack(op) | {"jobId": id, "status": job.status.value})

    # -- what is told -----------------------------------------------------------------------------------------------

    def _follow(self, key: str, told: Told) -> None:
        """From now on; who follows it already begins anew."""
        self._unfollow(key)
        task = self._follows[key] = self._begin(partial(self._tell, told))
        task.add_done_callback(lambda task: self._forget(key, task))

    def _unfollow(self, key: str) -> None:
        if key in self._follows:
            self._follows.pop(key).cancel()

    def _forget(self, key: str, task: "asyncio.Task[None]") -> None:
        if self._follows.get(key) is task:
            del self._follows[key]

    async def _tell(self, told: Told) -> None:
        async with aclosing(told):
            async for frames in told:
                for frame in frames:
                    await self._say(_data(frame))

    async def _say(self, data: Mapping[str, Any]) -> None:
        message = {"type": "websocket.send", "text": to_bytes(data).decode()}
        async with self._lock:
            await patiently(self._send, message)

    async def _say_error(self, op: Op | None, error: Exception, job_id: str | None = None) -> None:
        problem = problem_of(error)
        if problem is None:
            raise error
        where = {"op": None if op is None else op.name} | ({} if job_id is None else {"jobId": job_id})
        await self._say({"type": "error", **where, "problem": document(problem)})


def _data(frame: Frame) -> Mapping[str, Any]:
    """A frame of the feed without data has a cursor alone."""
    return frame.data or {"type": "ack", "op": "subscribe", "scope": MINE, "cursor": frame.id}


def _ack(op: Op) -> dict[str, Any]:
    return {"type": "ack", "op": op.name}


def bearing(request: Request, token: str) -> Request:
    """The handshake as it would have been with this token, and with nothing else that tells who asks."""
    others = [(name, value) for name, value in request.scope["headers"] if name not in (b"authorization", b"cookie")]
    return Request({**request.scope, "headers": [*others, (b"authorization", b"Bearer " + token.encode())]})
