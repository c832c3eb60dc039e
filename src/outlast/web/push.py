"""What a push calls. Nobody is let in by name here: the push itself says whether a call is its own.

Every call that is verified is answered with 200, whatever becomes of the job: else the service would call again.
"""

from starlette.responses import Response

from outlast.answering import give_up, run_named
from outlast.push import Incoming, Named, Place, Publishes, Push, Unverified
from outlast.push.deadline import granted
from outlast.web.body import read_raw
from outlast.web.call import Call
from outlast.web.problems import Problem
from outlast.web.replies import json_reply
from outlast.web.surface import Route

LARGEST = 256 << 10
"""Bytes of a call's body."""

STARTED = 5.0
"""Seconds of its time that a call may have taken to come here, in a process that had to start for it."""


async def run_slice(call: Call) -> Response:
    """Run a slice of the job that is named. `ran` is false where there was none to run."""
    push = _push(call)
    named = await _received(call, push, "run")
    return json_reply({"ran": await run_named(call.app, named, _budget(call, push))})


async def sweep(call: Call) -> Response:
    """Do what is due, and run jobs while there is time; any number of these may be under way at once."""
    push = _push(call)
    await _received(call, push, "sweep")
    return json_reply({"ran": await call.app.run_due(budget=_budget(call, push))})


async def sweep_by_get(call: Call) -> Response:
    """The same, for a clock that knows no other method."""
    return await sweep(call)


async def dead_letter(call: Call) -> Response:
    """The service has given up a call."""
    named = await _received(call, _push(call), "dead")
    return json_reply({"failed": await give_up(call.app, named)})


def _push(call: Call) -> Push:
    push = call.app.push
    assert push is not None, "there are such routes where a push is set"
    return push


async def _received(call: Call, push: Push, place: Place) -> Named | None:
    incoming = Incoming(place, dict(call.request.headers), await read_raw(call.request, LARGEST))
    try:
        return push.received(incoming)
    except Unverified as error:
        why = f"{error}: {error.hint}" if error.hint else str(error)
        call.app.observe("push.refused", place=place, why=why)
        raise Problem("unauthenticated", f"this call is not verified: {error}") from None


def _budget(call: Call, push: Push) -> float:
    """Seconds that this call may take; the log says once if they are fewer than the push was promised."""
    budget, observe = granted(push, call.request.scope), call.app.observe
    if budget + STARTED < push.budget and not observe.counts["push.shortened"]:
        observe("push.shortened", granted=round(budget), budget=round(push.budget))
    return budget


SWEEPS = (Route("GET", "/sweep", sweep_by_get, None), Route("POST", "/sweep", sweep, None))


def push_routes(push: Push | None, prefix: str = "") -> tuple[Route, ...]:
    """What a push calls, below `/push`; the prefix is put before each path. None: there is none."""
    if push is None:
        return ()
    calls = (Route("POST", f"/{push.name}", run_slice, None), Route("POST", "/dead", dead_letter, None))
    found = (*calls, *SWEEPS) if isinstance(push, Publishes) else SWEEPS
    return tuple(route._replace(path=prefix + route.path) for route in found)
