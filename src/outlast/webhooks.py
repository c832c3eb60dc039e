"""Webhooks out: who is told of a job's end is told at least once, whatever dies on the way.

There is no outbox beside the jobs, for an ended job is its own. Which webhooks want to hear of it the job has known
since its submit; and the very write that ends it sets its `next_at`, else the time of its removal, to 30 s from then.
So that something is owed commits with the end, in one row, on every store.

    the end commits ─▶ the process that ended it tries at once, for it has a head start of 30 s
                    ─▶ if it died, any process's sweep finds the job due and moves `next_at` on, which only one of
                       them can do; that one tries
    tries over      ─▶ what came of them is written to the job's record, then `next_at` moves to the next try,
                       or to the time of the job's removal once nothing is owed

A process that dies in between leaves a job that is due again: what was sent and not written down is sent twice, under
the same `webhook-id`. A job is not removed while it owes. A worker that cannot make tries leaves them to those who can.
"""

import asyncio
import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextvars import Context as Variables
from dataclasses import dataclass
from random import random, uniform
from time import time
from typing import Any
from urllib.parse import urlsplit

from outlast import callback, deliveries, posting, signing
from outlast.calls import Threads
from outlast.deliveries import Delivery, Log
from outlast.ends import ENDS, RESULT_IN_EVENT, Webhook
from outlast.errors import ConfigurationError, InvalidRequest, JobNotFound
from outlast.job import Change, Job
from outlast.lanes import Crowded, Lanes
from outlast.lifecycle import owes, owing
from outlast.notation import digest, rfc3339
from outlast.observe import Observe
from outlast.posting import Answer, Poster
from outlast.stores.base import Store

TAKEN = 60.0
"""Seconds for which a job that a sweep took is left to it."""

BUSY = 10.0
"""Seconds until a job is looked at again whose delivery found no room, give or take a half."""

AT_ONCE, EACH = 64, 8
"""Tries of a process at the same time: altogether, and to one host or for one owner."""

MOST_WAITING = 500
"""Tries to one host or for one owner that may wait for their turn; what comes beyond them comes later."""

LOOK_UPS = 32
"""Names that submits may be looking up: no thread that hangs on one can be stopped. Beyond them the first try tells."""

GONE, GONE_FOR = "webhook-gone/", 86400.0
"""Under which key it is noted that a receiver answered 410, and the seconds for which it is told of nothing then."""

LINGER = 5.0
"""Seconds that an app which closes waits for tries in flight."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver that the app names in its code, told of the ends of all jobs submitted from then on.

    Parameters
    ----------
    url: http or https, any host: it is the operator's own.
    events: out of `job.completed`, `job.failed` and `job.cancelled`.
    secrets: one, or for a rotation several, each of which signs; `whsec_` and the base64 of 24 to 64 random bytes.
    full: the message holds the job's result too, of at most 64 KiB, and its error.

    Raises ConfigurationError for what is none of that.
    """

    url: str
    events: Sequence[str] = ENDS
    secrets: Sequence[str] = ()
    full: bool = False

    def __post_init__(self) -> None:
        try:
            callback.target(self.url, trusted=True)
        except callback.Refused:
            form = f"http or https, a host, at most {callback.LONGEST} ASCII characters, no user, no fragment"
            raise ConfigurationError(f"an Endpoint's URL is not one that can be called: {form}") from None
        unknown = sorted(set(self.events) - set(ENDS))
        if isinstance(self.events, str) or not self.events or unknown:
            raise ConfigurationError(f"the events of an Endpoint are some of {', '.join(ENDS)}, in a list")
        if isinstance(self.secrets, str) or not self.secrets:
            raise ConfigurationError("an Endpoint needs a list of secrets; two are for a rotation")
        if not isinstance(self.full, bool):
            raise ConfigurationError("full of an Endpoint is True or False: whether it is sent results too")
        for secret in self.secrets:
            signing.key_of(secret)

    @property
    def webhook(self) -> Webhook:
        """As it is kept with each job."""
        return Webhook(self.url, tuple(self.events), own=False, full=self.full)


def by_url(endpoints: Sequence[Endpoint]) -> Mapping[str, Endpoint]:
    """The endpoints of an app. Raises ConfigurationError if two have one URL, or the client library is not there."""
    found = {endpoint.url: endpoint for endpoint in endpoints}
    if len(found) != len(endpoints):
        raise ConfigurationError("two Endpoints have the same URL; make them one, with the events of both")
    if found and not posting.is_installed():
        raise ConfigurationError("webhooks need a client: pip install 'outlast[server]'")
    return found


