"""Many jobs at a glance: pages of them, those that a client names, and how many there are."""

from asyncio import gather
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from outlast.job import LIVE, Job, Status
from outlast.verbs import Query
from outlast.web import query
from outlast.web.body import read_text
from outlast.web.call import Call
from outlast.web.problems import require_known, shown, wrong_field
from outlast.web.replies import body_tag, json_reply, matches, to_bytes, urls
from outlast.web.strict_json import read_members

MOST_IDS = 100
"""Jobs that one request may name."""

NEWEST = 5
"""Jobs that a summary shows."""


async def find(call: Call) -> Response:
    """A page of the caller's jobs, newest first unless asked otherwise."""
    page = query.page(call.request.query_params, call.sees)
    found = await _looked_after(call, lambda: call.app.find(page.query))
    jobs, has_more = found[: page.limit], len(found) > page.limit
    cursor = page.cursor_after(jobs[-1].id) if has_more else None
    data = [lite(call, job) for job in jobs]
    headers = {}
    if cursor is not None:
        following = urlencode(dict(call.request.query_params) | {"cursor": cursor})
        headers["Link"] = f'<{call.root or "/"}?{following}>; rel="next"'
    return _unless_known(call, {"data": data, "nextCursor": cursor, "hasMore": has_more}, headers)


async def status(call: Call) -> Response:
    """The short forms of up to 100 jobs by their ids, and the ids of those that are not there."""
    body = read_members(await read_text(call.request, call.app.limits.payload)).values
    ids = _ids(body)
    jobs = await _looked_after(call, lambda: call.app.get_many(ids, owner=call.sees))
    found = {job.id: lite(call, job) for job in jobs}
    return json_reply({"data": found, "missing": [id for id in ids if id not in found]})


async def _looked_after(call: Call, read: Callable[[], Awaitable[list[Job[Any]]]]) -> list[Job[Any]]:
    """The jobs that are read; once more, if one of them was stale and a sweep has seen to it."""
    jobs = await read()
    return await read() if await call.app.look_after(*jobs) else jobs


def _ids(body: Mapping[str, Any]) -> list[str]:
    require_known(body, ("ids",))
    ids = body.get("ids")
    if not isinstance(ids, list) or not 1 <= len(ids) <= MOST_IDS:
        raise wrong_field("/ids", f"a list of 1 to {MOST_IDS} job ids")
    for index, id in enumerate(ids):
        if not isinstance(id, str):
            raise wrong_field(f"/ids/{index}", f"a job id, not {shown(id)}")
    return list(dict.fromkeys(ids))


async def summary(call: Call) -> Response:
    """How many of the caller's jobs are live, what has ended since a time, and the newest: all that a badge shows."""
    since = query.each(since=lambda: query.instant_of(call.request.query_params, "since"))["since"]
    live, ended, newest = await gather(
        _counts(call, Query(owner=call.sees, status=LIVE)),
        _ended_since(call, since),
        call.app.find(Query(owner=call.sees, limit=NEWEST)),
    )
    body = {"active": live.total(), **{status.value: live[status] for status in Status if status in LIVE}, **ended}
    return _unless_known(call, body | {"newest": [lite(call, job) for job in newest]}, {})


async def _ended_since(call: Call, since: float | None) -> dict[str, int]:
    if since is None:
        return {}
    ended = await _counts(call, Query(owner=call.sees, status=ENDED_WELL_OR_NOT, updated_after=since))
    return {"completedSince": ended[Status.COMPLETED], "failedSince": ended[Status.FAILED]}


ENDED_WELL_OR_NOT = frozenset({Status.COMPLETED, Status.FAILED})


async def _counts(call: Call, wanted: Query) -> Counter[Status]:
    counts: Counter[Status] = Counter()
    for (_, status), count in (await call.app.count(wanted)).items():
        counts[status] += count
    return counts


def lite(call: Call, job: Job[Any]) -> dict[str, Any]:
    """The short form of a job, with its address."""
    return job.wire_lite() | {"urls": {"self": urls(call, job.id)["self"]}}


def _unless_known(call: Call, value: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    """The value, or 304 if the caller has this very one."""
    body = to_bytes(value)
    headers = {"ETag": body_tag(body), "Cache-Control": "private, no-cache"} | dict(headers)
    if matches(call.request.headers.get("if-none-match"), headers["ETag"]):
        return Response(None, 304, headers)
    return Response(body, 200, headers, media_type="application/json")
