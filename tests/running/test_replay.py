"""Short sleeps on the way to where the last slice was: those that are over take no time, and change no order."""

import asyncio
from types import SimpleNamespace
from typing import Any

from outlast.replay import Replay


def resumed(*, past: float) -> tuple[Replay, Any]:
    """A replay with steps to come past, of a job that began so many seconds ago; and its recorder."""
    job = SimpleNamespace(started_at=1_000.0, claimed_at=1_000.0 + past)
    recorder: Any = SimpleNamespace(job=job, silent=False, loud=lambda recorded: None)
    replay = Replay([], recorder, 10)
    recorder.silent = True
    return replay, recorder


async def test_before_a_remembered_step_they_take_no_time_but_in_all_no_more_than_has_passed() -> None:
    replay, _ = resumed(past=10)
    assert [await replay.pause(4) for _ in range(4)] == [0, 0, 4, 4]


async def test_with_none_behind_it_is_slept_though_a_task_beside_it_had_yet_to_come_past_one() -> None:
    replay, recorder = resumed(past=10)
    pausing = asyncio.create_task(replay.pause(4))
    await asyncio.sleep(0)
    recorder.silent = False
    assert await pausing == 4


async def test_of_two_at_once_the_shorter_ends_first_as_it_did() -> None:
    replay, _ = resumed(past=10)
    ended: list[float] = []

    async def sleeps(seconds: float) -> None:
        assert await replay.pause(seconds) == 0
        ended.append(seconds)

    await asyncio.gather(sleeps(4), sleeps(1), sleeps(2))
    assert ended == [1, 2, 4]
