"""What the double of AWS Lambda runs: an app whose store is away, and whose process dies, when a test says so."""

import inspect
import os
import signal
from typing import Any

from outlast import Context, Outlast
from outlast.aws import lambda_handler
from outlast.errors import StoreUnavailable
from outlast.stores import open_store
from outlast.stores.base import Store

FATES = ("away", "goes away", "dies", "dies unheard")
"""What may happen in a call: the store does not answer, or no more from the first step on; the process dies in a step,
or when all is done and nothing answered."""


class Shaky:
    """A store that does not answer while the fate of a call is `away`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def asked(*arguments: Any, **named: Any) -> Any:
            if os.environ.get("FATE") == "away":
                raise StoreUnavailable("it is away")
            return await found(*arguments, **named)

        return asked


app = Outlast(
    Shaky(open_store(os.environ.get("OUTLAST_STORE", "memory://"))), lease=float(os.environ.get("LEASE", "30"))
)


async def one(number: int) -> int:
    if os.environ.get("FATE") == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("FATE") == "goes away":
        os.environ["FATE"] = "away"
    return number


@app.handler(retries=50, backoff=0.1)
async def count(ctx: Context, to: int) -> list[int]:
    return [await ctx.step("one", one, number) for number in range(to)]


handler = lambda_handler(app)
