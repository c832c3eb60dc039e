"""What a push calls. Nobody is let in by name here: the push itself says whether a call is its own."""

from starlette.responses import Response

from outlast.push import Incoming, Push, Unverified
from outlast.web.body import read_bytes
from outlast.web.call import Call
from outlast.web.problems import Problem
from outlast.web.replies import json_reply
from outlast.web.surface import Route

LARGEST = 256 << 10
"""Bytes of a call's body."""


async def sweep(call: Call) -> Response:
    """Do what is due, and run jobs while there is time; any number of these may be under way at once."""
    push = _push(call)
    incoming = Incoming("sweep", dict(call.request.headers), await read_bytes(call.request, LARGEST))
    _received(push, incoming)
    return json_reply({"ran": await call.app.run_due(budget=push.budget)})


def _push(call: Call) -> Push:
    if call.app.push is None:
        raise Problem("not_found", "there is nothing at this address")
    return call.app.push


def _received(push: Push, incoming: Incoming) -> str | None:
    try:
        return push.received(incoming)
    except Unverified as error:
        raise Problem("unauthenticated", f"this call is not verified: {error}") from None


PUSH = (
    Route("GET", "/sweep", sweep, None),
    Route("POST", "/sweep", sweep, None),
)
"""Below `/push`."""
