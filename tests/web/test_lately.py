"""What was made lately is made once for all who ask, and no longer kept than there is room."""

import asyncio

import pytest

from outlast.web.lately import Lately


def test_what_was_made_is_there_for_the_next_until_others_take_its_place() -> None:
    made: list[str] = []
    lately: Lately[str] = Lately(2)

    def ask(key: str) -> str:
        return lately.made(key, lambda: made.append(key) or key.upper())

    assert [ask(key) for key in "aabbca"] == ["A", "A", "B", "B", "C", "A"]
    assert made == ["a", "b", "c", "a"]


async def test_what_takes_its_time_is_made_once_for_all_who_ask_meanwhile() -> None:
    made = 0
    lately: Lately[int] = Lately(2)

    async def make() -> int:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        return made

    asks = [asyncio.create_task(lately.awaited("key", make)) for _ in range(3)]
    await asyncio.sleep(0)
    asks[0].cancel()
    assert await asyncio.gather(*asks[1:]) == [1, 1]
    assert await lately.awaited("key", make) == 1


async def test_an_error_is_of_all_who_wait_and_not_of_who_comes_later() -> None:
    lately: Lately[str] = Lately(2)

    async def fails() -> str:
        raise OSError("away")

    async def works() -> str:
        return "back"

    for found in await asyncio.gather(*(lately.awaited("key", fails) for _ in range(2)), return_exceptions=True):
        assert isinstance(found, OSError)
    with pytest.raises(OSError, match="away"):
        await lately.awaited("key", fails)
    assert await lately.awaited("key", works) == "back"