def named_hosts(hosts: Collection[str]) -> frozenset[str]:
    """The hosts that a submit may name beside the public ones. Raises ConfigurationError for a single text."""
    if isinstance(hosts, str):
        raise ConfigurationError(f"webhook_hosts= is a list of hosts: webhook_hosts=[{hosts[:64]!r}]")
    return frozenset(host.lower() for host in hosts)


def chosen_public_url(given: str | None, environ: Mapping[str, str]) -> str | None:
    """The address that jobs lie under for those outside; None where neither the app nor its environment says.

    Raises ConfigurationError for what is no such address.
    """
    url = given or environ.get("OUTLAST_PUBLIC_URL")
    if url and not _can_be_above(url):
        form = "https://shop.example/jobs: http or https, the path that jobs lie under, no user, query or fragment"
        raise ConfigurationError(f"public_url=, or OUTLAST_PUBLIC_URL, is an address such as {form}")
    return url.rstrip("/") if url else None


def _can_be_above(url: str) -> bool:
    try:
        callback.target(url, trusted=True)
    except callback.Refused:
        return False
    return "?" not in url


class Courier:
    """Makes the deliveries that one event loop of a process comes by.

    Parameters
    ----------
    types: those that the app has handlers for; what jobs of others owe is left to their apps. It may grow.
    endpoints: by URL, those of the app's code.
    hosts: those that a submit may name beside the public ones.
    public_url: the address that jobs lie under for receivers; None: they are told of none.
    """

    def __init__(
        self,
        store: Store,
        types: Collection[str],
        endpoints: Mapping[str, Endpoint],
        hosts: Collection[str],
        public_url: str | None,
        observe: Observe,
    ) -> None:
        self._store = store
        self._types = types
        self._endpoints = endpoints
        self._hosts = hosts
        self._poster = Poster(hosts)
        self._public_url = public_url
        self._observe = observe
        self._lanes = Lanes(EACH, AT_ONCE, MOST_WAITING)
        self._looking: Threads = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def require_callable(self, job: Job[Any]) -> None:
        """Raise InvalidRequest unless what the submit asks to be told can be called, and signed."""
        for webhook in job.webhooks:
            if webhook.own:
                await callback.require_callable(webhook.url, self._hosts, self._look_up)
                _require_secret(job.owner)

    def moved(self, job: Job[Any], change: Change) -> None:
        """A change was committed to this job; if it has ended, what it owes is tried at once."""
        if job.webhooks and "completed_at" in change.set:
            ended = change.applied(job)
            if owes(ended) and self.delivers(ended):
                self.begin(ended)

    def delivers(self, job: Job[Any]) -> bool:
        """True if what this job owes is for this process to deliver."""
        return job.type in self._types and posting.is_installed()

    def begin(self, job: Job[Any]) -> None:
        """Deliver what a job owes, soon; until its `next_at` nobody else does. Returns at once."""
        visit = self._visit(job)
        task = asyncio.get_running_loop().create_task(visit, name=f"outlast tells of {job.id}", context=Variables())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def idle(self, patience: float = TAKEN) -> None:
        """Wait for the tries in flight, at most so many seconds."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=patience)

    async def drain(self) -> None:
        """Wait for the tries in flight, a while; what is not over by then is left to the next sweep."""
        await self.idle(LINGER)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._poster.close()

    async def _look_up(self, host: str, port: int) -> list[str]:
        if len(self._looking) >= LOOK_UPS:
            raise OSError("too many names are being looked up")
        return await callback.resolved(host, port, self._looking)

    async def _visit(self, job: Job[Any]) -> None:
        try:
            log, now = await deliveries.read(self._store, job), self._store.now()
            due = [one for one in log.deliveries if one.due is not None and one.due <= now]
            tried = await asyncio.gather(*(self._try(job, one) for one in due))
            log = log.with_({one.number: one for one in tried if one is not None})
            if any(tried) and not await deliveries.write(self._store, job, log, self._store.now()):
                return
            if any(tried) or not due:
                await self._store.apply([owing(job, self._look_at(log))])
        except JobNotFound:
            pass  # it was removed by hand, with what it owed
        except Exception as error:
            # Whatever it is, the job is due again.
            self._observe("webhook.broke", of=job, error=error)

    def _look_at(self, log: Log) -> float | None:
        now, due = self._store.now(), log.next_due
        # One that found no room is due already.
        return now + BUSY * uniform(0.5, 1.5) if due is not None and due <= now else due

    async def _try(self, job: Job[Any], delivery: Delivery) -> Delivery | None:
        """The delivery after a try; None if there was no room for one in time."""
        webhook = job.webhooks[delivery.number]
        host = urlsplit(webhook.url).netloc.lower()
        try:
            async with self._lanes.through(*([f"owner {job.owner}"] if webhook.own else []), f"host {host}"):
                if self._store.now() + posting.PATIENCE > (job.next_at or 0.0):
                    return None
                answer = await self._unless_gone(job, webhook, delivery)
        except Crowded:
            return None
        after = delivery.tried(answer, self._store.now(), random())
        self._tell(job, host, after, answer)
        return after

    async def _unless_gone(self, job: Job[Any], webhook: Webhook, delivery: Delivery) -> Answer:
        """A receiver that has said it is gone is not asked again for each job; by hand it is."""
        if await self._store.fetch(_gone(job, webhook)) is not None:
            return Answer("gone")
        answer = await self._answer(job, webhook, delivery)
        if answer.outcome == "gone":
            await self._store.put(_gone(job, webhook), {}, ttl=GONE_FOR)
        return answer

    async def _answer(self, job: Job[Any], webhook: Webhook, delivery: Delivery) -> Answer:
        secrets = self._secrets(job, webhook)
        if isinstance(secrets, Answer):
            return secrets
        told_of = await self._whole(job) if webhook.full else job
        try:
            body = message(told_of, delivery, self._url_of(job), full=webhook.full)
            # By the wall clock, which is what a receiver holds it against.
            headers = signing.headers(delivery.id, int(time()), body, secrets)
            return await self._poster.post(webhook.url, body, headers, trusted=not webhook.own)
        except Exception as error:
            # A try like any other, or it would be made for ever.
            self._observe("webhook.broke", of=job, error=error)
            return Answer("no_connection")

    async def _whole(self, job: Job[Any]) -> Job[Any]:
        """With its result, which a sweep does not read."""
        [whole] = await self._store.get([job.id])
        if whole is None:
            raise JobNotFound(job.id)
        return whole

    def _url_of(self, job: Job[Any]) -> str | None:
        return None if self._public_url is None else f"{self._public_url}/{job.id}"

    def _secrets(self, job: Job[Any], webhook: Webhook) -> Sequence[str] | Answer:
        if not webhook.own:
            endpoint = self._endpoints.get(webhook.url)
            return Answer("unknown_endpoint") if endpoint is None else endpoint.secrets
        try:
            return signing.owner_secrets(job.owner, os.environ)
        except ConfigurationError:
            return Answer("unsigned")

    def _tell(self, job: Job[Any], host: str, delivery: Delivery, answer: Answer) -> None:
        happening = "webhook.failed" if delivery.status == "pending" else f"webhook.{delivery.status}"
        self._observe(happening, of=job, host=host, outcome=answer.outcome, delivery=delivery.id)


def _gone(job: Job[Any], webhook: Webhook) -> str:
    """Of an owner's own webhook it is noted for them alone."""
    return GONE + digest([webhook.own, job.owner if webhook.own else None, webhook.url])


