"""SQS: a queue of AWS that keeps calls, and from which AWS Lambda calls a function; see `outlast.aws`.

By the API of November 2012, as of August 2026. Asked by botocore, which AWS Lambda has without a package of one's own,
in threads: it is imported when it is first needed.
"""

import asyncio
import os
import re
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from math import ceil
from time import time
from typing import Any
from urllib.parse import urlsplit

from outlast.errors import ConfigurationError
from outlast.policy import Duration
from outlast.push.base import BUDGET, About, Incoming, Named, Unpublished, Unverified, budget_of
from outlast.push.cron import cron_secret, require_secret
from outlast.push.message import message_of

PATIENCE, TRIES = 2.5, 2
"""Seconds that SQS has to answer, and how often it is asked: a connection may be gone since the process was frozen."""

FARTHEST = 900
"""Seconds for which SQS holds a message back at most; a call for later comes too early, and is then put off again."""

LONGEST = 900.0
"""Seconds that a function of AWS Lambda may take at most."""


class SQS:
    """Calls are put into a queue of SQS, of the standard kind.

    Parameters
    ----------
    queue_url: as the console shows it, `https://sqs.eu-central-1.amazonaws.com/123456789012/jobs`.
    region: None: the one in the URL, else `AWS_REGION` or `AWS_DEFAULT_REGION`.
    endpoint: where the API is reached, if not at the address that the URL begins with.
    budget: how long a slice may take, and a sweep over HTTP; None: a slice, all the time that its function has left;
        a sweep, 55 s.

    Credentials are those that every client of AWS finds: in the environment, in files, of the machine.
    Raises ConfigurationError if the URL is none of a standard queue, no region is known, or botocore is not installed.
    """

    name = "sqs"

    def __init__(
        self,
        queue_url: str,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        budget: Duration | None = None,
    ) -> None:
        self.budget = BUDGET if budget is None else budget_of(budget)
        self.most = LONGEST if budget is None else self.budget
        """Seconds that a slice may take where its function has as many left."""
        self._url = _queue(queue_url)
        self._region = region or _region(self._url, os.environ)
        self._endpoint = endpoint or _origin(self._url)
        self._secret = cron_secret(os.environ)
        self._gate = threading.Lock()
        self._client: Any = None
        if find_spec("botocore") is None:
            raise ConfigurationError("SQS needs botocore, which AWS Lambda has: pip install 'outlast[sqs]'")

    def describe(self) -> About:
        """Messages call a function, and a schedule sweeps."""
        who = (
            f"messages of {self._url} are to call the function that outlast.aws makes, and so is a schedule each minute"
        )
        return About(who, most=self.most)

    # -- out --------------------------------------------------------------------------------------------------------

    async def publish(self, named: Named, at: float | None) -> None:
        """Have this job called for, in a quarter of an hour at the latest. Raises Unpublished."""
        delay = 0 if at is None else ceil(min(max(at - time(), 0.0), FARTHEST))
        body = message_of(named)
        await self._ask("send_message", QueueUrl=self._url, MessageBody=body, DelaySeconds=delay)

    async def hide(self, receipt: str, pause: int, *, arn: str) -> None:
        """Have a message that was received come again in so many seconds, unless it is deleted. Raises Unpublished.

        Parameters
        ----------
        arn: of the queue it came from: this one, or one beside it.
        """
        url = f"{self._url.rpartition('/')[0]}/{_place(arn)[1]}"
        await self._ask("change_message_visibility", QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=pause)

    async def _ask(self, operation: str, **parameters: Any) -> None:
        await asyncio.to_thread(self._asked, operation, parameters)

    def _asked(self, operation: str, parameters: Mapping[str, Any]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        try:
            getattr(self._connected(), operation)(**parameters)
        except ClientError as error:
            raise Unpublished(f"SQS answered {error.response['Error']['Code']}") from None
        except BotoCoreError as error:
            raise Unpublished(f"SQS cannot be asked ({type(error).__name__})") from None

    def _connected(self) -> Any:
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.session import get_session  # type: ignore[import-untyped]

        with self._gate:
            if self._client is None:
                retries = {"mode": "standard", "total_max_attempts": TRIES}
                config = Config(connect_timeout=PATIENCE, read_timeout=PATIENCE, retries=retries)
                settings = {"region_name": self._region, "endpoint_url": self._endpoint, "config": config}
                self._client = get_session().create_client("sqs", **settings)
            return self._client

    # -- in ---------------------------------------------------------------------------------------------------------

    def received(self, call: Incoming) -> None:
        """Over HTTP comes nothing but a call to sweep, which brings `CRON_SECRET`. Raises Unverified for any other."""
        if call.place != "sweep":
            raise Unverified("it came over HTTP", "SQS is to call the function that outlast.aws makes")
        require_secret(call, self._secret)

    def gave_up(self, record: Mapping[str, Any]) -> bool:
        """True for a message as AWS Lambda shows it, if it is a dead letter of this queue's.

        One of any other queue may come from where calls were put before: its job has done nothing to fail for.
        """
        source = record["attributes"].get("DeadLetterQueueSourceArn", "")
        return self._is_own(source) and not self._is_own(record["eventSourceARN"])

    def _is_own(self, arn: str) -> bool:
        """By its account and its name."""
        return _place(arn) == _place(self._url)


def _queue(url: str) -> str:
    """The URL as it is asked for. Raises ConfigurationError if it is none of a standard queue."""
    parts = urlsplit(url)
    account, name = _place(parts.path)
    if parts.scheme not in ("http", "https") or not (parts.hostname and account and name) or parts.query:
        form = "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs"
        raise ConfigurationError(f"SQS needs the URL of its queue, as the console shows it: {form}")
    if name.endswith(".fifo"):
        why = "which holds no single message back; make a standard one, for the store lets no job run twice anyhow"
        raise ConfigurationError(f"{name[:80]!r} is a FIFO queue, {why}")
    return url.rstrip("/")


def _place(named: str) -> tuple[str, str]:
    """Account and name of a queue, the last two parts of its URL, of a path and of an ARN."""
    account, name = ["", "", *re.split("[/:]", named.rstrip("/"))][-2:]
    return account, name


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _region(url: str, environ: Mapping[str, str]) -> str:
    found = re.search(r"\b([a-z]{2}(?:-[a-z]+)+-\d+)\.", urlsplit(url).netloc)
    region = found[1] if found else environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise ConfigurationError("the URL of the queue names no region of AWS; give one in AWS_REGION or by region=")
    return region
