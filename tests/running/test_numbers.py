"""What a process counts is written down for others, and a worker says now and then how it is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outlast import Context, Outlast, presence, totals
from outlast.metrics import Histogram
from outlast.stores import open_store
from outlast.stores.base import Store
from outlast.testing import FakeClock
from outlast.worker import TELL
from tests.running.conftest import Until


@pytest.fixture
async def store(url: str, clock: FakeClock) -> AsyncIterator[Store]:
    async with open_store(url, clock=clock) as store:
        yield store


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if getattr(record, "action", "") == "worker.alive"]


async def test_a_worker_says_every_five_minutes_how_it_is(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "outlast")
    app, signs = Outlast(store, lease=0.3, concurrency=3), 0
    put = store.put

    async def counted(key: str, *args: object, **how: object) -> object:
        nonlocal signs
        signs += key.startswith(presence.PREFIX)
        return await put(key, *args, **how)  # type: ignore[arg-type]  # as it came

    async def signs_given(number: int) -> None:
        wanted = signs + number

        async def given() -> bool:
            return signs >= wanted

        await until(given, "the worker gave signs of life")

    monkeypatch.setattr(store, "put", counted)

    @app.handler
    async def work(ctx: Context) -> None: ...

    async with app, app.working():
        await app.wait(await work.submit(), 10)
        await signs_given(3)
        clock.advance(TELL - 1)
        await signs_given(3)
        assert said(caplog) == []
        for lines in (1, 2):
            clock.advance(TELL)
            await signs_given(3)
            assert len(said(caplog)) == lines
    assert ": 0 of 3 slots busy, 1 jobs ended, " in said(caplog)[0]
    assert said(caplog)[0].endswith(" MiB resident")


async def test_totals_are_written_down_and_stay_a_while_when_the_process_is_gone(
    store: Store, clock: FakeClock, until: Until
) -> None:
    app = Outlast(store)

    @app.handler
    async def work(ctx: Context) -> None: ...

    async def written() -> bool:
        clock.advance(totals.EVERY)
        return len(await totals.read(store)) == 1

    async with app.working():
        assert await totals.read(store) == []
        await until(written, "the totals were written down")
        await app.wait(await work.submit(), 10)
    [last] = await totals.read(store)
    assert last.counters["outlast_jobs_ended_total", "work", "completed"] == 1
    assert isinstance(last.histograms["outlast_run_seconds", "work"], Histogram)
    clock.advance(totals.TTL - 1)
    assert await totals.read(store) == [last]
    clock.advance(2)
    assert await totals.read(store) == []


async def test_totals_never_go_down_whoever_is_asked(store: Store, until: Until) -> None:
    one, other = Outlast(store), Outlast(store)

    @one.handler
    async def work(ctx: Context) -> None: ...

    async with one.working():
        for number in (1, 2, 3):

            async def counted(number: int = number) -> bool:
                return await ended(one) == number

            await work.submit()
            await until(counted, f"{number} ends were counted")
            assert await ended(other) == number


async def ended(app: Outlast) -> int:
    found = await app.totals()
    return sum(one.counters.get(("outlast_jobs_ended_total", "work", "completed"), 0) for one in found)


def test_the_memory_of_a_process_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now = presence.resident()
    assert now is not None and now > 1 << 20

    def absent(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", absent)
    most = presence.resident()
    assert most is not None and most > now / 2
