"""Bytes that payloads may name, taken in."""

from starlette.requests import Request
from starlette.responses import Response

from outlast.attachments import BYTES, LONGEST_MEDIA_TYPE, is_media_type
from outlast.errors import InvalidRequest
from outlast.web.body import read_bytes
from outlast.web.call import Call
from outlast.web.problems import Problem, shown, wrong_field
from outlast.web.replies import json_reply


async def attach(call: Call) -> Response:
    """Keep bytes that the caller's payloads may name."""
    media_type = _media_type(call.request)
    data = await read_bytes(call.request, call.app.limits.attachment)
    try:
        attached = await call.app.attach(data, media_type=media_type, owner=call.principal.owner)
    except InvalidRequest as error:
        if error.code != "quota_exceeded":
            raise
        raise Problem(error.code, str(error), more={"violated-policies": ["attached"]}) from None
    return json_reply(attached.wire(), 201)


def _media_type(request: Request) -> str:
    media_type = request.headers.get("content-type", BYTES)
    if not is_media_type(media_type) or media_type.lower().startswith("multipart/"):
        detail = (
            f"the type of the bytes, such as image/png, in at most {LONGEST_MEDIA_TYPE} characters, not "
            f"{shown(media_type)}; a form is not taken apart, so send the file alone as the body"
        )
        raise wrong_field("/Content-Type", detail, place="header")
    return media_type
