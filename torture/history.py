"""What must hold of every job, whatever died: read off the job, its log and its steps as a store answers them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from outlast.job import Event, Job, Step


def flaws(job: Job[Any], log: Sequence[Event], steps: Sequence[Step] = ()) -> list[str]:
    """What is wrong with a job's history; a sentence for each."""
    return [*_numbers(job, log), *_attempts(job, log), *_records(log, steps)]


def _numbers(job: Job[Any], log: Sequence[Event]) -> Iterator[str]:
    if [event.seq for event in log] != list(range(1, job.seq + 1)):
        yield f"its events are numbered {[event.seq for event in log]}, and it counts {job.seq}"
    ends = [event.seq for event in log if event.is_end]
    if ends != ([job.seq] if job.ended else []):
        yield f"it is {job.status} with ends at {ends} of {job.seq}"
    if job.ended and log and log[-1].type != f"job.{job.status}":
        yield f"it is {job.status} and its log ends with {log[-1].type}"
    if (job.status == "completed") != (job.result_json is not None):
        yield f"it is {job.status} with the result {job.result_json}"


def _attempts(job: Job[Any], log: Sequence[Event]) -> Iterator[str]:
    attempts = [event.attempt for event in log]
    if attempts != sorted(attempts):
        yield f"an earlier attempt wrote after a later one began: {attempts}"
    begun = [event.attempt for event in log if event.type == "job.started"]
    if any(later not in (earlier, earlier + 1) for earlier, later in zip([0, *begun], begun, strict=False)):
        yield f"its attempts began as {begun}"
    if begun and begun[-1] != job.attempt:
        yield f"attempt {begun[-1]} was the last to begin, and it counts {job.attempt}"
    if job.attempt > job.max_retries + 1:
        yield f"attempt {job.attempt} of {job.max_retries + 1}"
    asked = next((event.seq for event in log if event.type == "job.cancel_requested"), None)
    if asked is not None and any(event.type == "job.started" for event in log[asked:]):
        yield "an attempt began after its cancel was acknowledged"


def _records(log: Sequence[Event], steps: Sequence[Step]) -> Iterator[str]:
    recorded = Counter(
        event.data["index"] for event in log if event.type == "job.step" and event.data["status"] == "completed"
    )
    twice = [index for index, times in recorded.items() if times > 1]
    if twice:
        yield f"the steps {twice} were recorded more than once"
    kept = {step.index for step in steps if step.status == "completed"}
    if kept != recorded.keys():
        yield f"the steps {sorted(kept)} are kept, and its log tells of {sorted(recorded)}"
