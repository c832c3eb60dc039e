"""Who asks and wishes: clients, cancellers, signallers, readers, an operator, a stranger.

All of them go through the real verbs of an app whose store is at the far end of the simulated network.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from outlast.app import Outlast
from outlast.context import Context
from outlast.errors import IdempotencyKeyReused, JobConflict, JobNotFound, StoreUnavailable
from outlast.job import Change, Event, Job, NewJob
from outlast.opened import Opened
from outlast.runtime import Runtime
from outlast.stores.base import ANY, Owner, Store
from torture.simulation.invariants import Violation
from torture.simulation.plan import JobPlan, payload
from torture.simulation.wire import Link, sleep
from torture.simulation.workers import NO_HOOKS, Quiet

if TYPE_CHECKING:
    from torture.simulation.world import World


class Desk(Outlast):
    """The app of one process; its store is a link."""

    link: Link

    here: Opened

    async def _open(self) -> Opened:
        return self.here


def _first_desk() -> Desk:
    desk = Desk("memory://")
    desk.observe = Quiet()

    async def scripted(ctx: Context, script: int) -> str:
        raise AssertionError(f"script {script} is played by a slice, not called")

    desk.handler(name="timed", timeout=25.0, backoff=(0.5, 4.0))(scripted)
    desk.handler(name="free", timeout=None, backoff=(1.0, 10.0))(scripted)
    return desk


FIRST_DESK = _first_desk()
"""The others are copies of it, for models are slow to build."""


def desk_of(link: Link) -> Desk:
    """The app of the process that has this link."""
    desk = Desk.__new__(Desk)
    vars(desk).update(vars(FIRST_DESK))
    store, nobody = cast(Store, link), cast(Any, None)
    one, hub, never = cast(Any, One(link)), cast(Any, Hub(link)), cast(Any, Never())
    runtime = Runtime(
        store=store,
        one=one,
        hub=hub,
        alarms=nobody,
        observe=desk.observe,
        hooks=NO_HOOKS,
        limits=desk.limits,
        grace=desk.grace,
    )
    desk.link = link
    desk.here = Opened(store, runtime, sweeper=nobody, slices=nobody, stopping=never, loop=nobody)
    return desk


class One:
    """In place of the batcher, which needs an event loop: each call goes by itself."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def get(self, id: str, *, owner: Owner = ANY, payload: bool = False) -> Job[Any] | None:
        return (await self._link.get([id], owner=owner, payload=payload))[0]

    async def apply(self, change: Change) -> Job[Any] | None:
        return (await self._link.apply([change]))[0]

    async def insert(self, new: NewJob) -> Job[Any]:
        return (await self._link.insert([new]))[0]

    async def events(self, job_id: str, *, after: int, limit: int) -> list[Event]:
        return await self._link.events(job_id, after=after, limit=limit)


