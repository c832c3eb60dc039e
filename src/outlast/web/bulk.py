"""One action on many jobs, for operators: counted first, then done in parts, each a request of bounded work."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from outlast.bulk import FITS, PART, Action, fitting
from outlast.job import Status
from outlast.notation import canonical
from outlast.verbs import ANY, Owner, Query
from outlast.web.body import read_text
from outlast.web.call import Call
from outlast.web.jobs import from_start, reason
from outlast.web.problems import require_known, shown, wrong_field
from outlast.web.query import each, opened, written
from outlast.web.replies import json_reply
from outlast.web.strict_json import read_members

Fields = Mapping[str, Any]

FIELDS = ("action", "filter", "all", "dryRun", "cursor", "reason", "from")
FILTERS = ("status", "type", "owner", "tag", "olderMs")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be done, to which jobs; `seal` binds a cursor to both."""

    action: Action
    query: Query
    dry_run: bool
    how: Mapping[str, Any]
    seal: str


async def bulk(call: Call) -> Response:
    """Cancel, retry or delete what a filter finds, a part to a request; with `dryRun`, count it."""
    fields = read_members(await read_text(call.request, call.app.limits.payload)).values
    asked = _asked(fields, await call.app.now())
    head = {"action": asked.action, "dryRun": asked.dry_run}
    if asked.dry_run:
        return json_reply(head | _counted(await call.app.count(asked.query)))
    if asked.action == "retry":
        # What an operator does counts to no owner's caps; how many may wait altogether holds for it, too.
        await call.shared.backlog.require_room(call.app, None, 1)
    part = await call.app.bulk(asked.action, asked.query, everything=True, by=call.principal.owner, **asked.how)
    cursor = None if part.before is None else written(part.before, asked.seal)
    return json_reply(head | {"done": part.done, "skipped": part.skipped, "nextCursor": cursor})


def _counted(found: Mapping[tuple[str, Status], int]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for (_, status), count in found.items():
        counts[status.value] += count
    return {"matched": counts.total(), "byStatus": {name: count for name, count in counts.items() if count}}


# -- the body -------------------------------------------------------------------------------------------------------


def _asked(fields: Fields, now: float) -> Asked:
    """What the body asks for. Raises one Problem for all fields that are wrong."""
    seal = canonical([fields.get("action"), fields.get("filter", {})])
    read = each(
        known=lambda: require_known(fields, FIELDS),
        action=lambda: _action(fields),
        query=lambda: _query(fields.get("filter", {}), now),
        everything=lambda: _flag(fields, "all"),
        dry_run=lambda: _flag(fields, "dryRun"),
        before=lambda: _before(fields, seal),
        reason=lambda: reason(fields),
        from_start=lambda: from_start(fields),
    )
    action: Action = read["action"]
    query = replace(fitting(action, read["query"], everything=read["everything"]), before=read["before"])
    how = {"cancel": {"reason": read["reason"]}, "retry": {"from_start": read["from_start"]}}.get(action, {})
    return Asked(action, query, read["dry_run"], how, seal)


def _action(fields: Fields) -> Action:
    value = fields.get("action")
    for action in FITS:
        if value == action:
            return action
    raise wrong_field("/action", f"one of {', '.join(FITS)}, not {shown(value)}")


def _flag(fields: Fields, name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise wrong_field(f"/{name}", f"true or false, not {shown(value)}")
    return value


def _before(fields: Fields, seal: str) -> str | None:
    cursor = fields.get("cursor")
    job_id = opened(cursor, seal) if isinstance(cursor, str) else None
    if cursor is not None and job_id is None:
        detail = "take the cursor as it came in nextCursor, with the same action and filter, or leave it out"
        raise wrong_field("/cursor", detail, code="bad_cursor")
    return job_id


def _query(given: Any, now: float) -> Query:
    if not isinstance(given, dict):
        raise wrong_field("/filter", f"an object, not {shown(given)}")
    read = each(
        known=lambda: require_known(given, FILTERS, "/filter"),
        status=lambda: _statuses(given),
        type=lambda: _text(given, "type"),
        owner=lambda: _owner(given),
        tag=lambda: _text(given, "tag"),
        created_before=lambda: _older(given, now),
    )
    del read["known"]
    return Query(**read, limit=PART)


def _statuses(given: Fields) -> frozenset[Status] | None:
    if "status" not in given:
        return None
    value = given["status"]
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(word in tuple(Status) for word in words):
        raise wrong_field("/filter/status", f"a status or a list of them, out of {', '.join(Status)}")
    return frozenset(Status(word) for word in words)


def _text(given: Fields, name: str) -> str | None:
    if name not in given:
        return None
    value = given[name]
    if not isinstance(value, str) or not value:
        raise wrong_field(f"/filter/{name}", f"text, not {shown(value)}")
    return value


def _owner(given: Fields) -> Owner:
    """Any, if it is left out; null is for the jobs of nobody."""
    if "owner" not in given:
        return ANY
    return None if given["owner"] is None else _text(given, "owner")


def _older(given: Fields, now: float) -> float | None:
    if "olderMs" not in given:
        return None
    value = given["olderMs"]
    if type(value) is not int or value < 0:
        raise wrong_field("/filter/olderMs", f"a whole number of milliseconds, 0 or more, not {shown(value)}")
    return now - value / 1000
