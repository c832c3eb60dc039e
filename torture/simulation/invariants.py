"""What must hold after every call, whatever went wrong: checked on the jobs that the call touched.

The checker keeps a book of its own. It knows who made a call, and under which lease; it does not ask the change what
it was allowed to do.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from outlast import output
from outlast.job import Change, Event, Job, Status, Step
from outlast.replay import TIMED_OUT
from outlast.stores.base import ANY, IDEMPOTENCY, Claimed, Head, Lease
from outlast.stores.memory import MemoryStore
from torture.simulation.wire import Call

INVARIANTS: Mapping[str, str] = {
    "I1": "an acknowledged job is there, and has one end once the faults stop",
    "I2": "every accepted write of an attempt carried the lease that was the job's own",
    "I3": "a job ends once, and never changes again; the result is the winning attempt's",
    "I4": "the first value recorded of a step is the only one ever read",
    "I5": "events are numbered 1..n, their attempts never fall, the end is one and last",
    "I6": "a claim takes what is ready, never what is held; it counts an attempt unless the last was handed back",
    "I7": "one idempotency key of one owner is one job",
    "I8": "after a wish to cancel nothing is claimed, and the end is the cancel or a completion that was first",
    "I9": "once the faults stop every job ends in time",
    "I10": "nobody is shown a job of another owner",
    "I13": "a claim takes no more jobs than were asked for",
    "I17": "only ended jobs are removed, when their time is over or an operator says so, and whole",
    "text": "what readers hold after the end is what the recorded steps wrote, each once and in order",
    "signals": "a signal lies in the inbox once and is taken once",
}
"""The names are those of the list of invariants that real runs are checked against too."""

PROCESSING, QUEUED, RETRYING, WAITING = Status.PROCESSING, Status.QUEUED, Status.RETRYING, Status.WAITING
COMPLETED, FAILED, CANCELLED = Status.COMPLETED, Status.FAILED, Status.CANCELLED
END_OF = {"job.completed": COMPLETED, "job.failed": FAILED, "job.cancelled": CANCELLED}
READS = frozenset({"get", "events", "steps", "signals"})
"""After these nothing can be new."""

UNHANDED = frozenset({"lease_lost"})
"""Reasons for which a job is queued again that hand no try back."""


class Violation(Exception):
    """A promise is broken."""

    def __init__(self, invariant: str, found: str) -> None:
        super().__init__(f"{invariant} ({INVARIANTS[invariant]}): {found}")
        self.invariant = invariant


class Book:
    """What the checker knows of one job beside the job itself."""

    __slots__ = ("clean", "inherited", "last", "leases", "length", "steps", "taken")

    def __init__(self) -> None:
        self.length = 0
        self.last: Event | None = None
        self.clean = False
        self.inherited = 0
        self.leases: set[str] = set()
        self.steps: dict[str, str | None] = {}
        self.taken = 0


class Checker:
    """Holds a store to the promises, call by call.

    Parameters
    ----------
    counters: of what the jobs went through.
    doubles: appends may be written twice, and their text with them; no store promises otherwise.
    gone: workers that the system says are dead; their leases count as run out.
    """

    def __init__(
        self, store: MemoryStore, counters: Counter[str], gone: Collection[str] = (), *, doubles: bool = False
    ) -> None:
        self.jobs: dict[str, Job[Any]] = {}
        self.before: dict[str, Job[Any]] = {}
        self.counters = counters
        self.live = 0
        self.ready = False
        self._store = store
        self._gone = gone
        self._doubles = doubles
        self._books: dict[str, Book] = {}
        self._keys: dict[tuple[str | None, str], str] = {}
        self.removed: set[str] = set()
        self._latest = 0.0

    def after(self, call: Call, answer: Any) -> None:
        """A call was applied. Raises Violation."""
        store, known = self._store, self.jobs
        now = store.clock.now()
        if now > self._latest:
            self._latest = now
        self.ready = False
        check = ANSWERS.get(call.method)
        if check is not None:
            check(self, call, answer)
        if call.method in READS:
            return
        for id, job in store._jobs.items():
            old = known.get(id)
            if old is not job:
                self._born(job) if old is None else self._changed(call, old, job)
        if len(known) != len(store._jobs):
            for id in [id for id in known if id not in store._jobs]:
                self._is_removed(call, known[id])

    def close(self, accepted: Iterable[str]) -> None:
        """All is over: what was acknowledged has ended, or was removed for a reason that was looked at."""
        for id in accepted:
            if id not in self.removed and not (id in self.jobs and self.jobs[id].ended):
                raise Violation("I1", f"{id} was acknowledged and did not end")

    # -- a job appears, changes, goes -------------------------------------------------------------------------------

    def _born(self, job: Job[Any]) -> None:
        # A job that was removed may come again: the request that made it was on its way twice.
        book = self._books[job.id] = Book()
        if job.idempotency_key is not None:
            key = job.owner, job.idempotency_key
            holder = self.jobs.get(self._keys.get(key, ""))
            if holder is not None and holder.created_at > self._store.now() - IDEMPOTENCY:
                raise Violation("I7", f"{job.id} and {holder.id} have one key")
            self._keys[key] = job.id
        self._check_log(job, book)
        self._check_steps(job, book)
        book.inherited = len(_taken(book))
        self.jobs[job.id] = job
        self.live += not job.ended
        self.ready = job.tag is not None

    def _changed(self, call: Call, old: Job[Any], new: Job[Any]) -> None:
        id, book = new.id, self._books[new.id]
        if old.ended:
            raise Violation("I3", f"{id} had {old.status} and was written again by {call.method}")
        if call.method == "restart":
            raise Violation("I1", f"{id} came back from a restart as it was before")
        self._check_writer(call, old, new)
        if old.status is not PROCESSING and new.status is PROCESSING:
            self._check_claim(call, old, new, book)
        elif new.attempt != old.attempt:
            raise Violation("I6", f"{id} went from attempt {old.attempt} to {new.attempt} without a claim")
        self._check_log(new, book)
        if old.status is not new.status:
            self._check_move(old, new, book)
        elif new.tag is not None and old.tag is None and self._latest < (old.next_at or 0.0):
            raise Violation("I6", f"{id} is claimable {(old.next_at or 0.0) - self._latest:.3f} s before its time")
        if old.cancel_requested_at is not None and new.cancel_requested_at is None:
            raise Violation("I8", f"{id} forgot that somebody wants it cancelled")
        if call.method == "apply":
            self._check_steps(new, book)
        self._check_signals(new, book)
        self.before[id] = old
        self.jobs[id] = new
        self.ready = self.ready or (new.tag is not None and old.tag is None)

    def _is_removed(self, call: Call, job: Job[Any]) -> None:
        id, store = job.id, self._store
        if call.method != "purge":
            raise Violation("I1", f"{id} is lost after {call.method}")
        if not job.ended:
            raise Violation("I17", f"{id} was removed while it was {job.status}")
        if call.kwargs["owner"] not in (ANY, job.owner):
            raise Violation("I10", f"{id} was removed by somebody who does not own it")
        # Of a job that came again after it was removed, an old request to remove it may come again as well.
        first = id not in self.removed
        if first and call.link.node.role == "sweeper" and (job.expires_at or 0.0) > self._latest:
            raise Violation("I17", f"{id} was removed before its time")
        if any(id in table for table in (store._events, store._steps, store._signals, store._reports)):
            raise Violation("I17", f"{id} was removed and left something behind")
        self.counters["removed by retention" if call.link.node.role == "sweeper" else "removed by hand"] += 1
        del self.jobs[id]
        self.before.pop(id, None)
        self.removed.add(id)

    # -- who wrote, and whether it might ----------------------------------------------------------------------------

    def _check_writer(self, call: Call, old: Job[Any], new: Job[Any]) -> None:
        lease = call.link.lease
        if lease is not None:
            if lease != old.lease:
                raise Violation("I2", f"{new.id} was written under {lease[:4]} while it was {_of(old)}")
        elif old.status is PROCESSING and call.method != "renew" and new.lease != old.lease:
            self._check_takeover(call, old, new)
        if (new.status is PROCESSING) != (new.lease is not None):
            raise Violation("I2", f"{new.id} is {_of(new)}")

    def _check_takeover(self, call: Call, old: Job[Any], new: Job[Any]) -> None:
        if new.status is PROCESSING:
            raise Violation("I6", f"{new.id} was claimed while it was {_of(old)}")
        ran_out = old.lease_until is not None and old.lease_until <= self._latest
        if not ran_out and old.worker not in self._gone:
            left = (old.lease_until or 0.0) - self._latest
            raise Violation("I6", f"{new.id} was taken from its holder by {call.method} {left:.3f} s too early")
        self.counters["expired leases" if ran_out else "leases of the dead"] += 1

    def _check_claim(self, call: Call, old: Job[Any], new: Job[Any], book: Book) -> None:
        id = new.id
        if call.method != "claim" or old.tag is None or old.status not in (QUEUED, RETRYING):
            raise Violation("I6", f"{id} was claimed by {call.method} while it was {_of(old)}, tag {old.tag}")
        if old.cancel_requested_at is not None:
            raise Violation("I8", f"{id} was claimed after somebody wanted it cancelled")
        if new.lease is None or new.lease in book.leases:
            raise Violation("I2", f"{id} was claimed under a lease that is not new")
        attempt = max(old.attempt, 1) if book.clean else old.attempt + 1
        if new.attempt != attempt:
            raise Violation("I6", f"{id} was claimed as attempt {new.attempt}, which is number {attempt}")
        if attempt > new.max_retries + 1:
            raise Violation("I6", f"{id} was claimed although its {attempt - 1} tries are spent")
        book.leases.add(new.lease)
        self.counters["claims"] += 1
        self.counters["takeovers"] += new.deaths > 0

    # -- what a job went through ------------------------------------------------------------------------------------

    def _check_move(self, old: Job[Any], new: Job[Any], book: Book) -> None:
        reason = book.last.data.get("reason") if book.last is not None else None
        book.clean = new.status is WAITING or (new.status is QUEUED and reason not in UNHANDED)
        if old.status is WAITING and new.status is QUEUED:
            self._check_wake(old, new)
        if old.cancel_requested_at is not None and new.status not in (COMPLETED, CANCELLED):
            raise Violation("I8", f"{new.id} went on to {new.status} after somebody wanted it cancelled")
        if new.ended:
            self._check_end(old, new)
        self.counters["parks"] += new.status is WAITING
        self.counters["hand-backs"] += reason in ("deploy", "yield") and new.status is QUEUED

    def _check_wake(self, old: Job[Any], new: Job[Any]) -> None:
        self.counters["wakes"] += 1
        waiting = old.waiting
        if waiting is None or new.inbox != old.inbox:
            return
        if waiting.until is None or waiting.until > self._latest:
            raise Violation("I6", f"{new.id} was woken before its time, and by no signal")

    def _check_end(self, old: Job[Any], new: Job[Any]) -> None:
        self.live -= 1
        code = None if new.last_error is None else new.last_error.code
        if new.status is COMPLETED and (old.lease is None or old.lease not in (new.result_json or "")):
            raise Violation("I3", f"{new.id} is completed with a result that is not its attempt's")
        if new.status is COMPLETED and new.offsets and not self._doubles:
            self._check_text(new)
        if new.status is FAILED and code in ("worker_died", "handler_error", "timeout"):
            self.counters["ends with all tries spent"] += new.attempt > new.max_retries
        self.counters["ends by deadline"] += code == "deadline_exceeded"
        if old.status is PROCESSING and old.cancel_requested_at is not None:
            self.counters[f"cancel and finish: {new.status}"] += 1

    def _check_text(self, job: Job[Any]) -> None:
        steps = sorted(self._store._steps[job.id].values(), key=lambda step: step.index)
        wrote = "".join([step.value or "" for step in steps if step.key.startswith("/step")])
        text = output.text(self._store._events[job.id])
        if text != wrote or job.offsets["text"] != len(text):
            raise Violation("text", f"{job.id}: readers hold {text}, and its steps wrote {wrote}")
        self.counters["texts compared"] += 1

    def _check_log(self, job: Job[Any], book: Book) -> None:
        log, last, length = self._store._events[job.id], book.last, book.length
        if job.seq != len(log) or (last is not None and log[length - 1 : length] != [last]):
            raise Violation("I5", f"{job.id}: the log has {len(log)} events, the job says {job.seq}")
        for event in log[length:]:
            length += 1
            if event.seq != length:
                raise Violation("I5", f"{job.id}: event {event.seq} stands at place {length}")
            if last is not None and (last.is_end or event.attempt < last.attempt):
                raise Violation("I5", f"{job.id}: {event.type} of attempt {event.attempt} stands after {last.type}")
            last = event
        if last is None or END_OF.get(last.type) is not (job.status if job.ended else None):
            raise Violation("I5", f"{job.id} is {job.status} and its last event is {last and last.type}")
        book.length, book.last = length, last

    def _check_steps(self, job: Job[Any], book: Book) -> None:
        stored = self._store._steps[job.id]
        for step in stored.values():
            if step.status == "completed" and book.steps.setdefault(step.key, step.value) != step.value:
                raise Violation("I4", f"{job.id}: {step.key} was {book.steps[step.key]} and is {step.value}")
        for key in book.steps:
            if key not in stored:
                raise Violation("I4", f"{job.id}: {key} was recorded and is gone")

    def _check_signals(self, job: Job[Any], book: Book) -> None:
        signals = self._store._signals[job.id]
        if not signals and not job.inbox:
            return
        left = [signal.name for signal in signals if not signal.taken]
        taken = len(signals) - len(left)
        if sorted(left) != sorted(job.inbox) or taken < book.taken:
            raise Violation("signals", f"{job.id}: the inbox is {job.inbox}, and {left} are not taken")
        keys = [signal.key for signal in signals if signal.key is not None]
        if len(set(keys)) != len(keys):
            raise Violation("signals", f"{job.id} got one signal twice: {keys}")
        values = _taken(book)
        if len(values) != len(set(values)) or len(values) - book.inherited != taken:
            raise Violation("signals", f"{job.id}: {values} are taken, of {signals}")
        self.counters["signals taken"] += taken - book.taken
        book.taken = taken

    # -- what was answered ------------------------------------------------------------------------------------------

    def _claimed(self, call: Call, answer: Claimed) -> None:
        if len(answer.jobs) > call.args[0]:
            raise Violation("I13", f"{len(answer.jobs)} jobs were claimed where {call.args[0]} were asked for")

    def _renewed(self, call: Call, answer: list[Head | None]) -> None:
        leases: tuple[Lease, ...] = call.args[0]
        for lease, head in zip(leases, answer, strict=True):
            job = self.jobs.get(lease.job_id)
            if (head is not None) != (job is not None and job.lease == lease.lease):
                raise Violation(
                    "I2", f"a renewal of {lease.lease[:4]} answers {head} where the job is {job and _of(job)}"
                )

    def _applied(self, call: Call, answer: list[Job[Any] | None]) -> None:
        lease = call.link.lease
        changes: list[Change] = call.args[0]
        for change, refused in zip(changes, answer, strict=True):
            if refused is None:
                self.counters["writes"] += 1
            elif lease is not None and refused.lease != lease:
                self.counters["stale refusals"] += 1
            else:
                self.counters["decisions made again"] += 1
            if refused is None and lease is not None and self.jobs[change.id].lease != lease:
                raise Violation(
                    "I2", f"{change.id} took a write under {lease[:4]} while it was {_of(self.jobs[change.id])}"
                )

    def _inserted(self, call: Call, answer: list[Job[Any]]) -> None:
        for new, job in zip(call.args[0], answer, strict=True):
            asked = new.job
            if job.id != asked.id and (job.owner, job.idempotency_key) != (asked.owner, asked.idempotency_key):
                raise Violation("I7", f"{asked.id} was answered with {job.id}, which has another key")

    def _shown(self, call: Call, answer: list[Job[Any] | None]) -> None:
        owner = call.kwargs["owner"]
        for job in answer:
            if job is not None and owner not in (ANY, job.owner):
                raise Violation("I10", f"{owner} was shown {job.id} of {job.owner}")

    def _read_steps(self, call: Call, answer: list[Step]) -> None:
        book = self._books.get(call.args[0])
        for step in answer:
            if step.status == "completed" and book is not None and book.steps.get(step.key) != step.value:
                raise Violation("I4", f"{call.args[0]}: {step.key} is read as {step.value}")


ANSWERS: Mapping[str, Callable[[Checker, Call, Any], None]] = {
    "claim": Checker._claimed,
    "renew": Checker._renewed,
    "apply": Checker._applied,
    "insert": Checker._inserted,
    "get": Checker._shown,
    "steps": Checker._read_steps,
}


def _of(job: Job[Any]) -> str:
    return f"{job.status} of {job.lease[:4]}" if job.lease else str(job.status)


def _taken(book: Book) -> list[str | None]:
    """What the waits of a job were given, without those that gave up."""
    return [value for key, value in book.steps.items() if key.startswith("/wait_for") and value != TIMED_OUT]
