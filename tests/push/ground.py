"""What the tests of push stand on: an app that counts by steps, on a clock that stands still."""

from typing import Any

from outlast import Context, Outlast
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock

SECRET = "only-the-tests-know-this-one"


def make_app(store: Any = None, **settings: Any) -> Outlast:
    """An app with a handler whose steps take 3 s each by the clock of the store."""
    store = store or MemoryStore(clock=FakeClock())
    app = Outlast(store, **settings)

    async def one(number: int) -> int:
        store.clock.advance(3)
        return number

    @app.handler(retries=1)
    async def count(ctx: Context, to: int) -> list[int]:
        return [await ctx.step("one", one, number) for number in range(to)]

    @app.handler(retries=0)
    async def broken(ctx: Context) -> None:
        raise RuntimeError("no such luck")

    return app
