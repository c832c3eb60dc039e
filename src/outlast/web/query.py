"""What the address asks for beside the path: numbers, times, filters and cursors, each read strictly."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from outlast.job import Status
from outlast.verbs import Owner, Query
from outlast.web.problems import Problem, shown, wrong_field, wrong_fields

JOBS_PAGE, MAX_JOBS_PAGE = 50, 200
EVENTS_PAGE, MAX_EVENTS_PAGE = 500, 1_000
MAX_WAIT = 60

Params = Mapping[str, str]

DIGITS = 15
LAST = 10**DIGITS - 1
NUMBER = re.compile(rf"[0-9]{{1,{DIGITS}}}")
SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")
VERSION = re.compile(rf'"?v?({NUMBER.pattern})"?')
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def each(**readers: Callable[[], Any]) -> dict[str, Any]:
    """What every reader reads. Raises one Problem for all that are wrong."""
    read: dict[str, Any] = {}
    wrong: list[Problem] = []
    for name, reader in readers.items():
        try:
            read[name] = reader()
        except Problem as problem:
            wrong.append(problem)
    if wrong:
        raise wrong_fields([(problem.code, error) for problem in wrong for error in problem.errors])
    return read


def whole(params: Params, name: str, default: int, low: int, high: int | None = None) -> int:
    """A whole number within bounds."""
    text = params.get(name)
    if text is None:
        return default
    if not NUMBER.fullmatch(text) or int(text) < low or (high is not None and int(text) > high):
        bounds = f"from {low} on" if high is None else f"from {low} to {high}"
        raise wrong_field(f"/{name}", f"a whole number {bounds}, not {shown(text)}", place="query")
    return int(text)


def wait(params: Params, cap: float) -> float | None:
    """How many seconds the caller is ready to wait, cut at the server's own cap; None if it did not say."""
    text = params.get("wait")
    if text is None:
        return None
    if not SECONDS.fullmatch(text) or float(text) > MAX_WAIT:
        raise wrong_field("/wait", f"seconds from 0 to {MAX_WAIT}, not {shown(text)}", place="query")
    return min(float(text), cap)


def since(params: Params) -> int | None:
    """The version the caller has: `v12`, or the ETag as it came."""
    text = params.get("since")
    if text is None:
        return None
    found = VERSION.fullmatch(text)
    if found is None:
        raise wrong_field("/since", f"a version such as v12, not {shown(text)}", place="query")
    return int(found[1])


def cursor(text: str | None) -> int | None:
    """The number of an event; None if the text is none."""
    return int(text) if text is not None and NUMBER.fullmatch(text) else None


def sought(text: str) -> str:
    """A client's word as any store may be asked for it. NUL is in nothing there is, and PostgreSQL refuses it."""
    return text.replace("\0", "\ufffd")


def flag(params: Params, name: str) -> bool:
    """True or false."""
    text = params.get(name, "false")
    if text not in ("true", "false", "1", "0"):
        raise wrong_field(f"/{name}", f"true or false, not {shown(text)}", place="query")
    return text in ("true", "1")


def words(params: Params, name: str, known: tuple[str, ...]) -> frozenset[str]:
    """A list of known words, parted by commas; none if it is not there."""
    found = frozenset(params[name].split(",")) if name in params else frozenset()
    unknown = sorted(found - set(known))
    if unknown:
        raise wrong_field(f"/{name}", f"one or more of {', '.join(known)}, not {shown(unknown[0])}", place="query")
    return found


def instant(text: str) -> float:
    """Seconds since 1970 of a time such as 2026-11-22T10:00:00Z. Raises ValueError that says what is wrong."""
    found = RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"a time such as 2026-11-22T10:00:00Z, not {shown(text)}")
    if found[2] is None:
        raise ValueError("the time has no zone; add Z or an offset such as +01:00")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"there is no such time as {shown(text)}") from None


# -- a page of jobs -------------------------------------------------------------------------------------------------


class Page(NamedTuple):
    """Which page of which list is asked for."""

    query: Query
    limit: int
    filters: str

    def cursor_after(self, job_id: str) -> str:
        """The opaque word that continues the list behind this job."""
        return written(job_id, self.filters)


def page(params: Params, owner: Owner) -> Page:
    """The page a list request asks for. One job more than its limit is queried, to know whether more follow."""
    filters = "&".join(f"{name}={params[name]}" for name in FILTERS if name in params)
    read = each(
        status=lambda: _statuses(params),
        created_after=lambda: instant_of(params, "createdAfter"),
        created_before=lambda: instant_of(params, "createdBefore"),
        updated_after=lambda: instant_of(params, "updatedAfter"),
        before=lambda: _before(params, filters),
        oldest_first=lambda: _oldest_first(params),
        limit=lambda: whole(params, "limit", JOBS_PAGE, 1, MAX_JOBS_PAGE) + 1,
    )
    type, tag, batch_id = (sought(params[name]) if name in params else None for name in ("type", "tag", "batchId"))
    query = Query(owner=owner, type=type, tag=tag, batch_id=batch_id, **read)
    return Page(query, query.limit - 1, filters)


FILTERS = ("status", "type", "tag", "batchId", "createdAfter", "createdBefore", "updatedAfter", "order")


def _statuses(params: Params) -> frozenset[Status] | None:
    found = words(params, "status", tuple(Status))
    return frozenset(Status(word) for word in found) or None


def instant_of(params: Params, name: str) -> float | None:
    """The time that a parameter names, in seconds since 1970; None if it is not there."""
    if name not in params:
        return None
    try:
        return instant(params[name])
    except ValueError as error:
        raise wrong_field(f"/{name}", str(error), place="query") from None


def _oldest_first(params: Params) -> bool:
    order = params.get("order", "-createdAt")
    if order not in ("createdAt", "-createdAt"):
        raise wrong_field("/order", f"createdAt or -createdAt, not {shown(order)}", place="query")
    return order == "createdAt"


def _before(params: Params, filters: str) -> str | None:
    cursor = params.get("cursor")
    job_id = None if cursor is None else opened(cursor, filters)
    if cursor is not None and job_id is None:
        detail = "take the cursor as it came in nextCursor, with the same filters and order, or leave it out"
        raise wrong_field("/cursor", detail, code="bad_cursor", place="query")
    return job_id


def opened(cursor: str, filters: str) -> str | None:
    """The job a cursor stands behind; None if it is none that we wrote for these filters."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        job_id = raw[SEAL:].decode("ascii")
    except ValueError:
        return None
    return job_id if job_id.isprintable() and written(job_id, filters) == cursor else None


SEAL = 9


def written(job_id: str, filters: str) -> str:
    """The opaque word that stands behind the job, for these filters."""
    # The seal is no secret: who forges one still sees only what is theirs. It keeps lists from being mixed up.
    seal = hashlib.sha256(f"{filters}\n{job_id}".encode("utf-8", "surrogatepass")).digest()[:SEAL]
    return base64.urlsafe_b64encode(seal + job_id.encode()).decode().rstrip("=")
