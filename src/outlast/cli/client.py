"""The server's HTTP surface as the client commands use it: each refusal is a message and an exit code."""

import json
import re
from collections.abc import Mapping
from time import monotonic, sleep
from typing import Any, NamedTuple

import httpx2

from outlast.cli.address import is_loopback
from outlast.cli.exits import NotSent, Refused, Unreachable, masked
from outlast.cli.text import cut, safe

TIMEOUT = httpx2.Timeout(30.0, connect=5.0)

PATIENCE = 2.0
"""Seconds for which a refused connection is tried again: a server that was started just now does not listen yet."""

PAUSE = 0.1


class Answer(NamedTuple):
    """What the server said: as it came, and read. Both are empty where there was nothing to say."""

    text: str
    value: Any


class Client:
    """One server, and the key to it.

    Parameters
    ----------
    url: the address under which `/jobs` lies; with or without that at its end.
    key: sent as a bearer token.
    """

    def __init__(self, url: str, key: str | None) -> None:
        address = _address(url)
        self._shown = masked(safe(address))
        if key is not None and not (key.isascii() and key.isprintable()):
            raise Refused("--key (OUTLAST_KEY) holds characters that no key has")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy of the environment is for the world outside, not for one's own machine.
        direct = is_loopback(address.host)
        self.http = httpx2.Client(base_url=address, headers=headers, timeout=TIMEOUT, trust_env=not direct)

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. Raises Refused for what the server will not do, Unreachable where it cannot answer."""
        sent = {} if body is None else {"Content-Type": "application/json"}
        # Bytes of the command line that are no UTF-8 go out as they were given: the server says what is wrong.
        content = None if body is None else body.encode("utf-8", "surrogateescape")
        request = self.http.build_request(
            method, path, params=params, content=content, headers=sent | dict(headers or {})
        )
        try:
            response = self._sent(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise NotSent(self._no_answer(error)) from error
        except httpx2.TransportError as error:
            raise Unreachable(self._no_answer(error)) from error
        self.check(response)
        return Answer(response.text, self.read(response.text) if response.content else None)

    def _sent(self, request: httpx2.Request) -> httpx2.Response:
        until = monotonic() + PATIENCE
        while True:
            try:
                return self.http.send(request)
            except httpx2.ConnectError as error:
                if not _is_refused(error) or monotonic() > until:
                    raise
            sleep(PAUSE)

    def close(self) -> None:
        """Let go of the connection."""
        self.http.close()

    def check(self, response: httpx2.Response) -> None:
        """Raise what a status other than success means. The body has been read."""
        if response.is_success:
            return
        told = _told(response)
        if told is None:
            told = f"{self} answers {response.status_code} and not as Outlast does; is --url (OUTLAST_URL) right?"
        raise Unreachable(told) if response.status_code in TRY_LATER else Refused(told)

    def read(self, text: str) -> Any:
        """JSON from the server."""
        try:
            return json.loads(text)
        except ValueError:
            raise Refused(f"{self} does not answer in JSON as Outlast does; is --url (OUTLAST_URL) right?") from None

    def _no_answer(self, error: Exception) -> str:
        return (
            f"{self} does not answer ({safe(error) or type(error).__name__}); start a server with "
            "`outlast serve MODULE:APP`, or name another with --url or OUTLAST_URL"
        )

    def __str__(self) -> str:
        return self._shown


TRY_LATER = frozenset({429, 500, 502, 503, 504})


IN_OUR_WORDS: Mapping[str, str] = {
    "job_not_retryable": "the job is completed; --force runs it again",
}
"""By code: what the server says in the words of HTTP, and the command line in its own."""


def _told(response: httpx2.Response) -> str | None:
    """A problem document in words: its detail, or a line for each field that is wrong."""
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    try:
        problem = response.json()
        if fields := [_field(error) for error in problem.get("errors", [])]:
            return safe(problem["title"]) + "".join(fields)
        if "bearer" in response.headers.get("www-authenticate", "").lower():
            return f"the server {_what_of_the_key(response)}; give one that it knows with --key or OUTLAST_KEY"
        return IN_OUR_WORDS.get(problem["code"]) or cut(safe(problem["detail"]), 2000)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _field(error: Mapping[str, str]) -> str:
    """A line; what is not of the body has a name and no path."""
    name = error["pointer"].lstrip("/") if "in" in error else error["pointer"]
    return f"\n  {safe(name)}: {safe(error['detail'])}"


def _what_of_the_key(response: httpx2.Response) -> str:
    return "does not know the key" if "authorization" in response.request.headers else "asks for a key"


def _is_refused(error: BaseException | None) -> bool:
    """Whether nobody listens there, by what lies behind the error."""
    while error is not None and not isinstance(error, ConnectionRefusedError):
        error = error.__cause__ or error.__context__
    return error is not None


def _address(url: str) -> httpx2.URL:
    """The server's address, if it is one."""
    try:
        address = httpx2.URL(re.sub(r"(?<!/)/jobs$", "", url.rstrip("/")))
    except httpx2.InvalidURL as error:
        raise Refused(f"--url (OUTLAST_URL): {masked(safe(url))!r}: {error}") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise Refused(f"--url (OUTLAST_URL): {masked(safe(url))!r} is no address such as http://127.0.0.1:8000")
    return address
