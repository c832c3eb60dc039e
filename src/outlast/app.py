"""Outlast: submit jobs, and be connected to a store; brings the parts together."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any, TypeVar, Unpack

from outlast import attachments, notices, totals, unused
from outlast.alarms import Alarms
from outlast.aside import Aside, require_no_loop
from outlast.capture import capturing
from outlast.context import Context
from outlast.errors import ConfigurationError, IdempotencyKeyReused
from outlast.follow import Hub
from outlast.handler import Handler, Options, require_known
from outlast.hooks import Hooks
from outlast.job import Job, NewJob
from outlast.observe import Observe
from outlast.opened import Opened, connected
from outlast.policy import Duration, Limits, lease_time, seconds, slots
from outlast.push import Caller, Publishes, Push, chosen_push
from outlast.runtime import Runtime
from outlast.secret import signing_secrets
from outlast.slices import Slices
from outlast.stores.base import LEASE, Joins, Store
from outlast.stores.batching import Batched
from outlast.stores.default import default_store, named_or_store
from outlast.submission import prepare
from outlast.sweep import Sweeper
from outlast.tokens import Tokens
from outlast.tracing import found, valid
from outlast.verbs import new_id
from outlast.webhooks import Courier, Endpoint, by_url, chosen_public_url, named_hosts
from outlast.worker import Worker
from outlast.workerless import Workerless

T = TypeVar("T")

Lifespan = Callable[["Outlast"], AbstractAsyncContextManager[Any]]


class Outlast(Workerless):
    """The app: holds the handlers, and is connected to one store.

    Parameters
    ----------
    store: a URL, or a store; None: `OUTLAST_STORE`, else `SUPABASE_DB_URL`, else `sqlite:///outlast.db`.
    concurrency: how many jobs a worker of this app runs at once; a call to sweep, and those who wait, run no more.
    grace: seconds that steps in flight have to end when a worker stops.
    lease: seconds after which a job whose worker gives no sign is taken over; renewed at a third of it.
    limits: the caps; see `Limits`.
    push: what makes jobs run where no worker can live: `QStash(...)`, `SQS(...)`, `Cron(...)`, one of
        your own, or a URL; None: `OUTLAST_PUSH`.
    webhooks: the receivers that are told of the ends of all jobs submitted from then on.
    webhook_hosts: hosts that a submit may name as its job's webhook beside the public ones, without TLS and at any port
        too, such as `localhost` or a host of your own network.
    public_url: the address that jobs lie under for those outside, such as `https://shop.example/jobs`; None:
        `OUTLAST_PUBLIC_URL`, without which webhooks are not told where their job is.
    lifespan: called with the app by each worker as it starts; what its `async with` gives is `ctx.state` in the
        handlers, and is let go of when the worker has handed back its jobs.
    cors: the origins, such as `https://shop.example`, whose pages may call the HTTP surface from a browser.

    It connects at first use. `async with app`, or `app.lifespan` in a web app, makes sure that it lets go at the end;
    `with app` does in code without an event loop, which calls the verbs by `app.sync`.

    `tokens` mints what a browser may be given in place of a key; see `Tokens`.

    Raises ConfigurationError or ValueError for an argument that cannot be meant.
    """

    def __init__(
        self,
        store: str | Store | None = None,
        *,
        concurrency: int = 10,
        grace: Duration = 10.0,
        lease: Duration = LEASE,
        limits: Limits | None = None,
        push: str | Push | None = None,
        webhooks: Sequence[Endpoint] = (),
        webhook_hosts: Collection[str] = (),
        public_url: str | None = None,
        lifespan: Lifespan | None = None,
        cors: Collection[str] = (),
    ) -> None:
        super().__init__(limits or Limits())
        self.store = named_or_store(store)
        self._resources: Lifespan = lifespan or (lambda app: nullcontext())
        self.concurrency = slots(concurrency)
        self.grace = seconds(grace)
        self.lease = lease_time(lease)
        self.push = chosen_push(push, os.environ)
        self.cors = cors
        self.observe = Observe()
        self._endpoints = by_url(webhooks)
        self.webhook_hosts = named_hosts(webhook_hosts)
        self._public_url = chosen_public_url(public_url, os.environ)
        self._delivers = True
        self._context: Callable[..., Context] = Context
        self._opened: Opened | None = None
        self._worker: Worker | None = None
        self._connecting: futures.Future[Store] | None = None
        self._aside: Aside | None = None
        self._opened_aside: Opened | None = None
        self.tokens = Tokens(self._connected)
        self._gate = threading.Lock()
        self._aside_gate = threading.Lock()

    # -- submit -----------------------------------------------------------------------------------------------------

    async def submit(self, type: str, payload: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> Job[Any]:
        """Store a job of a type by name; see `Handler.submit`.

        Raises InvalidRequest with code `unknown_type` if there is no such handler, TypeError for an unknown option.
        """
        handler = self._handler(type)
        require_known(options, Options.__annotations__, "option")
        return await self._submit_payload(handler, handler.encode(payload or {}), options)

    async def submit_json(self, type: str, payload_json: str, **options: Unpack[Options]) -> tuple[Job[Any], bool]:
        """Store a job whose payload is JSON text from outside, kept as it is.

        Result: the job, and whether it is new (False: the idempotency key had made it before).
        """
        handler = self._handler(type)
        handler.check(payload_json)
        return await self._insert(handler, payload_json, options)

    async def _submit_payload(self, handler: Handler[Any, Any], payload_json: str, options: Options) -> Job[Any]:
        return (await self._insert(handler, payload_json, options))[0]

    async def _insert(self, handler: Handler[Any, Any], payload_json: str, options: Options) -> tuple[Job[Any], bool]:
        runtime = await self._runtime()
        if runtime.tracing is None:
            return await self._stored(runtime, handler, payload_json, options)
        with runtime.tracing.submitting(handler.name, valid(options.get("trace"))) as span:
            traced: Options = {**options, "trace": span.traceparent}
            job, fresh = await self._stored(runtime, handler, payload_json, traced)
            span.stored(job)
        return job, fresh

    async def _stored(
        self, runtime: Runtime, handler: Handler[Any, Any], payload_json: str, options: Options
    ) -> tuple[Job[Any], bool]:
        now = await runtime.store.clock.checked()
        endpoints = [endpoint.webhook for endpoint in self._endpoints.values()]
        new = prepare(handler, payload_json, options, self.limits, id=new_id(now), now=now, endpoints=endpoints)
        if runtime.courier is not None and new.job.webhooks:
            await runtime.courier.require_callable(new.job)
        await attachments.claim(runtime.store, new.job, self.limits)
        within = options.get("connection")
        new = runtime.owing_new(new)
        job = await (runtime.one.insert(new) if within is None else _joined(runtime.store, within, new))
        if job.id != new.job.id and job.fingerprint != new.job.fingerprint:
            raise IdempotencyKeyReused(job.id)
        fresh = job.id == new.job.id
        if within is None:  # else the caller's commit decides whether it is submitted
            self.observe("job.submitted", job_id=job.id, type=job.type)
            if fresh:
                await runtime.submitted(job)
        return job, fresh

    # -- connect, run -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> "Outlast":
        await self._open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def stopping(self) -> bool:
        """True once the app lets go: streams end, nothing is claimed any more."""
        return self._opened is not None and self._opened.stopping.is_set()

    @property
    def stuck(self) -> bool:
        """True once its worker gave up, for too many threads outlived their slices: this process should be replaced."""
        return self._worker is not None and self._worker.stuck

    async def stop(self) -> None:
        """End every stream and wait soon; what runs is handed back by whoever runs it."""
        if self._opened is not None and not self._opened.stopping.is_set():
            self._opened.stopping.set()
            await self._opened.runtime.hub.stop()

    async def close(self) -> None:
        """Let go of the store. The app may be opened again."""
        await self.stop()
        if self._opened is not None:
            await self._opened.let_go()
            self._opened = None
        if self._aside is not None:
            await asyncio.to_thread(self._end_aside)
        await self._disconnect()

    # -- code without an event loop ---------------------------------------------------------------------------------

    def sync(self, awaitable: Awaitable[T]) -> T:
        """Run a verb of the app from code without an event loop: `job = app.sync(report.submit("tides"))`.

        It blocks until the result is there. A thread with a loop of its own does the work; it is started at first use,
        serves any number of threads, and ends with `close_sync`, `with app:` or `await app.close()`.

        Raises what the awaitable raises; ConfigurationError where an event loop runs, for that one would stand still.
        """
        require_no_loop(awaitable)
        with self._aside_gate:
            aside = self._aside = self._aside or Aside()
        return aside.result(awaitable)

    def close_sync(self) -> None:
        """Let go of what `sync` opened; of the store too, unless an event loop of the process is connected to it."""
        self._end_aside(last=self._opened is None)

    def __enter__(self) -> "Outlast":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close_sync()

    def _end_aside(self, *, last: bool = False) -> None:
        with self._aside_gate:
            if self._aside is not None:
                self._aside.result(self._let_go_aside(last))
                self._aside.stop()
                self._aside = None

    async def _let_go_aside(self, last: bool) -> None:
        opened, self._opened_aside = self._opened_aside, None
        if opened is not None:
            opened.stopping.set()
            await opened.runtime.hub.stop()
            await opened.let_go()
        if last:
            await self._disconnect()

    @asynccontextmanager
    async def lifespan(self, host: object = None, *, worker: bool = True) -> AsyncIterator[None]:
        """For a web app: connected, and with a worker in its process unless `worker=False`."""
        async with self, self.working() if worker else self.sweeping():
            yield

    @asynccontextmanager
    async def working(self, *, burst: bool = False, types: Collection[str] | None = None) -> AsyncIterator[Worker]:
        """A worker, and a sweeper beside it, for as long as the block lasts.

        Parameters
        ----------
        burst: it ends by itself (`worker.ended`) once nothing is left to claim.
        types: of which jobs are taken; None: of all that have a handler.
        """
        opened = await self._open()
        self._worker = worker = Worker(
            opened.runtime,
            {type: handler for type, handler in self.handlers.items() if types is None or type in types},
            opened.sweeper,
            slots=self.concurrency,
            lease=self.lease,
            burst=burst,
        )
        with capturing(opened.store):
            async with self._resources(self) as opened.runtime.state, self.sweeping():
                task = asyncio.create_task(worker.run(), name="outlast worker")
                try:
                    yield worker
                finally:
                    worker.stop()
                    await task
                    await opened.runtime.hooks.drain()

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """A sweeper alone, for a process that serves and does not work. What the process counts is kept, too."""
        opened = await self._open()
        tasks = {
            asyncio.create_task(opened.sweeper.run(), name="outlast sweeper"),
            asyncio.create_task(totals.keep(opened.store, self.observe), name="outlast totals"),
            asyncio.create_task(unused.run(opened.store, self.observe), name="outlast unused"),
        }
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _open(self) -> Opened:
        # What hears and wakes must live on the loop that asks; the store serves all of them.
        loop = asyncio.get_running_loop()
        if self._aside is not None and loop is self._aside.loop:
            store = await self._connected()
            self._opened_aside = self._opened_aside or self._around(store)
            return self._opened_aside
        if self._opened is None or self._opened.loop is not loop:
            store = await self._connected()
            if self._opened is None or self._opened.loop is not loop:
                self._opened = self._around(store)
        return self._opened

    async def _connected(self) -> Store:
        """The store, opened by whoever needs it first, on whichever loop."""
        with self._gate:
            connecting, first = self._connecting or futures.Future[Store](), self._connecting is None
            self._connecting = connecting
        if not first:
            return await asyncio.shield(asyncio.wrap_future(connecting))
        try:
            store = await connected(self.store or default_store(os.environ), self.observe, os.environ)
            if self._delivers:
                notices.tell(self.observe, self.push, self.handlers.values(), os.environ)
            connecting.set_result(store)
        except BaseException as error:
            self._connecting = None
            connecting.set_exception(error)
            raise
        return connecting.result()

    async def _disconnect(self) -> None:
        with self._gate:
            connecting, self._connecting = self._connecting, None
        if connecting is not None:
            await (await asyncio.shield(asyncio.wrap_future(connecting))).close()

    def _around(self, store: Store) -> Opened:
        hub = Hub(store)
        hub.start()
        courier = self._courier(store) if self._delivers else None
        caller = self._caller(store) if self._delivers else None
        told = [one.moved for one in (courier, caller) if one is not None]
        hooks = Hooks(self._hooks, self._decoded, self.observe, told)
        settings = self.limits, self.grace, found(), self._context
        runtime = Runtime(
            store, Batched(store), hub, Alarms(store.clock), self.observe, hooks, *settings, courier, caller
        )
        sweeper = Sweeper(store, self.observe, hooks, courier, caller)
        slices = Slices(runtime, self.handlers, lambda: self._resources(self), self.lease)
        return Opened(store, runtime, sweeper, slices, asyncio.Event(), asyncio.get_running_loop())

    def _courier(self, store: Store) -> Courier:
        signing_secrets(os.environ.get("OUTLAST_SECRET", ""))  # one that others could guess is refused here
        return Courier(store, self.handlers.keys(), self._endpoints, self.webhook_hosts, self._public_url, self.observe)

    def _caller(self, store: Store) -> Caller | None:
        push = self.push
        return Caller(push, self.handlers.keys(), self.observe, store.now) if isinstance(push, Publishes) else None

    @contextmanager
    def swapped(self, store: Store, context: Callable[..., Context] = Context) -> Iterator[None]:
        """For tests: another store, and another Context for the handlers, for as long as the block lasts.

        What the app is connected to stays connected, and is what it goes on with. No webhook is called.
        """
        before = {name: vars(self)[name] for name in _CONNECTED}
        vars(self).update(dict.fromkeys(_CONNECTED), store=store, _context=context)
        self._estimates.clear()
        try:
            yield
        finally:
            self._end_aside()
            if self._opened is not None:
                self._opened.runtime.hub.drop()
            vars(self).update(before)
            self._estimates.clear()

    # -- serve: the one door upward ---------------------------------------------------------------------------------

    def mount(self, host: Any, path: str = "/jobs", *, authenticate: Any = None) -> None:
        """Put the whole HTTP surface under a path of a Starlette or FastAPI app; answers the path itself too.

        `authenticate(request)` returns an owner or a Principal, or None for nobody; None: the keys of `OUTLAST_KEYS`.
        """
        from outlast import web

        web.mount(self, host, path, authenticate)

    def asgi(self, *, authenticate: Any = None) -> Any:
        """The HTTP surface as an ASGI app, to be mounted at `/jobs` by any other host, with what a push calls."""
        from outlast import web

        return web.asgi(self, authenticate)

    def router(self, *, authenticate: Any = None) -> Any:
        """The HTTP surface as a router of FastAPI: `api.include_router(app.router(), prefix="/jobs")`.

        All that `mount` serves, and its operations are in the host's own `/docs` and `/openapi.json`. The host's
        dependencies run before each request, those of the WebSocket and of unknown paths too: one that takes an
        `HTTPConnection` fits all. `authenticate` as in `mount`; it finds in `request.state` what they have put there.

        Raises ConfigurationError if FastAPI is not installed.
        """
        from outlast import web

        return web.router(self, authenticate)


async def _joined(store: Store, connection: Any, new: NewJob) -> Job[Any]:
    if not isinstance(store, Joins):
        raise ConfigurationError(f"{store.describe().engine} has no transaction that connection= could join")
    [job] = await store.insert_within(connection, [new])
    return job


_CONNECTED = ("store", "_context", "_delivers", "_connecting", "_opened", "_aside", "_opened_aside")
"""What an app is connected to, and by what."""
