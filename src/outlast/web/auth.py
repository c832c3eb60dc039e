"""Who asks, and what they may do: tokens; keys from the environment, the host's own `authenticate`, or an open server.

Open (neither keys nor `authenticate`) is meant for one's own machine: it lets everybody in as `admin`, so it answers
only to names that no foreign web page can have, and `outlast serve` opens it on loopback alone.
"""

import hmac
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from outlast.app import Outlast
from outlast.principal import ADMIN, OWNER_ANY, Principal
from outlast.secret import signing_secrets
from outlast.web.cors import Cors
from outlast.web.holder import holder_of
from outlast.web.keys import Key, digest_of, parse_keys
from outlast.web.problems import Problem, problem_of, shown, unauthenticated, wrong_field

Answer = str | Principal | None
Authenticate = Callable[[Request], Answer | Awaitable[Answer]]
"""Says who sends a request: an owner's name, a Principal, or None if it cannot tell."""

AwaitedAuthenticate = Callable[[Request], Awaitable[Answer]]


def _awaited(authenticate: Authenticate) -> AwaitedAuthenticate:
    """A plain function runs in a thread, for it may look something up and take its time."""

    async def answer(request: Request) -> Answer:
        is_async = inspect.iscoroutinefunction(authenticate)
        found = authenticate(request) if is_async else await run_in_threadpool(authenticate, request)
        return await found if isinstance(found, Awaitable) else found

    return answer


def require(principal: Principal, scope: str) -> None:
    """Raise Problem unless the principal has the scope."""
    if not principal.may(scope):
        raise Problem("forbidden_scope", f"this needs the scope {scope}, which this caller does not have")


def require_operator(principal: Principal, request: Request) -> None:
    """Raise Problem unless who asks may see what jobs leave for whoever operates: tracebacks, lines of logs.

    Without keys that is who sits at this machine, and not whoever reaches it over a network or through a proxy.
    """
    require(principal, ADMIN)
    if principal is ANYBODY and not _from_this_machine(request):
        detail = "without keys this is shown to this machine alone; set OUTLAST_KEYS and use a key with the scope admin"
        raise Problem("forbidden_scope", detail)


def _from_this_machine(request: Request) -> bool:
    forwarded = any(name in request.headers for name in ("forwarded", "via", "x-forwarded-for", "x-forwarded-host"))
    client = request.client
    return not forwarded and client is not None and _is_address(client.host) and ip_address(client.host).is_loopback


ANYBODY = Principal(None, frozenset({ADMIN}))
"""Who comes in through an open door."""

NOBODY = Principal(None, frozenset())
"""Who asks where everybody may, and who has yet to say who it is."""

NO_KEY = "send an API key that this server knows, as `Authorization: Bearer <key>`"
BEARER = {"WWW-Authenticate": "Bearer"}
NOT_RECOGNISED = "the application that this is mounted in (its `authenticate`) did not recognise the caller"


class Door:
    """Lets a request in as a Principal, or raises Problem."""

    def __init__(self, app: Outlast, authenticate: Authenticate | None) -> None:
        signing_secrets(os.environ.get("OUTLAST_SECRET", ""))  # one that is no good is said at the start
        keys = parse_keys(os.environ.get("OUTLAST_KEYS", ""))
        self._app = app
        self.cors = Cors(app.cors)
        self._authenticate = _awaited(authenticate) if authenticate else _by_keys(keys) if keys else None
        self._refusal = unauthenticated(NOT_RECOGNISED) if authenticate else unauthenticated(NO_KEY, BEARER)

    @property
    def is_open(self) -> bool:
        """True if anybody may come in."""
        return self._authenticate is None

    async def greet(self, request: Request) -> Principal | None:
        """The principal of a WebSocket's handshake; None if it brings nothing that tells.

        Browsers open one for any page and send their cookies along, so where it comes from counts as for a change.
        """
        if not self.cors.allows(request.headers.get("origin")):
            _require_own_origin(request, safe=frozenset())
        try:
            return await self.enter(request)
        except Exception as error:
            problem = problem_of(error)
            if problem is None or problem.code != "unauthenticated" or "authorization" in request.headers:
                raise
            return None

    async def enter(self, request: Request) -> Principal:
        """The principal of a request that comes from where it may."""
        if self._authenticate is None:
            _require_own_host(request)
        if not self.cors.allows(request.headers.get("origin")):
            _require_own_origin(request)
        holder = await holder_of(self._app, request)
        return _in_the_place_of(request, holder or await self._principal(request))

    async def _principal(self, request: Request) -> Principal:
        if self._authenticate is None:
            return ANYBODY
        answer = await self._authenticate(request)
        if answer is None:
            raise self._refusal
        return answer if isinstance(answer, Principal) else Principal(answer)


# -- for whom -------------------------------------------------------------------------------------------------------

ACTS_FOR = "Outlast-Owner"
OWNER = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?")


def _in_the_place_of(request: Request, principal: Principal) -> Principal:
    """Who asks, or the owner that a server asks for."""
    named = request.headers.getlist(ACTS_FOR)
    if not named:
        return principal
    require(principal, OWNER_ANY)
    if len(named) > 1 or not OWNER.fullmatch(named[0]):
        detail = f"once, as 1 to 128 printable ASCII characters, not {shown(', '.join(named))}"
        raise wrong_field(f"/{ACTS_FOR}", detail, place="header")
    return principal.acting_for(named[0])


# -- keys -----------------------------------------------------------------------------------------------------------


def _by_keys(keys: Sequence[Key]) -> AwaitedAuthenticate:
    async def authenticate(request: Request) -> Answer:
        return _holder(keys, request)

    return authenticate


def _holder(keys: Sequence[Key], request: Request) -> Principal | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None
    digest = digest_of(token.strip())
    # Every key is compared, so that the time taken tells nothing.
    matching = [key for key in keys if hmac.compare_digest(key.digest, digest)]
    if matching and matching[0].expired:
        raise unauthenticated("this API key has expired", BEARER)
    return matching[0].principal if matching else None


# -- where a browser may come from ----------------------------------------------------------------------------------

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def _require_own_host(request: Request) -> None:
    """Refuse names that somebody else's DNS can point at this machine, and so a page of theirs at this server."""
    host = request.headers.get("host", "")
    if _is_own(host):
        return
    detail = f"without keys this server answers as localhost or by its address, not as {shown(host)}; set OUTLAST_KEYS"
    raise Problem("host_refused", detail)


@lru_cache(maxsize=64)
def _is_own(host: str) -> bool:
    name = (urlsplit(f"//{host}").hostname or "") if _is_plain(host) else ""
    return name != "" and ("." not in name or name.endswith(".localhost") or _is_address(name))


def _require_own_origin(request: Request, *, safe: frozenset[str] = SAFE) -> None:
    """Refuse a change that a page of another origin asks for. What carries a key was no browser's own idea."""
    origin = request.headers.get("origin")
    if origin is None or request.method in safe or "authorization" in request.headers:
        return
    if not _is_plain(origin) or urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
        raise Problem("origin_refused", f"a page of {shown(origin)} may not do this here")


def _is_plain(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9.:/_\[\]-]+", text) is not None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
