"""The world of one schedule: a virtual clock, a heap of what happens next, and the network from processes to store.

Whoever acts is a coroutine that suspends with a call of the store (`wire.Call`) or with seconds to sleep. Only the
world resumes it. Between two of its steps anything may happen: that is where the faults are.
"""

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any

from outlast.errors import OutlastError, StoreUnavailable
from outlast.job import Job
from outlast.stores.base import LEASE, Clock
from outlast.stores.memory import MemoryStore
from torture.simulation.invariants import Checker, Violation
from torture.simulation.plan import CALL_FAULTS, NODE_FAULTS, JobPlan, Plan, payload
from torture.simulation.wire import LATENCY, NOTHING, Call, Doze, Link, Node
from torture.simulation.words import brief

BEGIN = 1_800_000_000.25
MOST_EVENTS = 20_000
"""Beyond this a schedule goes round in circles."""

LAG = 12.0
"""Seconds that a call takes at most from a process far away or on a bad line."""

MOST_OFF = 45.0
"""Seconds by which a clock may be off, or jump; more than a lease."""

Act = Callable[[Any], None]


class StoreClock(Clock):
    """The store's clock: the world's time, and whatever it jumped by."""

    def __init__(self) -> None:
        self.time = BEGIN

    def now(self) -> float:
        return self.time


class SimulatedStore(MemoryStore):
    """The memory store, with what only a simulation can ask of it."""

    def restart(self) -> None:
        """Stop and start again; what was acknowledged is still there."""


class Ended(BaseException):
    """The process, or the schedule, is over for a coroutine; none of them may catch it."""


class Actor:
    """A coroutine that acts within a process. `dozes` counts its dozes, so that an alarm for an earlier one is void."""

    __slots__ = ("coro", "done", "dozes", "node")

    def __init__(self, coro: Coroutine[Any, Any, None], node: Node) -> None:
        self.coro = coro
        self.node = node
        self.done = False
        self.dozes = 0

    def end(self) -> None:
        """Let go of the coroutine."""
        if self.done:
            return
        self.done = True
        try:
            # Not `close`, which leaves an asynchronous generator that it waits for half open.
            self.coro.throw(Ended())
        except (Ended, StopIteration):
            pass


