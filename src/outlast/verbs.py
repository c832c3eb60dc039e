"""What can be asked of jobs and wished for them: the verbs of the app, over any store."""

import json
import secrets
from abc import abstractmethod
from asyncio import Semaphore, gather
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from outlast import attachments, deliveries, lifecycle, output, presence, totals, webhooks
from outlast.attachments import BYTES, Attached
from outlast.attempts import AttemptInfo, attempts
from outlast.bulk import AT_ONCE, Action, Part, fitting
from outlast.codec import USE_JSON, Codec
from outlast.deliveries import Delivery
from outlast.errors import InvalidRequest, JobConflict, JobNotFound, NotJson, WaitTimeout
from outlast.estimates import Estimates
from outlast.feed import Seen, feed
from outlast.follow import follow
from outlast.job import Change, Event, Job, NewJob, Signal, Status, Step
from outlast.metrics import Totals
from outlast.notation import clean, job_id
from outlast.opened import Opened
from outlast.policy import Duration, Limits, seconds
from outlast.presence import WorkerInfo
from outlast.registry import Registry
from outlast.replay import timed_out
from outlast.runtime import Runtime
from outlast.stores.base import ANY, Owner, Query
from outlast.sweep import light

__all__ = ["ANY", "Owner", "Query", "Verbs", "new_id"]

T = TypeVar("T")


