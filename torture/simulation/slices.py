"""One slice of a claimed job: a scripted handler, and a model of the recorder that writes for it.

The real attempt and its recorder need an event loop. The model keeps to their rules: remembered steps are not called
again; a write that gets no answer ends the slice, and its lease runs out; a refused one is decided again with the job
as it now is; every move is what the real `attempt.judge` makes of the outcome.

A stubborn worker breaks one of these rules, as a worker of another make might: it runs a step again when it got no
answer, and sends it again. The first recorded value must win all the same.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from outlast import lifecycle, output
from outlast.errors import JobNotFound, StoreUnavailable
from outlast.job import Event, Job, JobError, Signal, Step, Waiting
from outlast.outcome import Cancelled, HandedBack, Lost, Outcome, Parked, Raised, Returned, judge
from outlast.replay import TIMED_OUT
from torture.simulation.plan import JobPlan
from torture.simulation.wire import Held, Link, Node, sleep

if TYPE_CHECKING:
    from torture.simulation.world import World


class Slice:
    """Runs the script of one claimed job until it returns, raises, parks, hands back, or loses the lease."""

    def __init__(self, world: "World", node: Node, job: Job[Any], held: Held) -> None:
        self.job = job
        self._world = world
        self._node = node
        self._held = held
        self._link = Link(node, held.lease)
        self._plan: JobPlan = world.script(job)
        self._known: dict[str, Step] = {}
        self._fresh = 0
        self._offset: int | None = None if job.offsets else 0
        self._until = None if job.timeout is None else (job.claimed_at or 0.0) + job.timeout - job.ran

    async def run(self) -> None:
        try:
            outcome = await self._play()
            if isinstance(outcome, Returned):
                await self._take_back()
            if not isinstance(outcome, Lost):
                await self._finish(outcome)
        except (StoreUnavailable, JobNotFound):
            self._world.counters["slices broken off"] += 1
        self._node.held.pop(self._held.lease, None)
        self._node.running -= 1

    async def _play(self) -> Outcome:
        job = self.job
        if job.started_at != job.claimed_at or job.retry_of is not None:
            self._known = {step.key: step for step in await self._link.steps(job.id)}
        for number, (name, seconds) in enumerate(self._plan.script):
            outcome = await self._stopped() or await self._do(name, number, seconds)
            if outcome is not None:
                return outcome
        if self._chance() < self._plan.raises:
            return self._raised("handler_error", "as planned")
        return await self._stopped() or Returned(f'"{self._held.lease}"')

    async def _do(self, name: str, number: int, seconds: float) -> Outcome | None:
        if name == "step":
            return await self._step(f"/step {number}:0#0", number, seconds)
        if name == "wait":
            return await self._wait(f"wait_for go-{number}", f"go-{number}", number, seconds)
        if name == "sleep":
            return await self._wait("sleep", None, number, seconds)
        return HandedBack("yield") if self._fresh else None

    async def _stopped(self) -> Outcome | None:
        """Why the slice must end here, if it must."""
        if self._held.turned and not self._held.lost:
            self._held.turned = False
            job = (await self._link.get([self.job.id]))[0]
            self._refresh(job)
        now = self._link.now()
        if self._held.lost:
            return Lost()
        if self.job.cancel_requested_at is not None:
            return Cancelled()
        if self.job.deadline is not None and now >= self.job.deadline:
            return self._raised("deadline_exceeded", "the deadline passed")
        if self._until is not None and now >= self._until:
            return self._raised("timeout", "it ran too long")
        return HandedBack("deploy") if self._node.leaving else None

    # -- what a handler does ----------------------------------------------------------------------------------------

    async def _step(self, key: str, number: int, seconds: float) -> Outcome | None:
        if self._remembered(key):
            return None
        value = self._value()
        said = value[: len(value) // 2] if self._plan.writes else ""
        if said:
            await self._say(number, said)
        await sleep(seconds)
        if self._plan.poison and self._world.stormy and self._chance() < self._plan.poison:
            self._world.counters["fault: poison"] += 1
            self._world.kill(self._node)
            await sleep(0.0)
        stopped = await self._stopped()
        if stopped is not None and not isinstance(stopped, HandedBack):
            return stopped
        await self._record(key, number, value, says=value[len(said) :] if said else "")
        return stopped

    async def _wait(self, name: str, signal: str | None, number: int, seconds: float) -> Outcome | None:
        key = f"/{name}:-#{number}"
        if self._remembered(key):
            return None
        step = self._known.get(key)
        if step is None:
            due = self._link.now() + seconds
            step = Step(key=key, name=name, index=number, status="waiting", due=due, attempt=self.job.attempt)
            await self._append(step)
            self._known[key] = step
        while signal is not None and signal in self.job.inbox and not self._held.lost:
            left = next((one for one in await self._link.signals(self.job.id) if self._is(one, signal)), None)
            if left is None or await self._take(step, left):
                return None
        if self._held.lost:
            return Lost()
        if step.due is not None and step.due <= self._link.now():
            await self._record(key, number, "null" if signal is None else TIMED_OUT)
            return None
        if signal is None:
            return Parked(Waiting(reason="sleep", until=step.due))
        return Parked(Waiting(reason="signal", until=step.due, signals=(signal,)))

    async def _take(self, step: Step, left: Signal) -> bool:
        done = _completed(step.key, step.index, f'{{"value":{left.value}}}', self.job.attempt)
        return await self._append(done, consumed=(left,))

    def _remembered(self, key: str) -> bool:
        step = self._known.get(key)
        if step is None or step.status != "completed":
            return False
        self._world.counters["replayed steps"] += 1
        return True

    # -- the model of the recorder ----------------------------------------------------------------------------------

    async def _record(self, key: str, number: int, value: str, *, says: str = "") -> None:
        try:
            await self._append(_completed(key, number, value, self.job.attempt), says=says)
        except StoreUnavailable:
            if not self._world.plan.stubborn:
                raise
            self._world.counters["steps sent again"] += 1
            again = value if key.startswith("/wait_for") else self._value()
            await self._append(_completed(key, number, again, self.job.attempt), says=says)
        self._fresh += 1

    async def _append(self, step: Step, *, consumed: tuple[Signal, ...] = (), says: str = "") -> bool:
        """False if it is to be decided again, or never, as the lease is lost."""
        data = {"name": step.name, "index": step.index, "status": step.status}
        events, fields = [self._event("job.step", data)], {}
        if says:
            events = [self._delta(step.index, says), *events]
            fields = {"offsets": {"text": self._offset}}
        return await self._send(fields, events, (step,), consumed)

    async def _say(self, number: int, text: str) -> None:
        """What a step writes is sent before the step is over, too."""
        await self._take_back()
        delta = self._delta(number, text)
        await self._send({"offsets": {"text": self._offset}}, [delta])

    def _delta(self, number: int, text: str) -> Event:
        offset = self._offset or 0
        self._offset = offset + len(text)
        return self._event("job.output.delta", {"channel": "text", "offset": offset, "text": text, "step": number})

    async def _take_back(self) -> None:
        """Before anything is written anew: what earlier slices wrote in steps that were not recorded goes."""
        if self._offset is not None:
            return
        log, recorded = await self._log(), {step.index for step in self._known.values() if step.status == "completed"}
        entries, texts = output.taken_back(log, recorded, {})
        self._offset = len(texts.get("text", ""))
        if entries:
            self._world.counters["output taken back"] += 1
            kinds = ["job.output.delta" if "text" in entry else "job.output.reset" for entry in entries]
            events = [self._event(type, entry) for type, entry in zip(kinds, entries, strict=True)]
            await self._send({"offsets": {"text": self._offset}}, events)

    async def _log(self) -> list[Event]:
        events: list[Event] = []
        while page := await self._link.events(self.job.id, after=len(events)):
            events += page
        return events

    async def _send(
        self,
        fields: Mapping[str, Any],
        events: list[Event],
        steps: tuple[Step, ...] = (),
        consumed: tuple[Signal, ...] = (),
    ) -> bool:
        if self._held.lost:
            return False
        change = lifecycle.append(self.job, set=fields, events=events, steps=steps, consumed=consumed)
        refused = (await self._link.apply([change]))[0]
        if refused is not None:
            self._refresh(refused)
        elif consumed:
            self.job = change.applied(self.job)
        return refused is None

    async def _finish(self, outcome: Outcome) -> None:
        chance = self._chance()
        while not self._held.lost:
            change = judge(self.job, outcome, self._link.now(), chance)
            refused = (await self._link.apply([change]))[0]
            if refused is None:
                return
            self._refresh(refused)

    def _refresh(self, job: Job[Any] | None) -> None:
        if job is None or job.lease != self._held.lease:
            self._held.lost = True
        elif job.turn > self.job.turn:
            self.job = job

    def _event(self, type: str, data: Mapping[str, Any]) -> Event:
        return Event(type=type, time=self._link.now(), attempt=self.job.attempt, data=data)

    def _raised(self, code: str, message: str) -> Raised:
        retryable = code != "deadline_exceeded"
        error = JobError(code=code, message=message, retryable=retryable, attempt=self.job.attempt, at=self._link.now())
        return Raised(error)

    def _chance(self) -> float:
        return self._world.chance.random()

    def _value(self) -> str:
        return f'"{self._held.lease[:8]}-{self._chance():.6f}"'

    def _is(self, one: Signal, name: str) -> bool:
        return one.name == name and not one.taken


def _completed(key: str, number: int, value: str, attempt: int) -> Step:
    name = key[1:].split(":", maxsplit=1)[0]
    return Step(key=key, name=name, index=number, status="completed", value=value, attempt=attempt)
