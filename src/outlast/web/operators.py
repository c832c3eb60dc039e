"""For whoever operates: the numbers of all owners, and the workers that are alive, as JSON."""

from typing import Any

from starlette.responses import Response

from outlast.job import Status
from outlast.notation import rfc3339
from outlast.presence import WorkerInfo
from outlast.web.call import Call
from outlast.web.health import NO_STORE, oldest_ready
from outlast.web.replies import json_reply


async def stats(call: Call) -> Response:
    """How many jobs of each type there are in each status, and how long the oldest has been ready and overdue."""
    counts, oldest = await call.app.count(), await oldest_ready(call)
    types = sorted({type for type, _ in counts} | call.app.handlers.keys())
    by_type = {type: {status.value: counts.get((type, status), 0) for status in Status} for type in types}
    total = {status.value: sum(each[status.value] for each in by_type.values()) for status in Status}
    ready = 0.0 if oldest is None else max(await call.app.now() - oldest.queued_at, 0.0)
    ages = {"oldestReadyMs": round(ready * 1000), "oldestDueMs": round(await call.app.overdue() * 1000)}
    return json_reply({"total": total, "byType": by_type} | ages, headers=NO_STORE)


async def workers(call: Call) -> Response:
    """The workers that gave a sign of life within the last minute, by the time they began."""
    alive = sorted(await call.app.workers(), key=lambda worker: worker.started_at)
    return json_reply({"data": [_wire(worker) for worker in alive]}, headers=NO_STORE)


def _wire(worker: WorkerInfo) -> dict[str, Any]:
    return {
        "id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "types": list(worker.types),
        "slots": worker.slots,
        "running": worker.running,
        "jobsEnded": worker.ended,
        "memoryBytes": worker.memory,
        "startedAt": rfc3339(worker.started_at),
        "seenAt": rfc3339(worker.seen_at),
    }