class Verbs(Registry):
    """The part of the app that needs no more than its store and its handlers."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._estimates = Estimates()

    @property
    @abstractmethod
    def stopping(self) -> bool:
        """True once the app lets go."""

    @abstractmethod
    async def _open(self) -> Opened:
        """Connect, if that has not been done."""

    async def _runtime(self) -> Runtime:
        return (await self._open()).runtime

    # -- attach -----------------------------------------------------------------------------------------------------

    async def attach(
        self, data: bytes | bytearray | memoryview, *, media_type: str = BYTES, owner: str | None = None
    ) -> Attached:
        """Keep bytes that payloads of this owner's jobs name by `reference`, a string; handlers read `ctx.attachment`.

        They stay while a job that names them does, and a day from now in any case. The same bytes are kept once.

        Parameters
        ----------
        data: 1 byte to 8 MiB, or as `limits.attachment` has it.
        media_type: such as `image/png`, for whoever reads them.
        owner: of the jobs that will name them; left out, of those of nobody in particular.

        Raises InvalidRequest if they are too large, the owner has too much of them, or the media type is none.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"attach takes bytes, not {type(data).__name__}")
        return await attachments.keep((await self._runtime()).store, owner, bytes(data), media_type, self.limits)

    # -- ask --------------------------------------------------------------------------------------------------------

    async def get(self, job: Job[Any] | str, *, owner: Owner = ANY, payload: bool = False) -> Job[Any]:
        """The job as it now is, with its result decoded. Raises JobNotFound."""
        runtime = await self._runtime()
        found = await runtime.one.get(id_of(job), owner=owner, payload=payload)
        if found is None:
            raise JobNotFound(id_of(job))
        return self._decoded(found)

    async def get_many(self, ids: Sequence[str], *, owner: Owner = ANY) -> list[Job[Any]]:
        """Those of these jobs that are there, in their order, with their results decoded."""
        found = await (await self._runtime()).store.get(ids, owner=owner)
        return [self._decoded(job) for job in found if job is not None]

    async def find(self, query: Query) -> list[Job[Any]]:
        """A page of jobs, without payloads and results."""
        return list(await (await self._runtime()).one.find(query))

    async def count(self, query: Query | None = None) -> dict[tuple[str, Status], int]:
        """How many jobs there are by (type, status)."""
        return dict(await (await self._runtime()).one.count(query or Query()))

    async def steps(self, id: str) -> list[Step]:
        """The recorded steps of a job, waits among them."""
        return await (await self._runtime()).store.steps(id)

    async def events(self, id: str, *, after: int = 0, limit: int = 500) -> list[Event]:
        """A page of the job's log."""
        return await (await self._runtime()).store.events(id, after=after, limit=limit)

    async def attempts(self, job: Job[Any] | str) -> list[AttemptInfo]:
        """What became of each attempt, with tracebacks and the lines that were logged: for whoever operates alone.

        Raises JobNotFound.
        """
        store = (await self._runtime()).store
        found = await self.get(job)
        return attempts(found, await self._told(found.id), await store.reports(found.id))

    async def _told(self, id: str) -> list[Event]:
        """The job's log so far, its output apart."""
        store = (await self._runtime()).store
        events: list[Event] = []
        while page := await store.events(id, after=events[-1].seq if events else 0, limit=1000, output=False):
            events += page
        return events

    async def log(self, id: str) -> list[Event]:
        """The job's whole log so far."""
        events: list[Event] = []
        while page := await self.events(id, after=len(events), limit=1000):
            events += page
        return events

    async def output(self, id: str, *, channel: str = "text") -> str:
        """All text of a channel so far."""
        return output.text(await self.log(id), channel)

    async def workers(self) -> list[WorkerInfo]:
        """The workers that gave a sign of life within the last minute."""
        return await presence.present((await self._runtime()).store)

    async def totals(self) -> list[Totals]:
        """What the processes on this store have counted: this one until now, others until they last wrote it down."""
        runtime = await self._runtime()
        await totals.write(runtime.store, runtime.observe)
        return await totals.read(runtime.store)

    async def overdue(self) -> float:
        """Seconds for which the clock should have moved the live job that is due the longest; 0 if none is."""
        store = (await self._runtime()).store
        live = [job for job in await store.due(1) if not job.ended]
        times = [time for job in live for time in (job.next_at, job.lease_until) if time is not None]
        return max(store.now() - min(times), 0.0) if times else 0.0

    async def now(self) -> float:
        """The store's clock, in seconds since 1970."""
        return (await self._runtime()).store.now()

    async def remaining(self, job: Job[Any]) -> float | None:
        """Seconds until the job has probably ended, from how long its type took lately and what waits before it.

        None if nobody can say.
        """
        if job.ended:
            return None
        runtime = await self._runtime()
        return await self._estimates.remaining(runtime.one, job, runtime.store.now())

    # -- wait, follow -----------------------------------------------------------------------------------------------

    async def wait(self, job: Job[T] | str, timeout: Duration | None = None, *, owner: Owner = ANY) -> Job[T]:
        """The job once it has ended, whatever its end, with its result decoded.

        Where a push is set and no worker takes such jobs, a job that has not begun is run here meanwhile: one slice, so
        that a short job needs no call from outside. It costs no attempt if it gets nowhere within the time. One whose
        type usually takes longer is left to its call, if the push makes calls.

        Raises WaitTimeout if it is still live after `timeout`, JobNotFound.
        """
        until = await self._until(timeout)
        await self._meanwhile(id_of(job), until, owner)
        ended = await self._await(id_of(job), lambda job: job.ended, until, owner)
        if not ended.ended:
            why = "as the app closes" if timeout is None else f"after {timeout} s"
            raise WaitTimeout(f"{ended.id} is still {ended.status} {why}; it goes on, wait again or follow it")
        return ended

    async def changed_since(self, id: str, version: int, timeout: Duration, *, owner: Owner = ANY) -> Job[Any]:
        """The job as soon as its version is above `version`, or as it is after `timeout`."""
        return await self._await(id, lambda job: job.version > version, await self._until(timeout), owner)

    async def _until(self, timeout: Duration | None) -> float | None:
        return None if timeout is None else await self.now() + seconds(timeout)

    @abstractmethod
    async def _meanwhile(self, id: str, until: float | None, owner: Owner) -> None:
        """What whoever waits for the end of a job does for it first."""

    async def _await(self, id: str, enough: Callable[[Job[Any]], bool], until: float | None, owner: Owner) -> Job[Any]:
        opened = await self._open()
        with opened.runtime.hub.reading(id) as grown:
            while True:
                grown.clear()
                job = await self.get(id, owner=owner)
                if enough(job) or opened.stopping.is_set():
                    return job
                # Once the app is closed, to ask again would connect it again.
                if not await opened.store.clock.wait(grown, until) or opened.stopping.is_set():
                    return job

    async def follow(self, job: Job[Any] | str, after: int = 0, *, owner: Owner = ANY) -> AsyncGenerator[Event, None]:
        """The job's events from number `after` + 1 on, as they come, to the last one. Raises JobNotFound."""
        opened = await self._open()
        found = await self.get(job, owner=owner)
        heard, now = opened.runtime.observe.meter.heard, opened.store.now
        one, hub = opened.runtime.one, opened.runtime.hub
        feed = follow(hub, one, found.id, after, opened.stopping, lambda made_at: heard(now() - made_at))
        async with aclosing(feed) as events:
            async for event in events:
                yield event

    async def feed(self, after: float | None = None, *, owner: Owner = ANY) -> AsyncGenerator[Seen, None]:
        """The owner's live jobs as they are, or what has changed since a cursor; then each job as it changes.

        `after` is a time of the store, in seconds since 1970, as `Seen.last` had it. Ends as the app closes.
        """
        opened = await self._open()
        looks = feed(opened.runtime.hub, opened.store, owner, after, opened.stopping)
        async with aclosing(looks) as all_seen:
            async for seen in all_seen:
                yield seen

    async def stops(self) -> None:
        """Returns once the app lets go."""
        await (await self._open()).stopping.wait()

    # -- wishes -----------------------------------------------------------------------------------------------------

    async def cancel(
        self, job: Job[Any] | str, *, owner: Owner = ANY, by: str | None = None, reason: str | None = None
    ) -> Job[Any]:
        """Ask for the job's end; an ended job is answered unchanged. Raises JobNotFound."""
        cancelled, _ = await self._cancel(id_of(job), owner, by, reason)
        return cancelled

    async def _cancel(self, id: str, owner: Owner, by: str | None, reason: str | None) -> tuple[Job[Any], bool]:
        why = None if reason is None else clean(reason, 1024)

        async def decide(job: Job[Any], now: float) -> Change | None:
            return lifecycle.cancel(job, now, by=by, reason=why)

        return await self._wish(id, owner, decide)

    async def signal(
        self, job: Job[Any] | str, name: str, value: Any = None, *, owner: Owner = ANY, key: str | None = None
    ) -> Job[Any]:
        """Leave a value in the job's inbox, whether or not it waits for it yet.

        `key` makes a repeat harmless: the same key counts once. Raises JobNotFound; JobConflict once the job has ended.
        """
        try:
            self.limits.require_name(name, "a signal")
        except ValueError:
            detail = f"a signal's name is text of 1 to {self.limits.name} printable characters"
            raise InvalidRequest(detail, errors=[{"pointer": "/name", "detail": detail}]) from None
        left = Signal(name=name, value=_signal_value(value, self.limits), key=key)
        store = (await self._runtime()).store

        async def decide(job: Job[Any], now: float) -> Change | None:
            # Anew in each round: what made the last one void may have been this very key.
            known = [] if key is None else [one.key for one in await store.signals(job.id) if one.key is not None]
            return lifecycle.signal(job, left, now, known=known)

        signalled, _ = await self._wish(id_of(job), owner, decide)
        return signalled

    async def _wish(
        self, id: str, owner: Owner, decide: Callable[[Job[Any], float], Awaitable[Change | None]]
    ) -> tuple[Job[Any], bool]:
        """The job as it then is, and whether the wish changed it."""
        runtime = await self._runtime()
        job = await self.get(id, owner=owner)
        while change := await decide(job, runtime.store.now()):
            change = change if runtime.caller is None else runtime.caller.owing(change)
            refused = await runtime.one.apply(change)
            if refused is None:
                runtime.hub.turned(id)
                runtime.observe.meter.moved(job, change)
                runtime.hooks.moved(job, change)
                await runtime.called()
                return await self.get(id, owner=owner), True
            job = refused
        return self._decoded(job), False

    async def retry(
        self, job: Job[Any] | str, *, owner: Owner = ANY, from_start: bool = False, force: bool = False
    ) -> Job[Any]:
        """A new job that does again what a failed or cancelled one was to do, with its finished steps and their text.

        Parameters
        ----------
        from_start: without the finished steps.
        force: also for a completed job.

        Raises JobNotFound; JobConflict if the job is live, or completed without `force`.
        """
        old = await self.get(id_of(job), owner=owner, payload=True)
        begun, _ = await self._begin_again(old, from_start=from_start, force=force)
        return begun

    async def _begin_again(
        self, old: Job[Any], *, from_start: bool, force: bool = False, key: str | None = None
    ) -> tuple[Job[Any], bool]:
        """The new job; False with it if the idempotency key had made it before."""
        runtime = await self._runtime()
        now = await runtime.store.clock.checked()
        again = lifecycle.copy_for_retry(old, new_id(now), now, force=force).evolve(idempotency_key=key)
        await attachments.claim(runtime.store, again, self.limits)
        new = lifecycle.submit(again, now) if from_start else await self._going_on(old, again, now)
        job = await runtime.one.insert(runtime.owing_new(new))
        if job.id == again.id:
            await runtime.submitted(job)
        return job, job.id == again.id

    async def _going_on(self, old: Job[Any], again: Job[Any], now: float) -> NewJob:
        """The new job with the finished steps of the old one, and what they wrote."""
        recorded = await self.steps(old.id)
        steps = [step for step in recorded if step.status == "completed" and not timed_out(step)]
        log, offsets = output.inherited(await self.log(old.id), steps, now, self.limits.event // 8)
        return lifecycle.submit(again, now, steps=steps, log=log, offsets=offsets)

    async def deliveries(self, job: Job[Any] | str, *, owner: Owner = ANY) -> list[Delivery]:
        """What the job's webhooks are told of its end, or were; for an owner those of their own webhook alone.

        A live job has none. Raises JobNotFound.
        """
        runtime = await self._runtime()
        found = await self.get(job, owner=owner)
        log = await deliveries.read(runtime.store, found)
        return [one for one in log.deliveries if owner is ANY or found.webhooks[one.number].own]

    async def redeliver(self, delivery: str, *, owner: Owner = ANY) -> Delivery:
        """Begin a delivery again, by its id and whatever has become of it; the next sweep makes its first try.

        Raises JobNotFound if there is no such delivery for this owner.
        """
        runtime = await self._runtime()
        job = await self.get(deliveries.job_of(delivery), owner=owner)
        if delivery not in [one.id for one in await self.deliveries(job, owner=owner)]:
            raise JobNotFound(job.id)
        return await webhooks.begin_again(runtime.store, job, delivery)

    async def delete(self, job: Job[Any] | str, *, owner: Owner = ANY) -> None:
        """Remove an ended job with all that belongs to it. Raises JobNotFound; JobConflict while it is live."""
        store = (await self._runtime()).store
        if not await store.purge([id_of(job)], owner=owner):
            live = await self.get(job, owner=owner)
            raise JobConflict(f"the job is {live.status}; cancel it first", code="job_live", job_id=live.id)

    async def bulk(
        self,
        action: Action,
        query: Query,
        *,
        everything: bool = False,
        by: str | None = None,
        reason: str | None = None,
        from_start: bool = False,
    ) -> Part:
        """Cancel, retry or delete the newest jobs of a query, a part of them; what has moved meanwhile is skipped.

        For the next part give the query `before=part.before`, until that is None. Each job is come by once, and a
        repeat does nothing twice: a job that was begun again like this within 24 h is skipped.

        Parameters
        ----------
        action: `cancel` is for live jobs, `retry` for failed and cancelled ones, `delete` for ended ones.
        everything: allows a query that filters nothing.
        by, reason: as in `cancel`.
        from_start: as in `retry`.

        Raises InvalidRequest for another action, a query of jobs that it is not for, or one that filters nothing.
        """
        runtime, page = await self._runtime(), fitting(action, query, everything=everything)
        found = await self.find(page)
        jobs = light(found) if action == "delete" else found
        if action == "delete":
            done = len(await runtime.store.purge([job.id for job in jobs]))
        elif action == "cancel":
            done = await self._each(jobs, AT_ONCE[action], lambda job: self._cancel(job.id, ANY, by, reason))
        else:
            done = await self._each(jobs, AT_ONCE[action], lambda job: self._begin_again_once(job, from_start))
        is_last = len(found) < page.limit and len(jobs) == len(found)
        runtime.observe("bulk.part", action=action, done=done, skipped=len(jobs) - done)
        return Part(done, len(jobs) - done, None if is_last else jobs[-1].id)

    async def _each(
        self, jobs: Sequence[Job[Any]], at_once: int, act: Callable[[Job[Any]], Awaitable[tuple[Job[Any], bool]]]
    ) -> int:
        """How many of the jobs it was done to."""
        room = Semaphore(at_once)

        async def one(job: Job[Any]) -> bool:
            async with room:
                try:
                    return (await act(job))[1]
                except (JobNotFound, JobConflict):
                    return False

        answers = await gather(*map(one, jobs), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers.count(True)

    async def _begin_again_once(self, job: Job[Any], from_start: bool) -> tuple[Job[Any], bool]:
        old = await self.get(job, payload=True)
        return await self._begin_again(old, from_start=from_start, key=f"retry:{old.id}")

    def _decoded(self, job: Job[Any]) -> Job[Any]:
        if job.result_json is None:
            return job
        handler = self.handlers.get(job.type)
        try:
            codec = handler.result if handler is not None else Codec(Any, "the result")
            return job.evolve(result=codec.decode(job.result_json))
        except NotJson:
            # Written by an older version of the handler: the plain JSON is all that can be said.
            return job.evolve(result=json.loads(job.result_json))

    async def list(
        self,
        *,
        owner: Owner = ANY,
        status: Status | str | Iterable[Status | str] | None = None,
        type: str | None = None,
        tag: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Sequence[Job[Any]]:
        """A page of jobs, newest first, without payloads and results; `before` is the last id of the page before.

        Raises InvalidRequest for a status that is none, or a limit below 1.
        """
        if limit < 1:
            raise InvalidRequest(f"a page has 1 job or more, not {limit}")
        statuses = None if status is None else _statuses([status] if isinstance(status, str) else status)
        return await self.find(Query(owner=owner, status=statuses, type=type, tag=tag, before=before, limit=limit))


def _statuses(words: Iterable[Status | str]) -> frozenset[Status]:
    asked = tuple(words)
    wrong = [word for word in asked if word not in tuple(Status)]
    if wrong:
        detail = f"there is no status {wrong[0]!r}; known are {', '.join(Status)}"
        raise InvalidRequest(detail, errors=[{"pointer": "/status", "detail": detail}])
    return frozenset(map(Status, asked))


def _signal_value(value: Any, limits: Limits) -> str:
    try:
        text = Codec(Any, "the signal's value", USE_JSON).encode(value)
    except NotJson as error:
        raise InvalidRequest(str(error)) from None
    if len(text.encode()) > limits.payload:
        raise InvalidRequest(f"the value is larger than {limits.payload} bytes", code="payload_too_large")
    return text


def id_of(job: Job[Any] | str) -> str:
    """The id. Raises TypeError for what is neither a job nor its id."""
    if not isinstance(job, str | Job):
        raise TypeError(f"a job or its id is wanted, not {type(job).__name__}")
    return job if isinstance(job, str) else job.id


def new_id(now: float) -> str:
    return job_id(now, secrets.token_bytes(12))
