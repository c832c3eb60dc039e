"""What an attempt writes while it runs, gathered and sent as appends, one call in flight.

    write, progress, log, steps ──▶ pending ──(50 ms, 4 KB, or a step's end)──▶ one Change ──▶ the store
                                        └──────── whatever is pending at the end goes with the last move

A refused append means that the lease is lost: from then on nothing is sent any more.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from outlast import lifecycle, output
from outlast.activity import Stirred
from outlast.errors import ContextClosed
from outlast.job import Change, Event, Job, Signal, Step
from outlast.outcome import Outcome, Returned
from outlast.policy import Limits
from outlast.stores.base import Store
from outlast.stores.batching import Batched

T = TypeVar("T")

INTERVAL = 0.05
SLOW_INTERVAL = 0.5
MANY_EVENTS = 2_000
FLUSH_AT = 4_096
WAIT_AT = 256 << 10
PAGE = 1_000


class Decides(Protocol):
    """Who judges what became of the slice."""

    def decide(self, job: Job[Any], outcome: Outcome) -> Change: ...


class Recorder:
    """The one writer of an attempt.

    Parameters
    ----------
    job: as it was claimed; its lease is the attempt's own.
    one: the store, for one change at a time, which it may send together with those of other attempts.
    stirred: the attempt, when the lease is lost.
    """

    def __init__(
        self,
        job: Job[Any],
        store: Store,
        one: Batched,
        limits: Limits,
        stirred: Stirred,
    ) -> None:
        self.job = job
        self.lease = job.lease
        self.lost: Job[Any] | Exception | None = None
        self.silent = False
        self.closed = False
        self.progressed = False
        """True once a step is being recorded as completed, which goes before the move, or with it: if the lease is not
        lost over that, a later slice need not do it again."""
        self._store = store
        self._one = one
        self._limits = limits
        self._stirred: Stirred | None = stirred
        self._sending = asyncio.Lock()
        self._full: asyncio.Event | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._entries: list[Event] = []
        self._set: dict[str, Any] = {}
        self._steps: tuple[Step, ...] = ()
        self._size = 0
        self._swallowed: dict[str, str] = {}
        self._silent_progress: tuple[float, str | None] | None = None
        self._take_back_but: frozenset[int] | None = None
        self._hashes: dict[str, Any] = {}
        self._written = sum(job.offsets.values())

    # -- what the Context calls; none of these waits ----------------------------------------------------------------

    def write(self, text: str, channel: str, step: int | None) -> None:
        """Output text for a channel."""
        if self.silent:
            self._swallowed[channel] = self._swallowed.get(channel, "") + text
            return
        if not self._within_output(text):
            return
        width = self._limits.event // 8
        for start in range(0, len(text), width):
            self._add_delta(text[start : start + width], channel, step, width)
        self._grow(len(text))

    def progress(self, percent: float, message: str | None) -> None:
        """Only the newest progress is sent; within an attempt it never goes back."""
        if self.silent:
            self._silent_progress = percent, message
            return
        known = self._set.get("progress", self.job.progress)
        self._set["progress"] = percent if known is None else max(percent, known)
        if message is not None:
            self._set["message"] = message
        self._grow(64)

    def log(self, message: str, level: str) -> None:
        if not self.silent:
            self._add("job.log", {"level": level, "message": message})

    def usage(self, spent: Mapping[str, float]) -> None:
        """Add what was really spent; while silent the handler only says again what it said before."""
        if self.silent:
            return
        known = dict(self._set.get("usage", self.job.usage))
        for name, amount in spent.items():
            known[name] = known.get(name, 0) + amount
        self._set["usage"] = known
        self._grow(64)

    def opened(self, step: Step, parent: int | None) -> None:
        """A step begins."""
        others = [other for other in self._open_steps() if other.key != step.key]
        self._set["open_steps"] = (*others, step)
        self._set["current_step"] = step.name
        self._add("job.step", _step_data(step, parent))

    def broke(self, step: Step, parent: int | None) -> None:
        """A step raised; nothing is recorded of it but that."""
        failed = replace(step, status="failed")
        self._set["open_steps"] = tuple(failed if s.key == step.key else s for s in self._open_steps())
        self._add("job.step", _step_data(failed, parent))

    def loud(self, recorded: Iterable[int]) -> None:
        """The replay is over: what it will write again is taken back before anything else is sent."""
        self.silent = False
        if self.job.offsets or self._swallowed:
            self._take_back_but = frozenset(recorded)
            self._grow(FLUSH_AT)
        if self._silent_progress is not None and self._silent_progress[0] != self.job.progress:
            self.progress(*self._silent_progress)

    # -- what waits until it is committed ---------------------------------------------------------------------------

    async def record(self, step: Step, parent: int | None = None) -> None:
        """The result, or the due time, of a step; all that was written before it goes with it.

        Raises ContextClosed if the lease is lost.
        """
        self._steps = (*self._steps, step)
        self._set["open_steps"] = tuple(other for other in self._open_steps() if other.key != step.key)
        self._add("job.step", _step_data(step, parent))
        self.progressed = self.progressed or step.status == "completed"
        await self.flush()

    async def take(self, name: str, step: Step) -> Step | None:
        """The oldest signal of this name leaves the inbox as the result of the step that waited for it, in one change.

        Result: the step as it is recorded; None if no such signal lies there.
        """
        await self.flush()
        async with self._sending:
            while True:
                self._require_open()
                signal = await self._oldest(name)
                if signal is None:
                    return None
                done = replace(step, status="completed", value=f'{{"value":{signal.value}}}')
                event = self._event("job.step", _step_data(done, None))
                change = lifecycle.append(self.job, events=(event,), steps=(done,), consumed=(signal,))
                if await self._send(change):
                    self.progressed = True
                    return done

    async def _oldest(self, name: str) -> Signal | None:
        signals = await self._reading(self._store.signals(self.job.id))
        return next((signal for signal in signals if signal.name == name and not signal.taken), None)

    async def take_back(self, step: int, recorded: Collection[int]) -> None:
        """A step is to be called again: what it wrote goes, and what the recorded steps within it wrote stays."""
        await self.flush()
        async with self._sending:
            self._require_open()
            if self.job.offsets:
                await self._rewrite(*output.without(await self._log(), step, recorded))

    async def room(self) -> None:
        """Wait while much is unsent, so that a fast writer cannot outrun its store."""
        if self._size > WAIT_AT:
            await self.flush()

    async def flush(self) -> None:
        """Send what is pending. Raises ContextClosed if the lease is lost."""
        async with self._sending:
            self._require_open()
            await self._take_back()
            if self._entries or self._set or self._steps:
                set, events, steps = self._drained()
                await self._send(self._laid(set, events, steps))

    async def finish(self, by: Decides, outcome: Outcome) -> Change | None:
        """End the slice by the move that its outcome leads to, with what is pending; None if the lease is lost."""
        async with self._sending:
            try:
                self._require_open()
                await self._take_back()
                set, events, steps = self._drained()
                if set:
                    self.job = self.job.evolve(**set)
                if isinstance(outcome, Returned) and self.job.offsets:
                    events = (*events, *self._done_events())
                while True:
                    change = by.decide(self.job, outcome)
                    if set or events or steps:
                        ends = (*events, *change.events)
                        change = replace(change, set={**set, **change.set}, events=ends, steps=steps)
                    if await self._offer(change):
                        return change
            except ContextClosed:
                return None
            finally:
                self.close()

    def refresh(self, job: Job[Any]) -> None:
        """Take over what others left on the job: wishes, signals, the turn."""
        if job.lease != self.lease:
            self.lose(job)
        elif job.turn > self.job.turn:
            self.job = self.job.evolve(
                turn=job.turn,
                inbox=job.inbox,
                cancel_requested_at=job.cancel_requested_at,
                cancel_reason=job.cancel_reason,
            )

    def lose(self, reason: Job[Any] | Exception) -> None:
        """The lease is another's, or nobody can say: nothing is sent any more."""
        self.lost = reason
        if self._stirred is not None:
            self._stirred.stir()

    def close(self) -> None:
        """From here on nothing is sent."""
        self.closed, self._stirred = True, None
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None

    # -- within -----------------------------------------------------------------------------------------------------

    def _open_steps(self) -> tuple[Step, ...]:
        open_steps: tuple[Step, ...] = self._set.get("open_steps", self.job.open_steps)
        return open_steps

    def _add(self, type: str, data: Mapping[str, Any]) -> None:
        self._entries.append(self._event(type, data))
        self._grow(256)

    def _add_delta(self, text: str, channel: str, step: int | None, width: int) -> None:
        last = self._entries[-1] if self._entries else None
        if (
            last is not None
            and last.type == "job.output.delta"
            and (last.data["channel"], last.data["step"]) == (channel, step)
            and len(last.data["text"]) + len(text) <= width
        ):
            self._entries[-1] = replace(last, data={**last.data, "text": last.data["text"] + text})
        else:
            data = {"channel": channel, "offset": 0, "text": text, "step": step}
            self._entries.append(self._event("job.output.delta", data))

    def _event(self, type: str, data: Mapping[str, Any]) -> Event:
        return Event(type=type, time=self._store.now(), attempt=self.job.attempt, data=data)

    def _within_output(self, text: str) -> bool:
        if self._written > self._limits.output:
            return False
        self._written += len(text.encode("utf-8", "surrogatepass"))
        if self._written > self._limits.output:
            self.log(f"output beyond {self._limits.output} bytes is dropped", "warning")
            return False
        return True

    def _grow(self, size: int) -> None:
        if self.closed or self.lost is not None:
            return
        self._size += size
        self._full = self._full or asyncio.Event()
        if self._size >= FLUSH_AT:
            self._full.set()
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.get_running_loop().create_task(self._flush_soon(self._full))

    async def _flush_soon(self, full: asyncio.Event) -> None:
        try:
            while self._entries or self._set or self._take_back_but is not None:
                interval = INTERVAL if self.job.seq < MANY_EVENTS else SLOW_INTERVAL
                try:
                    async with asyncio.timeout(interval):
                        await full.wait()
                except TimeoutError:
                    pass
                await self.flush()
        except ContextClosed:
            pass

    async def _take_back(self) -> None:
        if self._take_back_but is None:
            return
        log = await self._log()
        entries, texts = output.taken_back(log, self._take_back_but, self._swallowed)
        self._take_back_but = None
        await self._rewrite(entries, texts)

    async def _rewrite(self, entries: Sequence[Mapping[str, Any]], texts: Mapping[str, str]) -> None:
        self._hashes = {channel: hashlib.sha256(text.encode()) for channel, text in texts.items()}
        # They stand before what is pending already, so they must not be younger.
        time = self._entries[0].time if self._entries else self._store.now()
        resets = [replace(self._event(_output_type(entry), entry), time=time) for entry in entries]
        offsets = {**self.job.offsets, **{channel: len(text) for channel, text in texts.items()}}
        if entries:
            await self._send(self._laid({"offsets": offsets}, resets))

    async def _log(self) -> list[Event]:
        events: list[Event] = []
        while page := await self._reading(self._store.events(self.job.id, after=len(events), limit=PAGE)):
            events += page
        return events

    def _drained(self) -> tuple[dict[str, Any], tuple[Event, ...], tuple[Step, ...]]:
        if not (self._set or self._entries or self._steps):
            return {}, (), ()
        set, entries, steps = self._set, self._entries, self._steps
        self._set, self._entries, self._steps, self._size = {}, [], (), 0
        if self._full is not None:
            self._full.clear()
        if "progress" in set:
            shown = {"progress": set["progress"], "message": set.get("message", self.job.message)}
            shown["currentStep"] = set.get("current_step", self.job.current_step)
            entries.append(self._event("job.progress", shown))
        offsets = dict(self.job.offsets)
        events = tuple(self._placed(event, offsets) for event in entries)
        return (set if offsets == self.job.offsets else {**set, "offsets": offsets}), events, steps

    def _placed(self, event: Event, offsets: dict[str, int]) -> Event:
        if event.type != "job.output.delta":
            return event
        channel, text = event.data["channel"], event.data["text"]
        placed = replace(event, data={**event.data, "offset": offsets.get(channel, 0)})
        offsets[channel] = placed.data["offset"] + len(text)
        self._hashes.setdefault(channel, hashlib.sha256()).update(text.encode("utf-8", "surrogatepass"))
        return placed

    def _laid(self, set: Mapping[str, Any], events: Iterable[Event] = (), steps: Iterable[Step] = ()) -> Change:
        """An append, and the job as it will be: whoever cancels the call that sends it does not stop the append."""
        self.job = self.job.evolve(**set)
        return lifecycle.append(self.job, set=set, events=events, steps=steps)

    def _done_events(self) -> list[Event]:
        facts = [
            {"channel": channel, "length": length, "sha256": self._hashes[channel].hexdigest()}
            for channel, length in self.job.offsets.items()
        ]
        return [self._event("job.output.done", fact) for fact in facts]

    def _require_open(self) -> None:
        if self.closed or self.lost is not None:
            raise ContextClosed("the slice is over; nothing is recorded any more")

    async def _reading(self, reading: Awaitable[T]) -> T:
        try:
            return await reading
        except Exception as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> ContextClosed:
        # What was drained may be lost, so nothing may follow it: the attempt ends, and its lease runs out.
        self.lose(error)
        return ContextClosed("the store failed; the job goes on once its lease is out")

    async def _send(self, change: Change) -> bool:
        """As `_offer`; the job is then as it was written."""
        written = await self._offer(change)
        if written:
            self.job = change.applied(self.job)
        return written

    async def _offer(self, change: Change) -> bool:
        """True once it is written; False if it is to be decided again with the job as it now is."""
        self._require_open()
        try:
            now_is = await self._one.apply(change)
        except Exception as error:
            raise self._broken(error) from error
        if now_is is None:
            return True
        self.refresh(now_is)
        if self.lost is not None:
            raise ContextClosed("the lease is lost; another attempt may run")
        return False


def _step_data(step: Step, parent: int | None) -> dict[str, Any]:
    data: dict[str, Any] = {"name": step.name, "index": step.index, "status": step.wire()["status"]}
    if step.duration_ms is not None:
        data["durationMs"] = step.duration_ms
    return data if parent is None else data | {"parent": parent}


def _output_type(entry: Mapping[str, Any]) -> str:
    return "job.output.delta" if "text" in entry else "job.output.reset"
