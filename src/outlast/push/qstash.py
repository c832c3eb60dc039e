"""QStash: a service of Upstash that keeps calls in a queue, makes each when it is due, and again until it is answered.

By its HTTP API and its signature rules as of August 2026 (upstash.com/docs/qstash). It needs no client library, which
every cold start would pay for: a call is one request, made in a thread.
"""

import asyncio
import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from math import ceil
from time import time
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from outlast.errors import ConfigurationError
from outlast.policy import Duration
from outlast.push.base import BUDGET, About, Incoming, Named, Place, Unpublished, budget_of
from outlast.push.cron import carries, cron_secret, require_secret
from outlast.push.message import fields_of, message_of, named_in
from outlast.push.signature import require_signed

if TYPE_CHECKING:
    from http.client import HTTPConnection

API = "https://qstash.upstash.io"

PATIENCE = 5.0
"""Seconds that QStash has to take a call."""

MOST = 4096
"""Bytes that are read of its answer where it did not."""

RETRIES, PAUSE = 5, "min(60000, pow(2, retried) * 2000)"
"""How often a call that was not answered well is made again, and after how many milliseconds: 2, 4, 8, 16, 32 s."""

SLACK = 5.0
"""Seconds that QStash waits for an answer beyond the budget."""

WINDOW = 900.0
"""Seconds that QStash waits for an answer at most, on its free plan."""

FARTHEST = 6 * 86400.0
"""Seconds for which QStash keeps a call on every plan; one for later comes too early, and is then put off again."""


class QStash:
    """Calls are published to QStash, which makes them.

    Parameters
    ----------
    url: where the service is reached from outside: what comes before `/push/qstash`, such as `https://shop.example`.
    token: of the account; None: `QSTASH_TOKEN`.
    keys: that verify its calls, any number; None: the current and next one of the environment, of every region in it.
    api: None: `QSTASH_URL`, else that of the EU.
    budget: how long a call may take.

    Raises ConfigurationError if one of them is missing, or the URL is none.
    """

    name = "qstash"

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        keys: Sequence[str] | None = None,
        api: str | None = None,
        budget: Duration = BUDGET,
    ) -> None:
        self.budget = budget_of(budget)
        self._url = _public(url)
        self._api = _api(api or os.environ.get("QSTASH_URL") or API)
        self._token = (token or os.environ.get("QSTASH_TOKEN") or "").strip()
        self._keys = keys_of(os.environ) if keys is None else keys
        self._secret = cron_secret(os.environ)
        if not self._token:
            raise ConfigurationError("QStash needs the token of your account, in QSTASH_TOKEN or by token=")
        if not _fits_a_header(self._token):
            # Else the client says so with each call, and shows it.
            raise ConfigurationError("the token of QStash holds what no header can; copy it anew from the console")
        if isinstance(self._keys, str) or not self._keys or not all(self._keys):
            names = "QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY"
            raise ConfigurationError(f"QStash needs its signing keys, in {names} or by a list keys=")

    def describe(self) -> About:
        """QStash calls, and a schedule or a clock sweeps."""
        called = f"QStash calls {self._address('run')}, and a sweep now and then is to call {self._address('sweep')}"
        if self.budget + SLACK <= WINDOW:
            return About(called)
        late = (
            f"on its free plan QStash waits {WINDOW:g} s for an answer, and {self.budget + SLACK:g} s are asked for: "
            "it would call again while a slice runs. Take a shorter budget, or a plan that waits 2 h"
        )
        return About(called, (late,))

    # -- out --------------------------------------------------------------------------------------------------------

    async def publish(self, named: Named, at: float | None) -> None:
        """Have this job called for; the same turn of a job within ten minutes counts once. Raises Unpublished."""
        await asyncio.to_thread(self._post, self._headers(named, at), message_of(named).encode())

    def _headers(self, named: Named, at: float | None) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Upstash-Deduplication-Id": f"{named.job_id}:{named.turn}",
            "Upstash-Retries": str(RETRIES),
            "Upstash-Retry-Delay": PAUSE,
            "Upstash-Timeout": f"{ceil(self.budget + SLACK)}s",
            "Upstash-Failure-Callback": self._address("dead"),
        }
        return headers if at is None else headers | {"Upstash-Not-Before": str(ceil(min(at, time() + FARTHEST)))}

    def _post(self, headers: Mapping[str, str], body: bytes) -> None:
        from http.client import HTTPException

        connection = self._connection()
        try:
            connection.request("POST", f"{self._api.path}/v2/publish/{self._address('run')}", body, dict(headers))
            answer = connection.getresponse()
            if not 200 <= answer.status < 300:
                raise Unpublished(f"QStash answered {answer.status}{_said(answer.read(MOST))}")
        except (OSError, HTTPException) as error:
            raise Unpublished(f"QStash does not answer ({type(error).__name__})") from None
        finally:
            connection.close()

    def _connection(self) -> "HTTPConnection":
        from http.client import HTTPConnection, HTTPSConnection

        kind = HTTPSConnection if self._api.scheme == "https" else HTTPConnection
        return kind(self._api.hostname or "", self._api.port, timeout=PATIENCE)

    # -- in ---------------------------------------------------------------------------------------------------------

    def received(self, call: Incoming) -> Named | None:
        """The job that a call names; one to sweep may also carry `CRON_SECRET`. Raises Unverified."""
        token = call.headers.get("upstash-signature", "")
        if call.place == "sweep" and (carries(call, self._secret) or not token):
            require_secret(call, self._secret)
            return None
        require_signed(token, self._keys, url=self._address(call.place), body=call.body, now=time())
        return named_in(_source(call.body) if call.place == "dead" else call.body)

    def _address(self, place: Place) -> str:
        return f"{self._url}/push/{self.name if place == 'run' else place}"


def keys_of(environ: Mapping[str, str]) -> list[str]:
    """The signing keys that are in an environment: of one region, or with the names of regions before them."""
    ends = ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY")
    return [value.strip() for name, value in sorted(environ.items()) if name.endswith(ends) and value.strip()]


def _public(url: str) -> str:
    parts = urlsplit(url)
    if not _is_address(url) or parts.query or parts.fragment:
        form = "https://shop.example, or with the path below which /push is served"
        raise ConfigurationError(f"QStash needs the address where this service is reached from outside: {form}")
    whole = re.search(r"/push/(?:qstash|sweep|dead)/?$", url)
    if whole:
        before = url[: whole.start()]
        raise ConfigurationError(f"QStash adds {whole[0]} by itself; let its address end before that: {before}")
    return url.rstrip("/")


def _api(url: str) -> SplitResult:
    if not _is_address(url):
        raise ConfigurationError(f"QSTASH_URL, or api=, is the address of QStash, such as {API}, and not {url[:64]!r}")
    return urlsplit(url.rstrip("/"))


def _is_address(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and _fits_a_header(url)


def _fits_a_header(text: str) -> bool:
    """True for visible ASCII: what a header, or the line of a request, can hold."""
    return text.isascii() and text.isprintable() and " " not in text


def _said(body: bytes) -> str:
    """Why QStash did not take a call, in its own words if it has any."""
    error = fields_of(body).get("error")
    return f": {error[:200]!r}" if isinstance(error, str) else ""


def _source(body: bytes) -> bytes:
    """What a failure callback says was the body of the call that was given up."""
    try:
        return base64.b64decode(str(fields_of(body).get("sourceBody", "")))
    except (binascii.Error, ValueError):
        return b""
