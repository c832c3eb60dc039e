"""Who comes with a token instead of a key: what it opens, and where it may be sent."""

from dataclasses import dataclass, field

from starlette.requests import Request

from outlast.app import Outlast
from outlast.principal import CANCEL, READ, WRITE, Principal
from outlast.tokens import Token, TokenRefused, name_of
from outlast.web.problems import Problem, unauthenticated

SCOPES = {"read": READ, "cancel": CANCEL, "submit": WRITE}

INVALID = {"WWW-Authenticate": 'Bearer error="invalid_token"'}


@dataclass(frozen=True, slots=True)
class Holder(Principal):
    """The holder of a token. Whose job it is they are not told, for a token may be passed on."""

    token: Token = field(kw_only=True)


async def holder_of(app: Outlast, request: Request) -> Holder | None:
    """Who holds the token that a request brings; None if it brings none. Raises Problem if it is not good."""
    text = _offered(request)
    if text is None or name_of(text) is None:
        return None
    try:
        token = await app.tokens.read(text)
    except TokenRefused as error:
        raise unauthenticated(str(error), INVALID) from None
    owner = token.subject
    if token.audience == "job":
        owner = (await app.get(str(token.subject))).owner
    return Holder(owner, frozenset(SCOPES[scope] for scope in token.scopes), token.name, token=token)


def _offered(request: Request) -> str | None:
    """What stands where a token may stand: in the address only of a stream, for a browser's own takes no headers."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return text.strip()
    streams = request.method in ("GET", "HEAD") and request.scope["path"].endswith("/events")
    return request.query_params.get("token") if streams else None


def require_place(caller: Principal, method: str, path: str) -> None:
    """Raise Problem if the caller holds a token that does not open this path below the mount."""
    if not isinstance(caller, Holder):
        return
    token = caller.token
    match token.audience:
        case "job":
            opens = path.split("/")[1:2] == [token.subject]
        case "feed":
            opens = path == "/events"
        case "submit":
            opens = (method, path) == ("POST", "")
    if not opens:
        raise Problem("forbidden_scope", f"this {token.name} {MEANT_FOR[token.audience]}")


MEANT_FOR = {
    "job": "is for one job, and this is something else",
    "feed": "is for the feed of its owner, and this is something else",
    "submit": "submits a job, and does nothing else",
}
