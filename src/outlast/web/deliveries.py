"""What a job's webhooks are told of its end, and a delivery begun again by hand."""

from starlette.responses import Response

from outlast.web.call import Call
from outlast.web.replies import json_reply


async def show_deliveries(call: Call) -> Response:
    """The deliveries of a job that has ended, each with its newest tries."""
    found = await call.app.deliveries(call.id, owner=call.sees)
    return json_reply({"data": [one.wire() for one in found]}, headers={"Cache-Control": "private, no-cache"})


async def redeliver(call: Call) -> Response:
    """Begin a delivery again. 202: its first try is made within seconds."""
    begun = await call.app.redeliver(call.id, owner=call.sees)
    return json_reply(begun.wire(), 202)
