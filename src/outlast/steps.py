"""What `ctx.options(...)` gives: steps that are tried so often, and for so long."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from outlast.tries import Tries

if TYPE_CHECKING:
    from outlast.context import Context

P = ParamSpec("P")
T = TypeVar("T")


class Steps:
    """The steps of a Context, each tried as it says."""

    def __init__(self, context: "Context", tries: Tries) -> None:
        self._context = context
        self._tries = tries

    @overload
    async def step(self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    async def step(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function once in the life of the job; see `Context.step` and `Context.options`."""
        return await self._context._step(name, fn, args, kwargs, self._tries)
