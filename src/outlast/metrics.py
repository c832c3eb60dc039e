"""What a process counts: jobs that ended, attempts that failed, times; and how all processes' counts become one page.

Each process counts for itself, in memory. Now and then it writes its totals down as a record of the store, so that
whoever is asked can show those of all. A process's totals only grow; they stay for a while after it is gone, so that
its last ones are seen too.

The page is Prometheus' text form: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from secrets import token_hex
from typing import Any, Literal, NamedTuple, Self

from outlast.job import Change, Job, Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]


class Family(NamedTuple):
    """One metric: its form, what it says, and the names of its labels. `bounds` are those of a histogram's buckets."""

    form: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()


FAMILIES: Mapping[str, Family] = {
    # what the store holds
    "outlast_jobs": Family("gauge", "Jobs in the store.", ("type", "status")),
    "outlast_oldest_ready_seconds": Family("gauge", "For how long the oldest ready job has waited for a worker."),
    "outlast_oldest_due_seconds": Family("gauge", "For how long the clock should have moved the oldest due live job."),
    # the workers that live
    "outlast_worker_slots": Family("gauge", "Jobs that a worker runs at once.", ("worker", "host")),
    "outlast_worker_slots_in_use": Family("gauge", "Jobs that a worker runs now.", ("worker", "host")),
    "outlast_worker_resident_bytes": Family("gauge", "Memory of a worker's process.", ("worker", "host")),
    # what each process has counted since it began
    "outlast_jobs_submitted_total": Family("counter", "Submits that were accepted, repeated ones too.", ("process",)),
    "outlast_jobs_ended_total": Family("counter", "Jobs brought to an end.", ("process", "type", "status")),
    "outlast_jobs_removed_total": Family("counter", "Ended jobs removed when their time was over.", ("process",)),
    "outlast_attempts_failed_total": Family("counter", "Attempts that failed.", ("process", "type", "code")),
    "outlast_leases_lost_total": Family("counter", "Attempts that lost their lease while they ran.", ("process",)),
    "outlast_leases_taken_over_total": Family("counter", "Leases taken from workers that gave no sign.", ("process",)),
    "outlast_workers_died_total": Family("counter", "Workers of the same host found dead.", ("process",)),
    "outlast_wait_seconds": Family(
        "histogram",
        "From a job's being ready to its being claimed, for each claim.",
        ("process", "type"),
        (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0),
    ),
    "outlast_run_seconds": Family(
        "histogram",
        "From a job's being claimed to the end of the slice.",
        ("process", "type"),
        (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0),
    ),
    "outlast_event_lag_seconds": Family(
        "histogram",
        "From an event's own time to its reaching a reader that was waiting for it.",
        ("process",),
        (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    ),
}

HAPPENINGS: Mapping[str, str] = {
    "job.submitted": "outlast_jobs_submitted_total",
    "lease.lost": "outlast_leases_lost_total",
    "lease.taken_over": "outlast_leases_taken_over_total",
    "worker.died": "outlast_workers_died_total",
}
"""Counters that are the number of a happening."""


@dataclass(slots=True)
class Histogram:
    """How many values fell between each two bounds, the last beyond them all; and their sum."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        # A clock that was set back must not make the sum smaller.
        if value > 0:
            self.total += value


Key = tuple[str, ...]
"""The name of a metric and the values of its labels, the process apart."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What one process has counted so far."""

    process: str
    counters: Mapping[Key, int]
    histograms: Mapping[Key, Histogram]

    def value(self) -> dict[str, Any]:
        return {
            "process": self.process,
            "counters": [[*key, count] for key, count in self.counters.items()],
            "histograms": [[*key, one.counts, one.total] for key, one in self.histograms.items()],
        }

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Self:
        """Read back what a process wrote; of another version of Outlast only what this one knows."""
        counters = {tuple(key): count for *key, count in value["counters"] if _is_known(key)}
        histograms = {
            tuple(key): Histogram(FAMILIES[key[0]].bounds, counts, total)
            for *key, counts, total in value["histograms"]
            if _is_known(key) and len(counts) == len(FAMILIES[key[0]].bounds) + 1
        }
        return cls(value["process"], counters, histograms)


def _is_known(key: Sequence[str]) -> bool:
    return key[0] in FAMILIES and len(FAMILIES[key[0]].labels) == len(key)


class Meter:
    """Counts for one process. Every method is cheap enough for the way of a job that does nothing."""

    def __init__(self) -> None:
        self.id = token_hex(2)
        """Tells this process from another that had its number before, and this app from another in the process."""
        self._counters: Counter[Key] = Counter()
        self._histograms: dict[Key, Histogram] = {}
        self._of_type: dict[str, tuple[Histogram, Histogram]] = {}
        self._lag: Histogram | None = None

    @property
    def ended(self) -> int:
        """Jobs that this process brought to an end."""
        return sum(count for key, count in self._counters.items() if key[0] == "outlast_jobs_ended_total")

    def moved(self, job: Job[Any], change: Change) -> None:
        """This process made the move; `job` is as it was before."""
        changed = change.set
        if "completed_at" in changed:
            self._counters["outlast_jobs_ended_total", job.type, changed["status"]] += 1
        error = changed.get("last_error")
        if error is not None and job.status is Status.PROCESSING:
            self._counters["outlast_attempts_failed_total", job.type, error.code] += 1

    def ran(self, job: Job[Any], change: Change | None, now: float) -> None:
        """A slice of the job, as it was claimed, is over; the move it led to, if it led to one."""
        wait, run = self._of_type.get(job.type) or self._begin(job.type)
        claimed_at = now if job.claimed_at is None else job.claimed_at
        wait.add(claimed_at - job.queued_at)
        run.add(now - claimed_at)
        if change is not None:
            self.moved(job, change)

    def heard(self, lag: float) -> None:
        """A reader got an event so many seconds after the event's own time."""
        self._lag = self._lag or self._histogram("outlast_event_lag_seconds")
        self._lag.add(lag)

    def removed(self, count: int) -> None:
        """So many ended jobs went."""
        self._counters["outlast_jobs_removed_total",] += count

    def _begin(self, type: str) -> tuple[Histogram, Histogram]:
        wait, run = self._histogram("outlast_wait_seconds", type), self._histogram("outlast_run_seconds", type)
        self._of_type[type] = wait, run
        return wait, run

    def _histogram(self, name: str, *labels: str) -> Histogram:
        bounds = FAMILIES[name].bounds
        self._histograms[name, *labels] = made = Histogram(bounds, [0] * (len(bounds) + 1))
        return made

    def totals(self, process: str, happenings: Mapping[str, int]) -> Totals:
        """All so far, with what was counted by happening."""
        counters: dict[Key, int] = {("outlast_jobs_removed_total",): 0}
        counters |= {(name,): happenings.get(happening, 0) for happening, name in HAPPENINGS.items()}
        return Totals(process, counters | self._counters, dict(self._histograms))


# -- the page -------------------------------------------------------------------------------------------------------

Sample = tuple[str, Labels, float | Histogram]
"""The name of a metric, the values of all its labels, and its value."""


def samples(totals: Iterable[Totals]) -> Iterator[Sample]:
    """What processes have counted."""
    for one in totals:
        values: Mapping[Key, float | Histogram] = {**one.counters, **one.histograms}
        for (name, *labels), value in values.items():
            yield name, (one.process, *labels), value


def page(found: Iterable[Sample]) -> str:
    """The samples as Prometheus' text, in the order of FAMILIES."""
    by_name: dict[str, list[Sample]] = {name: [] for name in FAMILIES}
    for sample in found:
        by_name[sample[0]].append(sample)
    return "".join(f"{line}\n" for name, its in by_name.items() if its for line in _lines(name, its))


def _lines(name: str, its: Iterable[Sample]) -> Iterator[str]:
    family = FAMILIES[name]
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} {family.form}"
    for _, values, value in its:
        labels = dict(zip(family.labels, values, strict=True))
        if isinstance(value, Histogram):
            yield from _buckets(name, family, labels, value)
        else:
            yield _line(name, labels, value)


def _buckets(name: str, family: Family, labels: Mapping[str, str], value: Histogram) -> Iterator[str]:
    cumulated = list(accumulate(value.counts))
    bounds = [*(_number(bound) for bound in family.bounds), "+Inf"]
    for bound, count in zip(bounds, cumulated, strict=True):
        yield _line(f"{name}_bucket", {**labels, "le": bound}, count)
    yield _line(f"{name}_sum", labels, value.total)
    yield _line(f"{name}_count", labels, cumulated[-1])


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{shown}}} {_number(value)}" if shown else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(value)
