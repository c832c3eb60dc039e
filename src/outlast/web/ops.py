"""What a client of the WebSocket asks for: a JSON object to a frame, named by its `op`, read as strictly as a body."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from outlast.web.jobs import reason
from outlast.web.problems import shown, wrong_field
from outlast.web.strict_json import read_members

MOST_JOBS = 100
"""Jobs that one connection follows at once."""

MINE = "mine"
"""The scope that stands for all jobs of the caller."""

LONGEST_TOKEN = 8192
LONGEST_ID = 128
LAST_NUMBER = 2**53 - 1


class Op(NamedTuple):
    """One thing asked for; fields that its `name` does not have are empty."""

    name: str
    token: str = ""
    jobs: Mapping[str, int | None] = {}
    mine: bool = False
    after: int | None = None
    reason: str | None = None


def read(text: str) -> Op:
    """The op a frame asks for. Raises Refused for what is no JSON object, Problem for what is no op."""
    values = dict(read_members(text).values)
    name = values.pop("op", None)
    reader = READERS.get(name) if isinstance(name, str) else None
    if reader is None:
        raise wrong_field("/op", f"one of {', '.join(READERS)}, not {shown(name)}")
    known, read_fields = reader
    for field in values:
        if field not in known:
            detail = f"{name} has no such field; it takes {', '.join(known) or 'none'}"
            raise wrong_field(f"/{shown(field)[1:-1]}", detail, code="unknown_field")
    return read_fields(name, values)


def _plain(name: str, values: Mapping[str, Any]) -> Op:
    return Op(name)


def _with_token(name: str, values: Mapping[str, Any]) -> Op:
    return Op(name, token=_text(values, "token", LONGEST_TOKEN))


def _cancel(name: str, values: Mapping[str, Any]) -> Op:
    return Op(name, jobs={_text(values, "id", LONGEST_ID): None}, reason=reason(values))


def _subscribe(name: str, values: Mapping[str, Any]) -> Op:
    jobs = dict(_followed(index, one) for index, one in enumerate(_list(values, "jobs")))
    mine = _mine(values, jobs)
    if "after" in values and not mine:
        raise wrong_field("/after", f"this is for the scope {MINE}; the cursor of a job stands beside its id")
    return Op(name, jobs=jobs, mine=mine, after=_cursor(values, "/after"))


def _unsubscribe(name: str, values: Mapping[str, Any]) -> Op:
    jobs = {
        _text({"id": id}, "id", LONGEST_ID, f"/jobs/{index}"): None for index, id in enumerate(_list(values, "jobs"))
    }
    return Op(name, jobs=jobs, mine=_mine(values, jobs))


READERS: Mapping[str, tuple[tuple[str, ...], Callable[[str, Mapping[str, Any]], Op]]] = {
    "auth": (("token",), _with_token),
    "refresh": (("token",), _with_token),
    "subscribe": (("jobs", "scope", "after"), _subscribe),
    "unsubscribe": (("jobs", "scope"), _unsubscribe),
    "cancel": (("id", "reason"), _cancel),
    "ping": ((), _plain),
}


# -- fields ---------------------------------------------------------------------------------------------------------


def _text(values: Mapping[str, Any], name: str, most: int, pointer: str = "") -> str:
    value = values.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise wrong_field(pointer or f"/{name}", f"text of 1 to {most} characters")
    return value


def _list(values: Mapping[str, Any], name: str) -> list[Any]:
    value = values.get(name, [])
    if not isinstance(value, list) or len(value) > MOST_JOBS:
        raise wrong_field(f"/{name}", f"a list of at most {MOST_JOBS}")
    return value


def _followed(index: int, value: Any) -> tuple[str, int | None]:
    pointer = f"/jobs/{index}"
    if not isinstance(value, dict) or not value.keys() <= {"id", "after"}:
        raise wrong_field(pointer, "an object of id and, if there is a cursor, after")
    return _text(value, "id", LONGEST_ID, f"{pointer}/id"), _cursor(value, f"{pointer}/after")


def _cursor(values: Mapping[str, Any], pointer: str) -> int | None:
    after: Any = values.get("after")
    if after is None:
        return None
    if isinstance(after, bool) or not isinstance(after, int) or not 0 <= after <= LAST_NUMBER:
        raise wrong_field(pointer, f"a whole number from 0 on, not {shown(after)}")
    return after


def _mine(values: Mapping[str, Any], jobs: Mapping[str, Any]) -> bool:
    scope = values.get("scope")
    if scope not in (None, MINE):
        raise wrong_field("/scope", f"{MINE}, not {shown(scope)}")
    if scope is None and not jobs:
        raise wrong_field("/jobs", f"the jobs, or the scope {MINE}, or both")
    return scope is not None
