"""Whether the service lives (`/healthz`) and whether jobs get done (`/readyz`)."""

from collections import Counter
from typing import Any

from starlette.responses import Response

from outlast.errors import StoreError
from outlast.job import Job, Status
from outlast.presence import WorkerInfo
from outlast.verbs import Query
from outlast.web.call import Call
from outlast.web.replies import json_reply

PATIENCE = 60.0
"""Seconds a job may be claimable before it is asked why nobody claims it."""

NO_STORE = {"Cache-Control": "no-store"}


async def healthz(call: Call) -> Response:
    """The process answers; nothing else is looked at."""
    return json_reply({"status": "ok"}, headers=NO_STORE)


async def readyz(call: Call) -> Response:
    """503 with reasons if the store does not answer, if jobs lie about that no worker takes, or if it is going down."""
    try:
        workers, oldest = await call.app.workers(), await oldest_ready(call)
        age = 0.0 if oldest is None else max(await call.app.now() - oldest.queued_at, 0.0)
    except StoreError as error:
        return _answer([{"code": error.code, "detail": "the store does not answer"}])
    facts = {"workers": _slots_by_type(workers), "oldestReadyMs": round(age * 1000)}
    reasons = _why_unclaimed(oldest, age, workers)
    if call.app.stopping:
        reasons.append({"code": "stopping", "detail": "this process is going down"})
    return _answer(reasons, **facts)


async def oldest_ready(call: Call) -> Job[Any] | None:
    """The oldest job that a worker could take now, among the oldest of those queued."""
    query = Query(status=frozenset({Status.QUEUED, Status.RETRYING}), oldest_first=True, limit=50)
    return min((job for job in await call.app.find(query) if job.tag is not None), key=_since, default=None)


def _since(job: Job[Any]) -> float:
    return job.queued_at


def _why_unclaimed(oldest: Job[Any] | None, age: float, workers: list[WorkerInfo]) -> list[dict[str, str]]:
    """Busy workers are no reason: the job's turn will come."""
    if oldest is None or age < PATIENCE:
        return []
    able = [worker for worker in workers if oldest.type in worker.types]
    if not able:
        return [{"code": "no_worker", "detail": f"no worker is alive for {oldest.type}"}]
    if any(worker.running < worker.slots for worker in able):
        return [{"code": "not_claiming", "detail": f"workers for {oldest.type} have free slots and claim nothing"}]
    return []


def _slots_by_type(workers: list[WorkerInfo]) -> dict[str, int]:
    slots: Counter[str] = Counter()
    for worker in workers:
        for type in worker.types:
            slots[type] += worker.slots
    return dict(slots)


def _answer(reasons: list[dict[str, str]], **facts: Any) -> Response:
    status = "unavailable" if reasons else "ready"
    return json_reply({"status": status, "reasons": reasons} | facts, 503 if reasons else 200, NO_STORE)