def _require_secret(owner: str | None) -> None:
    try:
        signing.owner_secret(owner, os.environ)
    except ConfigurationError as error:
        errors = [{"pointer": "/webhook", "detail": str(error)}]
        raise InvalidRequest(str(error), code="webhooks_off", errors=errors) from None


async def begin_again(store: Store, job: Job[Any], delivery_id: str) -> Delivery:
    """Have a delivery begun again by the next sweep, whatever has become of it.

    Raises JobNotFound if the job has none of this id, or is gone.
    """
    while True:
        log, now = await deliveries.read(store, job), store.now()
        begun = next((one.again(now) for one in log.deliveries if one.id == delivery_id), None)
        if begun is None:
            raise JobNotFound(job.id)
        await store.drop([_gone(job, job.webhooks[begun.number])])
        if await deliveries.write(store, job, log.with_({begun.number: begun}), now):
            [moved] = await store.apply([owing(job, now)])
            if moved is None:
                return begun
            job = moved


def message(job: Job[Any], delivery: Delivery, url: str | None, *, full: bool) -> bytes:
    """The body, the same in every try: thin, for the receiver asks for the rest as itself, unless it wants it `full`.

    `url` is where the job is to be found; None where nobody says.
    """
    data = {
        "jobId": job.id,
        "jobType": job.type,
        "status": job.status.value,
        "attempt": job.attempt,
        "seq": job.seq,
        "externalId": job.external_id,
        "metadata": dict(job.metadata),
        "url": url,
        **(_outcome(job) if full else {}),
    }
    told = {"type": delivery.event, "timestamp": rfc3339(job.completed_at), "data": data}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def _outcome(job: Job[Any]) -> dict[str, Any]:
    """What came of a job, as its own address shows it; a result that is too large is there alone."""
    error = {"lastError": None if job.last_error is None else job.last_error.wire()}
    result = job.result_json or "null"
    return error if len(result.encode()) > RESULT_IN_EVENT else {"result": json.loads(result)} | error