class Hub:
    """In place of the live feed: whoever waits for news looks again after a while."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def turned(self, job_id: str) -> None:
        pass

    def tail(self, job_id: str, after: int) -> None:
        """Nothing is read for others here."""

    @contextmanager
    def reading(self, job_id: str) -> Iterator["Grown"]:
        yield Grown(self._link)


class Grown:
    after: int | None = None

    def __init__(self, link: Link) -> None:
        self._link = link

    def clear(self) -> None:
        pass

    def wait(self) -> Awaitable[None]:
        return sleep(self._link.node.world.chance.uniform(1.0, 9.0))


class Never:
    def is_set(self) -> bool:
        return False


# -- what they do ---------------------------------------------------------------------------------------------------

Part = Callable[["World", Desk], Coroutine[Any, Any, None]]


def begin(world: "World") -> None:
    """Everybody of the plan who asks takes up their part."""
    chance = world.chance.random
    for plan in world.plan.jobs:
        _start(world, plan.name, partial(client, plan=plan, asks=payload(plan, False)), plan.at)
        if plan.rival is not None:
            asks = payload(plan, plan.rival == "other")
            _start(world, f"{plan.name}-rival", partial(client, plan=plan, asks=asks), plan.at)
    for name in world.plan.others:
        if name in PARTS:
            _start(world, name, PARTS[name], 40.0 * chance())
    if "signaller" in world.plan.others:
        waits = {op for plan in world.plan.jobs for op in enumerate(plan.script) if op[1][0] == "wait"}
        for number, _ in sorted(waits):
            _start(world, f"signaller-{number}", partial(signaller, name=f"go-{number}"), 40.0 * chance())


def _start(world: "World", name: str, part: Part, after: float) -> None:
    world.open += 1
    node = world.node(name, name)
    world.start(_counted(world, part, desk_of(node.link)), node, after)


async def _counted(world: "World", part: Part, desk: Desk) -> None:
    await part(world, desk)
    world.open -= 1


async def client(world: "World", desk: Desk, *, plan: JobPlan, asks: str) -> None:
    """Submit one job; with a key, again and again until there is an answer."""
    options: Any = {**plan.options, "owner": plan.owner}
    if plan.keyed:
        options["idempotency_key"] = f"key-{plan.number}"
    for sent in count():
        try:
            job, new = await desk.submit_json(plan.type, asks, **options)
        except StoreUnavailable:
            if not plan.keyed:
                # Whether there is a job nobody knows; to send it again might make a second one.
                return
            await sleep(world.chance.uniform(0.1, 5.0))
        except IdempotencyKeyReused as refused:
            world.counters["keys of another request"] += 1
            world.accepted.append(refused.job_id)
            return
        else:
            world.counters["lost replies sent again"] += sent > 0 and not new
            world.accepted.append(job.id)
            return


async def canceller(world: "World", desk: Desk) -> None:
    id = await _some_job(world)
    while id is not None:
        try:
            job = await desk.cancel(id, by="canceller", reason="as planned")
        except StoreUnavailable:
            await sleep(1.0)
        except JobNotFound:
            return
        else:
            # What is read after the wish was left may be stale, or a job that came again after it was removed.
            known = "stale-read" not in world.plan.faults and id not in world.checker.removed
            if known and not job.ended and job.cancel_requested_at is None:
                raise Violation("I8", f"{id} was acknowledged as cancelled and is {job.status}")
            return


async def old_canceller(world: "World", desk: Desk) -> None:
    """Leaves a bare wish on whatever the job is, as an older version of this house might."""
    id = await _some_job(world)
    for _ in range(3):
        try:
            job = None if id is None else await desk.get(id)
            if job is None or job.ended or job.cancel_requested_at is not None:
                return
            wish = {"cancel_requested_at": desk.link.now(), "turn": job.turn + 1}
            if (await desk.link.apply([Change(id=job.id, turn=job.turn, set=wish)]))[0] is None:
                world.counters["bare wishes"] += 1
                return
        except (StoreUnavailable, JobNotFound):
            return


async def signaller(world: "World", desk: Desk, *, name: str) -> None:
    """Send one signal, under one key, until there is an answer; sometimes once more."""
    id = await _some_job(world)
    more = world.chance.choice((1, 1, 2))
    while id is not None and more:
        try:
            await desk.signal(id, name, f"{name}-value", key=f"{name}-key")
        except StoreUnavailable:
            await sleep(1.0)
        except (JobConflict, JobNotFound):
            return
        else:
            more -= 1


async def reader(world: "World", desk: Desk) -> None:
    """Follow a job to its end, beginning again after the last number wherever the connection breaks."""
    id = await _some_job(world)
    seen = Event(type="", time=0.0, attempt=0)
    while id is not None:
        try:
            async with aclosing(desk.follow(id, after=seen.seq)) as events:
                async for event in events:
                    if event.seq != seen.seq + 1:
                        raise Violation("I5", f"{id}: a reader got event {event.seq} after {seen.seq}")
                    seen = event
        except StoreUnavailable:
            await sleep(1.0)
        except JobNotFound:
            return
        else:
            world.counters["followed to the end"] += seen.is_end
            if not seen.is_end and id in world.checker.jobs:
                raise Violation("I5", f"{id}: a reader was let go after {seen.type}, event {seen.seq}")
            return


async def operator(world: "World", desk: Desk) -> None:
    """Do a job again by hand, then delete the first."""
    id = await _some_job(world)
    if id is None:
        return
    chance = world.chance.random
    try:
        again = await desk.retry(id, from_start=chance() < 0.5, force=chance() < 0.5)
        world.counters["retries by hand"] += 1
        world.accepted.append(again.id)
        await sleep(3.0 * chance())
    except (StoreUnavailable, JobNotFound, JobConflict):
        world.counters["operator refused"] += 1
    try:
        await desk.delete(id)
    except (StoreUnavailable, JobNotFound, JobConflict):
        world.counters["operator refused"] += 1


async def stranger(world: "World", desk: Desk) -> None:
    """Look for a job that belongs to another owner, and try to remove it."""
    id = await _some_job(world)
    try:
        if id is not None:
            await desk.delete(id, owner="stranger")
    except StoreUnavailable:
        return
    except JobNotFound:
        world.counters["strangers turned away"] += 1
        return
    if id is not None:
        raise Violation("I10", f"a stranger deleted {id}")


PARTS: Mapping[str, Part] = {
    "canceller": canceller,
    "old-canceller": old_canceller,
    "reader": reader,
    "operator": operator,
    "stranger": stranger,
}
"""By the names that a plan uses."""


async def _some_job(world: "World") -> str | None:
    """One that was accepted, once there is one; None if the storm is over and there is none."""
    chance = world.chance
    while not world.accepted and world.stormy:
        await sleep(2.0)
    return chance.choice(world.accepted) if world.accepted else None
