"""A client of a server elsewhere: the verbs of `Outlast`, over HTTP.

What it sends is safe to send again, for a submit and a signal carry an idempotency key; so it does that by itself where
a server is away for a moment. It follows a job over as many connections as that takes.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import fields
from datetime import datetime
from random import uniform
from time import monotonic
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote
from uuid import uuid4

import httpx2

from outlast.attachments import BYTES, Attached
from outlast.ends import END_EVENTS
from outlast.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    JobConflict,
    JobNotFound,
    NotAllowed,
    OutlastError,
    ServerUnavailable,
    WaitTimeout,
)
from outlast.job import Event, Job, JobError, Status, Waiting
from outlast.policy import Duration, seconds

TRIES = 4
PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds before the second try, doubled for each that follows, and at most."""

WAIT = 20.0
"""Seconds of one long poll; what stands between often cuts a connection after 30."""

AWAY = frozenset({429, 502, 503, 504})


class Client:
    """One server, and a key to it.

    Parameters
    ----------
    url: the address that jobs lie under, such as `https://example.com/jobs`.
    key: sent as a bearer token: an API key, or a share token.
    owner: for whom it acts; takes a key with the scope `owner:any`.
    timeout: seconds that an answer may take beyond what is waited for.
    http: a client of httpx2 of your own, with its own proxies, certificates or headers; it is not closed.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        owner: str | None = None,
        timeout: float = 30.0,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._url, self._timeout = url.rstrip("/"), timeout
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        if owner is not None:
            self._headers["Outlast-Owner"] = owner
        self._own = http is None
        self._http = httpx2.AsyncClient() if http is None else http

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of all connections."""
        if self._own:
            await self._http.aclose()

    # -- in ---------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        wait: Duration | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Job[Any]:
        """Store a job; with `wait` it has ended if it does so in that time.

        Parameters
        ----------
        idempotency_key: left out, one is made up, so that a try whose answer was lost makes no second job.
        options: `priority`, `delay`, `run_at`, `deadline`, `keep`, `retries`, `tags`, `metadata`, `external_id`,
            `batch`, `webhook`, as in `handler.options`.

        Raises InvalidRequest, IdempotencyKeyReused, NotAllowed, ServerUnavailable.
        """
        body = {"type": type, "payload": dict(payload or {}), **_asked(options)}
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        waits = 0 if wait is None else int(seconds(wait))
        if waits:
            headers["Prefer"] = f"wait={waits}"
        return job_of(await self._json("POST", "", body=body, headers=headers, waits=waits))

    async def attach(self, data: bytes, *, media_type: str = BYTES) -> Attached:
        """Keep bytes that payloads name by `reference`, a string; see `Outlast.attach`.

        Raises InvalidRequest, NotAllowed, ServerUnavailable.
        """
        headers = {"Content-Type": media_type}
        told = await self._json("POST", "/attachments", content=data, headers=headers)
        return Attached(told["attachment"], told["size"], told["mediaType"])

    # -- look -------------------------------------------------------------------------------------------------------

    async def get(self, job: Job[Any] | str) -> Job[Any]:
        """The job as it now is. Raises JobNotFound, NotAllowed, ServerUnavailable."""
        return job_of(await self._json("GET", _path(job)))

    async def list(
        self,
        *,
        status: Status | str | Sequence[Status | str] | None = None,
        type: str | None = None,
        tag: str | None = None,
        batch: str | None = None,
        limit: int = 50,
    ) -> Sequence[Job[Any]]:
        """The newest jobs, in short form: without payloads, results and steps."""
        statuses = [status] if isinstance(status, str) else status
        asked = {"type": type, "tag": tag, "batchId": batch, "status": ",".join(statuses or ())}
        params = {name: value for name, value in asked.items() if value}
        found, cursor = list[Job[Any]](), None
        while len(found) < limit:
            page = {**params, "limit": str(min(limit - len(found), 200)), **({"cursor": cursor} if cursor else {})}
            answer = await self._json("GET", "", params=page)
            found += map(job_of, answer["data"])
            cursor = answer["nextCursor"]
            if cursor is None:
                break
        return found

    async def wait(self, job: Job[Any] | str, timeout: Duration | None = None) -> Job[Any]:
        """The job once it has ended, whatever its end. Raises WaitTimeout if it is still live after `timeout`."""
        until = None if timeout is None else monotonic() + seconds(timeout)
        while True:
            waits = WAIT if until is None else max(min(WAIT, until - monotonic()), 0.0)
            found = job_of(await self._json("GET", _path(job), params={"wait": f"{waits:.3f}"}, waits=waits))
            if found.ended:
                return found
            if until is not None and monotonic() >= until:
                raise WaitTimeout(f"{found.id} is still {found.status} after {timeout} s; it goes on, wait again")

    async def follow(self, job: Job[Any] | str, after: int = 0) -> AsyncGenerator[Event, None]:
        """The job's events from number `after` + 1 on, as they come, to the last one.

        Raises JobNotFound, NotAllowed; ServerUnavailable if the server stays away.
        """
        tries = 0
        while True:
            came = False
            try:
                async with aclosing(self._stream(job, after)) as events:
                    async for event in events:
                        came, after = True, event.seq
                        yield event
                        if event.type in END_EVENTS:
                            return
                if not came and (await self.get(job)).ended:
                    return
            except (httpx2.TransportError, ServerUnavailable) as error:
                if tries >= TRIES and not came:
                    raise self._away(error) from error
            tries = 0 if came else tries + 1
            await asyncio.sleep(_pause(tries))

    async def _stream(self, job: Job[Any] | str, after: int) -> AsyncGenerator[Event, None]:
        headers = {**self._headers, "Accept": "text/event-stream", "Last-Event-ID": str(after)}
        timeout = httpx2.Timeout(self._timeout)
        url = f"{self._url}{_path(job)}/events"
        async with self._http.stream("GET", url, headers=headers, timeout=timeout) as answer:
            if answer.status_code != 200:
                await answer.aread()
                self._check(_path(job), answer)
                return
            async for data in _data(answer.aiter_lines()):
                if "seq" in data:
                    yield event_of(data)

    async def output(self, job: Job[Any] | str, *, channel: str = "text") -> str:
        """All text of a channel so far."""
        return (await self._ask("GET", f"{_path(job)}/output", params={"channel": channel})).text

    # -- steer ------------------------------------------------------------------------------------------------------

    async def cancel(self, job: Job[Any] | str, *, reason: str | None = None) -> Job[Any]:
        """Ask for the job's end; an ended job is answered unchanged."""
        return job_of(await self._json("POST", f"{_path(job)}/cancel", body={"reason": reason} if reason else {}))

    async def retry(self, job: Job[Any] | str, *, from_start: bool = False, force: bool = False) -> Job[Any]:
        """A new job that does again what an ended one was to do, with its finished steps unless `from_start`."""
        body, params = {"from": "start" if from_start else "checkpoint"}, {"force": "true" if force else "false"}
        return job_of(await self._json("POST", f"{_path(job)}/retry", body=body, params=params))

    async def signal(self, job: Job[Any] | str, name: str, value: Any = None, *, key: str | None = None) -> Job[Any]:
        """Leave a value in the job's inbox. Raises JobConflict once the job has ended."""
        headers = {"Idempotency-Key": key or uuid4().hex}
        path = f"{_path(job)}/signals/{quote(name, safe='')}"
        return job_of(await self._json("POST", path, body=value, headers=headers))

    async def delete(self, job: Job[Any] | str) -> None:
        """Remove an ended job with all that belongs to it. Raises JobConflict while it is live."""
        await self._ask("DELETE", _path(job))

    # -- how --------------------------------------------------------------------------------------------------------

    async def _json(self, method: str, path: str, **how: Any) -> Any:
        return (await self._ask(method, path, **how)).json()

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        waits: float = 0.0,
    ) -> httpx2.Response:
        """The answer; asked for again where the server is away for a moment."""
        sent = {**self._headers, **(headers or {})}
        if method == "POST" and content is None:
            sent["Content-Type"], content = "application/json", json.dumps(body, allow_nan=False)
        timeout = self._timeout + waits
        for tried in range(1, TRIES + 1):
            try:
                answer = await self._http.request(
                    method, self._url + path, params=params, content=content, headers=sent, timeout=timeout
                )
            except httpx2.TransportError as error:
                if tried == TRIES:
                    raise self._away(error) from error
            else:
                if answer.status_code not in AWAY or tried == TRIES:
                    self._check(path, answer)
                    return answer
            await asyncio.sleep(_pause(tried))
        raise AssertionError("the last try raises or returns")

    def _check(self, path: str, answer: httpx2.Response) -> None:
        """Raise what an answer other than success means. The body has been read."""
        if answer.is_success:
            return
        problem = _problem(answer)
        code, detail = str(problem.get("code", "")), str(problem.get("detail", ""))
        if not code:
            told = f"{self._url} answers {answer.status_code} and not as Outlast does; is it the address of its jobs?"
            raise ServerUnavailable(told)
        if answer.status_code in AWAY or answer.status_code >= 500:
            raise ServerUnavailable(f"{self._url}: {detail}")
        if answer.status_code in (401, 403):
            raise NotAllowed(f"{self._url}: {detail}", code=code)
        raise _refusal(path, problem, code, detail)

    def _away(self, error: Exception) -> ServerUnavailable:
        told = str(error) or type(error).__name__
        return ServerUnavailable(f"{self._url} does not answer ({told}); what was sent is safe to send again")