class World:
    """One schedule on its way.

    Parameters
    ----------
    plan: who is about, and which faults.
    store: the kind of store, or one with a planted fault.
    chance: where everything undecided is drawn from.
    hire: gives a new process its work: `hire(world, role, name)`.
    counters: of what the schedule went through.
    trace: told each event in words; None: nobody listens.
    """

    def __init__(
        self,
        plan: Plan,
        store: type[SimulatedStore],
        chance: Random,
        hire: Callable[["World", str, str], None],
        counters: Counter[str],
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.plan = plan
        self.chance = chance
        self.clock = StoreClock()
        self.store = store(clock=self.clock)
        self.counters = counters
        self.nodes: list[Node] = []
        self.gone: set[str] = set()
        self.checker = Checker(self.store, counters, self.gone, doubles=plan.stubborn or "duplicate" in plan.faults)
        self.accepted: list[str] = []
        self.open = 0
        self.time = BEGIN
        self.calm_at = BEGIN + plan.calm_at
        self._hire = hire
        self._trace = trace
        self._heap: list[tuple[float, float, Act, Any]] = []
        self._actors: list[Actor] = []
        self._dozing: list[Actor] = []
        self._inserts = 0
        self._epoch = 0
        self._call_faults = _ladder(plan, CALL_FAULTS)
        self._node_faults = _ladder(plan, NODE_FAULTS)
        self._handicaps = [name for name in ("lag", "starve", "clock") if name in plan.faults]
        self._scripts = {payload(job, rival): job for job in plan.jobs for rival in (False, True)}

    # -- who acts ---------------------------------------------------------------------------------------------------

    def node(self, name: str, role: str, *, mortal: bool = False) -> Node:
        """A new process."""
        node = Node(self, name, role, mortal=mortal)
        for name in self._handicaps:
            self._handicap(node, name)
        self.nodes.append(node)
        return node

    def _handicap(self, node: Node, name: str) -> None:
        """Half of the processes are far away, renew late, or have a clock that is off, from their first moment on."""
        if self.chance.random() < 0.5:
            return
        if name == "lag":
            node.lag = LAG
        elif name == "starve":
            node.starved = True
        else:
            node.offset = self._off()
        self.counters[f"fault: {name}"] += 1

    def _off(self) -> float:
        return MOST_OFF * (2.0 * self.chance.random() - 1.0)

    def start(self, coro: Coroutine[Any, Any, None], node: Node, after: float = 0.0) -> None:
        """Let a coroutine act within a process."""
        actor = Actor(coro, node)
        self._actors.append(actor)
        what = actor, None, None
        self.at(self.time + after, self._resume, what) if after else self._resume(what)

    def at(self, time: float, act: Act, what: Any = None) -> None:
        """Let something happen at a time; of what happens at one time, chance says which is first."""
        heappush(self._heap, (time, self.chance.random(), act, what))

    def run(self) -> None:
        """Until nothing happens any more. Raises Violation."""
        heap, clock = self._heap, self.clock
        self.at(self._limit(), self._overdue)
        for _ in range(MOST_EVENTS):
            if not heap:
                break
            time, _, act, what = heappop(heap)
            clock.time += time - self.time
            self.time = time
            act(what)
        else:
            raise Violation("I9", f"{MOST_EVENTS} events, and still no end")
        self.checker.close(self.accepted)

    def _overdue(self, _: object) -> None:
        if not self.settled:
            raise Violation("I9", f"not all has ended {self.time - self.calm_at:.0f} s after the last fault")

    def close(self) -> None:
        """Let go of whoever still waits, after a schedule that ended early."""
        for actor in self._actors:
            actor.end()

    @property
    def settled(self) -> bool:
        """True once nobody asks for anything more and every job has ended; then the workers go home."""
        return not (self.open or self._inserts or self.checker.live)

    @property
    def stormy(self) -> bool:
        """True while there are faults."""
        return self.time < self.calm_at

    def due_in(self) -> float:
        """Seconds until the clock alone will move a job, as a sweeper hears from claims; infinite if it never will."""
        times = [time for job in self.checker.jobs.values() for time in (job.next_at, job.lease_until)]
        soonest = min([time for time in times if time is not None], default=inf)
        return max(soonest - self.clock.now(), 0.0)

    def say(self, words: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.time - BEGIN:9.3f}  {words}")

    def _limit(self) -> float:
        """When all must have ended: every attempt of every job, one after the other, with a lease lost in each."""
        longest = 0.0
        for job in self.plan.jobs:
            work = sum(seconds for _, seconds in job.script)
            tries = 2 * (int(job.options["retries"]) + 2)
            longest += job.options.get("delay", 0.0) + tries * (work + 2 * LEASE + 60.0)
        return self.calm_at + 300.0 + 3 * longest

    # -- one step of an actor ---------------------------------------------------------------------------------------

    def _resume(self, what: tuple[Actor, Any, Exception | None]) -> None:
        actor, value, error = what
        node = actor.node
        if actor.done or (node.hindered and self._hindered(node, what)):
            return
        if self._node_faults and node.mortal and self._struck(node):
            self._resume(what)
            return
        try:
            asked = actor.coro.send(value) if error is None else actor.coro.throw(error)
        except StopIteration:
            actor.done = True
            return
        except Exception:
            actor.done = True
            raise
        if type(asked) is float:
            heappush(self._heap, (self.time + asked, self.chance.random(), self._resume, (actor, None, None)))
        elif type(asked) is Doze:
            self._dozing.append(actor)
            self.at(self.time + asked.seconds, self._wake, (actor, actor.dozes))
        else:
            self._send(actor, asked)

    def _hindered(self, node: Node, what: tuple[Actor, Any, Exception | None]) -> bool:
        """True if the process is dead, or does not move yet."""
        if not node.alive:
            what[0].end()
        elif node.paused_until > self.time:
            self.at(node.paused_until + self.chance.random(), self._resume, what)
        else:
            node.hindered = False
        return node.hindered

    def _wake(self, what: tuple[Actor, int]) -> None:
        actor, doze = what
        if actor.dozes == doze:
            actor.dozes += 1
            self._dozing.remove(actor)
            self._resume((actor, None, None))

    def _tell(self) -> None:
        """A job may have become claimable: one of those who doze hears of it soon, or all of them."""
        heard = self._dozing if self.chance.random() < 0.2 else [self.chance.choice(self._dozing)]
        for actor in heard:
            self.at(self.time + 0.5 * self.chance.random(), self._wake, (actor, actor.dozes))

    def _send(self, actor: Actor, call: Call) -> None:
        if call.method == "insert":
            self._inserts += 1
        chance = self.chance.random
        if self._call_faults:
            drawn = chance()
            for edge, name in self._call_faults:
                if drawn < edge:
                    self.counters[f"fault: {name}"] += 1
                    if self._trace is not None:
                        self.say(f"{call.link.node.name}: {name} for {call}")
                    ON_CALL[name](self, actor, call)
                    return
        arrives = self.time + call.link.node.lag * chance()
        heappush(self._heap, (arrives, chance(), self._arrive, (actor, call, self._epoch)))

    def _arrive(self, what: tuple[Actor | None, Call, int]) -> None:
        """The call reaches the store."""
        actor, call, epoch = what
        if epoch != self._epoch and actor is not None and self.chance.random() < 0.5:
            self._give_up_on(call)
            self._fail(actor, 0.1)
            return
        self._serve((actor, call, getattr(self.store, call.method)(*call.args, **call.kwargs)))

    def _serve(self, what: tuple[Actor | None, Call, Coroutine[Any, Any, Any]]) -> None:
        actor, call, served = what
        answer, error = None, None
        try:
            served.send(None)
        except StopIteration as end:
            answer = end.value
            self.checker.after(call, answer)
            if self.checker.ready and self._dozing:
                self._tell()
        except OutlastError as refused:
            error = refused
        else:
            # A store that pauses in the middle of a call (only one with a planted fault does) lets others in.
            heappush(self._heap, (self.time + LATENCY * self.chance.random(), self.chance.random(), self._serve, what))
            return
        if self._trace is not None:
            self.say(f"{call.link.node.name}: {call} -> {brief(error or answer)}")
        if call.method == "insert":
            self._inserts -= 1
        if actor is not None:
            # At once: whatever a slower answer would let in between comes before the next call as well.
            self._resume((actor, answer, error))

    def _give_up_on(self, call: Call) -> None:
        if call.method == "insert":
            self._inserts -= 1

    def script(self, job: Job[Any]) -> JobPlan:
        """What the handler of this job does."""
        return self._scripts[job.payload_json or ""]

    # -- faults of a call -------------------------------------------------------------------------------------------

    def _fail(self, actor: Actor, after: float) -> None:
        error = StoreUnavailable("no answer came")
        self.at(self.time + after, self._resume, (actor, None, error))

    def _lose_request(self, actor: Actor, call: Call) -> None:
        self._give_up_on(call)
        self._fail(actor, self.chance.uniform(0.5, 8.0))

    def _lose_reply(self, actor: Actor, call: Call) -> None:
        self.at(self.time + LATENCY * self.chance.random(), self._arrive, (None, call, self._epoch))
        self._fail(actor, self.chance.uniform(0.5, 8.0))

    def _late(self, actor: Actor, call: Call) -> None:
        """The caller has long given up when the call arrives."""
        self.at(self.time + self.chance.uniform(1.0, 2.5 * LEASE), self._arrive, (None, call, self._epoch))
        self._fail(actor, self.chance.uniform(0.5, 8.0))

    def _duplicate(self, actor: Actor, call: Call) -> None:
        if call.method == "insert":
            self._inserts += 1
        self.at(self.time + LATENCY * self.chance.random(), self._arrive, (actor, call, self._epoch))
        self.at(self.time + self.chance.uniform(0.0, LEASE), self._arrive, (None, call, self._epoch))

    def _slow(self, actor: Actor, call: Call) -> None:
        self.at(self.time + self.chance.uniform(0.02, 1.2 * LEASE), self._arrive, (actor, call, self._epoch))

    def _busy(self, actor: Actor, call: Call) -> None:
        self._give_up_on(call)
        self._fail(actor, 0.01)

    def _stale_read(self, actor: Actor, call: Call) -> None:
        """A read of jobs is answered with what they were before their last change; all else goes its way."""
        if call.method not in ("get", "due"):
            self.at(self.time, self._arrive, (actor, call, self._epoch))
            return
        served = getattr(self.store, call.method)(*call.args, **call.kwargs)
        try:
            served.send(None)
        except StopIteration as end:
            before = [job and self.checker.before.get(job.id, job) for job in end.value]
            self.at(self.time + LATENCY * self.chance.random(), self._resume, (actor, before, None))

    # -- faults of a process, and of the world ----------------------------------------------------------------------

    def _struck(self, node: Node) -> bool:
        """True if the process was stopped or killed just now."""
        drawn = self.chance.random()
        for edge, name in self._node_faults:
            if drawn < edge:
                if name == "clock":
                    node.offset = self._off()
                elif not (node.running or node.role == "sweeper"):
                    return False
                elif name == "kill":
                    self.kill(node)
                else:
                    node.hindered = True
                    node.paused_until = self.time + LEASE * self.chance.uniform(0.2, 2.0)
                self.counters[f"fault: {name}"] += 1
                self.say(f"{node.name}: {name}")
                return name != "clock"
        return False

    def kill(self, node: Node) -> None:
        """The process is gone; the system may say so, and another takes its place after a while."""
        node.alive, node.hindered = False, True
        if self.chance.random() < 0.5:
            self.gone.add(node.name)
        self.at(self.time + self.chance.uniform(0.1, 15.0), self._succeed, node)

    def retire(self, node: Node) -> None:
        """The process has left; another takes its place."""
        node.alive, node.hindered = False, True
        self.at(self.time + self.chance.uniform(0.1, 5.0), self._succeed, node)

    def _succeed(self, node: Node) -> None:
        if not self.settled:
            self._hire(self, node.role, f"{node.name}'")

    def storm(self) -> None:
        """Plan the faults that are not of one call or one process."""
        for name, act in (("restart", self._restart), ("deploy", self._deploy), ("store-clock", self._step_clock)):
            if name in self.plan.faults:
                for _ in range(self.chance.choice((1, 2))):
                    self.at(self.time + self.chance.uniform(0.0, self.plan.calm_at), act)
        self.at(self.calm_at, self._calm)

    def _restart(self, _: object) -> None:
        if self.settled:
            return
        self.counters["fault: restart"] += 1
        self.say("the store restarts")
        self._epoch += 1
        self.store.restart()
        self.checker.after(Call(Link(self.nodes[0]), "restart", (), NOTHING), None)

    def _deploy(self, _: object) -> None:
        working = [node for node in self.nodes if node.alive and node.role == "worker" and not node.leaving]
        if working and not self.settled:
            self.counters["fault: deploy"] += 1
            node = self.chance.choice(working)
            node.leaving = True
            self.say(f"{node.name}: is told to leave")

    def _step_clock(self, _: object) -> None:
        if not self.settled:
            self.counters["fault: store-clock"] += 1
            self.clock.time += self._off()
            self.say("the store's clock jumps")

    def _calm(self, _: object) -> None:
        self._call_faults, self._node_faults, self._handicaps = [], [], []
        for node in self.nodes:
            node.offset, node.lag, node.starved = 0.0, LATENCY, False


ON_CALL: Mapping[str, Callable[[World, Actor, Call], None]] = {
    "lose-request": World._lose_request,
    "lose-reply": World._lose_reply,
    "late": World._late,
    "duplicate": World._duplicate,
    "slow": World._slow,
    "busy": World._busy,
    "stale-read": World._stale_read,
}


def _ladder(plan: Plan, names: tuple[str, ...]) -> list[tuple[float, str]]:
    """Edges in [0, 1): one draw below an edge, and above those before it, is that fault."""
    edge, ladder = 0.0, []
    for name in names:
        if name in plan.faults:
            edge += plan.faults[name]
            ladder.append((edge, name))
    return ladder
