"""Room for many calls at once, of which none may take it all: so many in each lane, and so many altogether."""

from asyncio import Semaphore
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass


class Crowded(Exception):
    """Too many wait already in one of the lanes."""


@dataclass(slots=True)
class _Lane:
    room: Semaphore
    here: int = 0


class Lanes:
    """The lanes come and go with their callers.

    Parameters
    ----------
    each: callers that go on at once in one lane.
    altogether: the same over all lanes.
    most: callers in one lane, with those that wait.
    """

    def __init__(self, each: int, altogether: int, most: int) -> None:
        self._each, self._most = each, most
        self._all = Semaphore(altogether)
        self._lanes: dict[str, _Lane] = {}

    @asynccontextmanager
    async def through(self, *names: str) -> AsyncIterator[None]:
        """Wait for room in all these lanes. Raises Crowded at once if there is no end to that.

        Of two kinds of lanes all callers name the one before the other, so that none waits for what its follower holds.
        """
        lanes = {name: self._lanes.get(name) or _Lane(Semaphore(self._each)) for name in names}
        if any(lane.here >= self._most for lane in lanes.values()):
            raise Crowded
        async with AsyncExitStack() as stack:
            for name, lane in lanes.items():
                self._lanes[name] = lane
                lane.here += 1
                stack.callback(self._left, name, lane)
            for lane in lanes.values():
                await stack.enter_async_context(lane.room)
            # Last, so that nobody holds a place of everybody's while their own lane is full.
            await stack.enter_async_context(self._all)
            yield

    def _left(self, name: str, lane: _Lane) -> None:
        lane.here -= 1
        if not lane.here:
            del self._lanes[name]
