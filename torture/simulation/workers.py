"""Workers, their renewers, and sweepers.

The sweep is the real one. The worker and its renewer are a model, for the real ones live on an event loop and in a
thread: a worker claims for its free slots, begins a slice for each job, and leaves when it is told to; a renewer renews
what its worker holds and gives up in time what it could not renew.
"""

from typing import TYPE_CHECKING, cast

from outlast import sweep
from outlast.errors import StoreUnavailable
from outlast.hooks import Hooks
from outlast.observe import Observe
from outlast.renewer import MARGIN
from outlast.stores.base import LEASE, Head, Lease, Store
from torture.simulation.slices import Slice
from torture.simulation.wire import Held, Node, doze, sleep

if TYPE_CHECKING:
    from torture.simulation.world import World

TYPES = ("timed", "free")


BACKSTOP = 20.0, 60.0
"""Seconds after which an idle worker looks even if it heard nothing."""

NO_HOOKS = Hooks({}, lambda job: job, Observe())


class Quiet(Observe):
    """Counts what happens, and writes no log."""

    def __call__(self, happening: str, *, error: BaseException | None = None, **facts: object) -> None:
        self.counts[happening] += 1


def hire(world: "World", role: str, name: str) -> None:
    """A new process takes up its work."""
    node = world.node(name, role, mortal=True)
    if role == "sweeper":
        world.start(sweeper(world, node), node)
        return
    slots = dict(world.plan.workers)[name.rstrip("'")]
    world.start(worker(world, node, slots), node)


async def worker(world: "World", node: Node, slots: int) -> None:
    chance = world.chance
    await doze(chance.uniform(*BACKSTOP))
    while not (node.leaving or world.settled):
        free = slots - node.running
        if free > 0:
            try:
                claimed = await node.link.claim(free, TYPES, node.name)
            except StoreUnavailable:
                await sleep(chance.uniform(0.5, 1.5))
                continue
            for job in claimed.jobs:
                held = Held(job, world.time + LEASE)
                node.held[held.lease] = held
                node.running += 1
                if not node.renewing:
                    node.renewing = True
                    world.start(renewer(world, node), node, after=_pause(world, node))
                world.start(Slice(world, node, job, held).run(), node)
        await doze(chance.uniform(*BACKSTOP))
    while node.running:
        await sleep(1.0)
    if node.leaving:
        world.retire(node)


async def renewer(world: "World", node: Node) -> None:
    while node.held:
        held = list(node.held.values())
        asked = world.time
        try:
            heads = await node.link.renew([Lease(one.job_id, one.lease) for one in held])
            pause = _pause(world, node)
            for one, head in zip(held, heads, strict=True):
                _hear(one, head, asked + LEASE)
        except StoreUnavailable:
            pause = LEASE / 15
        for one in held:
            one.lost = one.lost or one.good_until <= world.time + LEASE * MARGIN
        await sleep(pause)
    node.renewing = False


def _pause(world: "World", node: Node) -> float:
    return LEASE * world.chance.uniform(0.7, 1.2) if node.starved else LEASE / 3


def _hear(one: Held, head: Head | None, good_until: float) -> None:
    if head is None:
        one.lost = True
        return
    one.good_until = good_until
    if head.turn != one.turn:
        one.turn, one.turned = head.turn, True


async def sweeper(world: "World", node: Node) -> None:
    observe = Quiet()
    store = cast(Store, node.link)
    while True:
        await sleep(min(world.due_in(), 30.0) + world.chance.uniform(0.0, 3.0))
        if world.settled:
            return
        try:
            await sweep.Sweep(store, observe, NO_HOOKS).round(frozenset(world.gone))
        except StoreUnavailable:
            world.counters["sweeps that failed"] += 1
