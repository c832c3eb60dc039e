"""Batches: jobs that are submitted in one request, and counted, cancelled and read as one.

What is wrong with the form of a single item refuses them all, so that nothing is done by half. What only its submit can
tell (a type that nobody handles, a payload that does not fit, a key that is another request's) is that item's own.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from outlast.errors import OutlastError, StoreRefused, StoreUnavailable
from outlast.handler import Options
from outlast.job import LIVE, Job, Status
from outlast.verbs import Query, new_id
from outlast.web.body import read_text
from outlast.web.call import Call
from outlast.web.jobs import fields_of, largest_body, reason
from outlast.web.problems import Problem, document, problem_of, require_known, wrong_field
from outlast.web.replies import json_reply, to_bytes
from outlast.web.strict_json import Members, elements, read_members
from outlast.web.submit_body import BATCH, MOST_IN_BATCH, Submission, decode_item, read_batch_id

PAGE = 200


async def submit_batch(call: Call) -> Response:
    """Accept up to 100 jobs at once. 202: each that has an id is committed."""
    body = read_members(await read_text(call.request, largest_body(call)))
    items = [decode_item(item, index, call.app.limits) for index, item in enumerate(_items(body))]
    batch = read_batch_id(body.values, call.app.limits) or new_batch(await call.app.now())
    left = await call.submits(len(items))
    answers = await asyncio.gather(*(_submitted(call, batch, *item) for item in items))
    jobs = [{"index": index, **answer} for index, answer in enumerate(answers)]
    return json_reply({"batchId": batch, "jobs": jobs, "urls": urls(call, batch)}, 202, left)


def new_batch(now: float) -> str:
    return new_id(now).replace("job_", "batch_", 1)


def _items(body: Members) -> list[Members]:
    require_known(body.values, ("jobs", BATCH))
    jobs = body.values.get("jobs")
    if not isinstance(jobs, list) or not 1 <= len(jobs) <= MOST_IN_BATCH:
        raise wrong_field("/jobs", f"a list of 1 to {MOST_IN_BATCH} jobs")
    for index, job in enumerate(jobs):
        if not isinstance(job, dict):
            raise wrong_field(f"/jobs/{index}", "an object with the fields of a submit")
    return [read_members(source) for source in elements(body.sources["jobs"])]


async def _submitted(call: Call, batch: str, asked: Submission, key: str | None) -> dict[str, Any]:
    options: Options = {**asked.options, "batch": batch, "owner": call.principal.owner, "idempotency_key": key}
    try:
        job, fresh = await call.app.submit_json(asked.type, asked.payload_json, **options)
    except (StoreUnavailable, StoreRefused):
        raise
    except OutlastError as error:
        problem = problem_of(error)
        if problem is None:
            raise
        return {"problem": document(problem)}
    return {"id": job.id} if fresh else {"id": job.id, "replayed": True}


# -- one batch ------------------------------------------------------------------------------------------------------


async def show_batch(call: Call) -> Response:
    """How many jobs of a batch there are of each status."""
    return json_reply(await _counted(call))


async def cancel_batch(call: Call) -> Response:
    """Cancel what is live of a batch. 202 while workers have yet to notice."""
    why = reason(await fields_of(call, "reason"))
    await _counted(call)
    query = Query(owner=call.sees, batch_id=call.id)
    while True:
        part = await call.app.bulk("cancel", query, by=call.principal.owner, reason=why)
        if part.before is None:
            break
        query = Query(owner=call.sees, batch_id=call.id, before=part.before)
    counted = await _counted(call)
    return json_reply(counted, 202 if counted["status"] == "live" else 200)


async def batch_results(call: Call) -> Response:
    """A line of JSON for each ended job of a batch, in no order to rely on: its result, or why there is none."""
    await _counted(call)
    headers = {"Cache-Control": "private, no-cache"}
    return StreamingResponse(_lines(call), 200, headers, media_type="application/jsonl")


async def _counted(call: Call) -> dict[str, Any]:
    counts: Counter[Status] = Counter()
    for (_, status), count in (await call.app.count(Query(owner=call.sees, batch_id=call.id))).items():
        counts[status] += count
    if not counts.total():
        raise Problem("batch_not_found", "there is no such batch, or it is not yours, or it has been removed")
    live = any(counts[status] for status in LIVE)
    each = {status.value: counts[status] for status in Status}
    head = {"batchId": call.id, "status": "live" if live else "ended", "total": counts.total()}
    return head | each | {"urls": urls(call, call.id)}


async def _lines(call: Call) -> AsyncGenerator[bytes, None]:
    before = None
    while True:
        page = Query(owner=call.sees, batch_id=call.id, oldest_first=True, limit=PAGE, before=before)
        found = await call.app.find(page)
        for job in await call.app.get_many([job.id for job in found if job.ended], owner=call.sees):
            yield to_bytes(_line(job)) + b"\n"
        if len(found) < PAGE:
            return
        before = found[-1].id


def _line(job: Job[Any]) -> Mapping[str, Any]:
    shown = job.wire(steps=[])
    return {name: shown[name] for name in ("id", "externalId", "status", "result", "lastError")}


def urls(call: Call, batch: str) -> dict[str, str]:
    own = f"{call.root}/batches/{quote(batch, safe='')}"
    return {"self": own, "cancel": f"{own}/cancel", "results": f"{own}/results"}
