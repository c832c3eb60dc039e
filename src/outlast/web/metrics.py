"""`/metrics`: the numbers of all processes on the store, for Prometheus."""

from collections.abc import Iterator, Mapping, Sequence

from starlette.responses import Response

from outlast.job import Status
from outlast.metrics import CONTENT_TYPE, Sample, page, samples
from outlast.presence import WorkerInfo
from outlast.web.call import Call
from outlast.web.health import NO_STORE, oldest_ready


async def metrics(call: Call) -> Response:
    """Counts and times of all processes on the store, in Prometheus' text form."""
    totals, workers = await call.app.totals(), await call.app.workers()
    found = [*await _of_the_store(call), *_of_workers(workers), *samples(totals)]
    return Response(page(found), 200, NO_STORE, media_type=CONTENT_TYPE)


async def _of_the_store(call: Call) -> list[Sample]:
    oldest = await oldest_ready(call)
    ready = 0.0 if oldest is None else max(await call.app.now() - oldest.queued_at, 0.0)
    return [
        *_jobs(await call.app.count(), call.app.handlers),
        ("outlast_oldest_ready_seconds", (), ready),
        ("outlast_oldest_due_seconds", (), await call.app.overdue()),
    ]


def _jobs(counts: Mapping[tuple[str, Status], int], handlers: Mapping[str, object]) -> Iterator[Sample]:
    """Every status of every type, for what is not there cannot be told from what is nought."""
    for type in sorted({type for type, _ in counts} | handlers.keys()):
        for status in Status:
            yield "outlast_jobs", (type, status.value), counts.get((type, status), 0)


def _of_workers(workers: Sequence[WorkerInfo]) -> Iterator[Sample]:
    for worker in workers:
        labels = (worker.id, worker.host)
        yield "outlast_worker_slots", labels, worker.slots
        yield "outlast_worker_slots_in_use", labels, worker.running
        if worker.memory is not None:
            yield "outlast_worker_resident_bytes", labels, worker.memory