def _refusal(path: str, problem: Mapping[str, Any], code: str, detail: str) -> OutlastError:
    if path and code in ("job_not_found", "not_found"):
        return JobNotFound(unquote(path.split("/")[1]))
    if code == "idempotency_key_reused":
        return IdempotencyKeyReused(str(problem.get("jobId")))
    if problem.get("status") == 409:
        return JobConflict(detail, code=code, job_id=str(problem.get("jobId", "")))
    return InvalidRequest(detail, code=code, errors=problem.get("errors", ()))


def _problem(answer: httpx2.Response) -> Mapping[str, Any]:
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    problem = answer.json()
    return problem if isinstance(problem, dict) else {}


def _pause(tried: int) -> float:
    return uniform(0.5, 1.0) * min(PAUSE * 2.0**tried, LONGEST_PAUSE)


# -- what goes out --------------------------------------------------------------------------------------------------

_DURATIONS = {"delay": "delayMs", "deadline": "deadlineMs", "keep": "keepMs"}
_NAMES = {
    "priority": "priority",
    "run_at": "runAt",
    "retries": "maxRetries",
    "tags": "tags",
    "metadata": "metadata",
    "external_id": "externalId",
    "batch": "batchId",
    "webhook": "webhook",
}


def _asked(options: Mapping[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for name, value in options.items():
        if name in _DURATIONS:
            asked[_DURATIONS[name]] = round(seconds(value) * 1000)
        elif name in _NAMES:
            asked[_NAMES[name]] = value.isoformat() if isinstance(value, datetime) else value
        else:
            raise TypeError(f"submit() has no option {name!r}; it has {', '.join([*_DURATIONS, *_NAMES])}")
    return asked


def _path(job: Job[Any] | str) -> str:
    return "/" + quote(job if isinstance(job, str) else job.id, safe="")


# -- what comes back ------------------------------------------------------------------------------------------------

_FIELDS = {field.name for field in fields(Job)}
_RENAMED = {"tags": tuple, "status": Status}


def job_of(wire: Mapping[str, Any]) -> Job[Any]:
    """The job that a server shows, as far as it shows it."""
    values: dict[str, Any] = {}
    for name, value in wire.items():
        field = _snake(name)
        if field in _FIELDS and value is not None:
            values[field] = _read(name, value)
    if "result" in wire:
        values["result_json"] = json.dumps(wire["result"]) if wire["status"] == Status.COMPLETED else None
    return Job(**values)


def event_of(wire: Mapping[str, Any]) -> Event:
    """The event that a stream brings."""
    head = ("type", "jobId", "seq", "time", "attempt")
    data = {name: value for name, value in wire.items() if name not in head}
    time = datetime.fromisoformat(wire["time"]).timestamp()
    return Event(type=wire["type"], time=time, attempt=wire["attempt"], data=data, seq=wire["seq"])


def _read(name: str, value: Any) -> Any:
    if name.endswith("At") or name == "deadline":
        return datetime.fromisoformat(value).timestamp()
    if name == "lastError":
        at = datetime.fromisoformat(value["at"]).timestamp() if "at" in value else 0.0
        return JobError(**{"retryable": False, "attempt": 0, **value, "at": at})
    if name == "waiting":
        until = None if value["until"] is None else datetime.fromisoformat(value["until"]).timestamp()
        return Waiting(reason=value["reason"], until=until, signals=tuple(value["signals"]))
    return _RENAMED[name](value) if name in _RENAMED else value


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


async def _data(lines: AsyncIterator[str]) -> AsyncIterator[Mapping[str, Any]]:
    """The data of each frame of a stream: a line of JSON, for the server writes no other."""
    async for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
