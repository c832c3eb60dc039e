"""Attachments on every store: there whole or not at all, whoever dies on the way or comes in between."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from typing import Any, cast

import pytest

from outlast import attachments, lifecycle, unused
from outlast.attachments import LEAST, NAMED, NOTES, PIECE, PIECES, Attachment, claim, keep, read
from outlast.copying import copy
from outlast.errors import InvalidRequest, StoreUnavailable
from outlast.job import Job
from outlast.observe import Observe
from outlast.policy import Limits
from outlast.stores import open_store
from outlast.stores.base import Query, Store
from outlast.stores.memory import MemoryStore
from outlast.testing import FakeClock
from outlast.testing.contract.ground import current, new_job
from tests.stores.urls import URL

LIMITS = Limits()
IMAGE = b"\x89PNG and so on"
PNG = "image/png"
LARGE = b"x" * (PIECE + 1)
LARGE_ONE = attachments.MARK + sha256(LARGE).hexdigest()
DAY = "25h"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "postgres", "valkey", "mongo"])
async def store(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[Store]:
    async with open_store(URL[request.param](request), clock=clock) as store:
        yield store


async def submitted(store: Store, reference: str, owner: str | None = "ann") -> Job[Any]:
    """A job that names an attachment, stored as an app does it."""
    new = new_job(store, owner=owner, payload_json=json.dumps({"image": reference}))
    await claim(store, new.job, LIMITS)
    [job] = await store.insert([new])
    return job


async def removed(store: Store, job: Job[Any]) -> None:
    """The job has ended and is no longer kept."""
    change = lifecycle.cancel(await current(store, job.id), store.now())
    assert change is not None
    assert await store.apply([change]) == [None]
    assert await store.purge([job.id]) == [job.id]


async def swept(store: Store) -> None:
    await unused.remove(store, Observe())


async def kept_for(store: Store) -> list[str]:
    """Keys of all that is kept of attachments, but for notes that say that there is none any more."""
    gone = [note.key for note in await attachments.notes(store) if note.state == "gone"]
    found = [record.key for prefix in (NOTES, PIECES, NAMED) for record in await store.scan(prefix)]
    return [key for key in found if key not in gone]


# -- kept -----------------------------------------------------------------------------------------------------------


async def test_bytes_of_several_pieces_come_back_as_they_were(store: Store) -> None:
    data = random.Random(1).randbytes(2 * PIECE + 7)
    kept = await keep(store, "ann", data, PNG, LIMITS)
    assert await read(store, "ann", kept.reference) == Attachment(data, PNG)
    assert len(await store.scan(PIECES)) == 3


async def test_another_owners_bytes_are_not_there(store: Store) -> None:
    kept = await keep(store, "ann", IMAGE, PNG, LIMITS)
    nobodys = await keep(store, None, b"nobody's", PNG, LIMITS)
    unknown = attachments.MARK + "0" * 64
    for owner, reference in [("bob", kept.reference), (None, kept.reference), ("null", nobodys.reference)]:
        assert await read(store, owner, reference) is None
        with pytest.raises(InvalidRequest) as foreign:
            await submitted(store, reference, owner)
        with pytest.raises(InvalidRequest) as absent:
            await submitted(store, unknown, owner)
        assert (str(foreign.value), foreign.value.code, foreign.value.errors) == (
            str(absent.value),
            absent.value.code,
            absent.value.errors,
        )


async def test_the_same_bytes_are_kept_once_and_stay_a_day_from_the_last_upload(store: Store, clock: FakeClock) -> None:
    await keep(store, "ann", IMAGE, "application/octet-stream", LIMITS)
    before = await kept_for(store)
    clock.advance("20h")
    again = await keep(store, "ann", IMAGE, PNG, LIMITS)
    assert await kept_for(store) == before
    clock.advance("20h")
    await swept(store)
    assert await read(store, "ann", again.reference) == Attachment(IMAGE, PNG)


async def test_what_twenty_upload_at_once_is_kept_once(store: Store) -> None:
    kept = await asyncio.gather(*(keep(store, "ann", IMAGE, PNG, LIMITS) for _ in range(20)))
    assert len({one.reference for one in kept}) == 1
    assert await read(store, "ann", kept[0].reference) == Attachment(IMAGE, PNG)
    assert len(await kept_for(store)) == 2


# -- removed --------------------------------------------------------------------------------------------------------


async def test_what_no_job_names_goes_after_a_day_with_all_that_belongs_to_it(store: Store, clock: FakeClock) -> None:
    kept = await keep(store, "ann", IMAGE, PNG, LIMITS)
    clock.advance("23h")
    await swept(store)
    assert await read(store, "ann", kept.reference) is not None
    clock.advance("2h")
    await swept(store)
    assert await read(store, "ann", kept.reference) is None
    assert await kept_for(store) == []
    assert (await keep(store, "ann", IMAGE, PNG, LIMITS)).reference == kept.reference
    assert await read(store, "ann", kept.reference) == Attachment(IMAGE, PNG)


async def test_what_a_job_names_stays_for_as_long_as_the_job(store: Store, clock: FakeClock) -> None:
    kept = await keep(store, "ann", IMAGE, PNG, LIMITS)
    job, other = await submitted(store, kept.reference), await submitted(store, kept.reference)
    clock.advance("8d")
    await swept(store)
    await removed(store, job)
    clock.advance(DAY)
    await swept(store)
    assert await read(store, "ann", kept.reference) == Attachment(IMAGE, PNG), "the other job names it"
    await removed(store, other)
    clock.advance(DAY)
    await swept(store)
    assert await kept_for(store) == []


async def test_what_a_submit_names_that_never_was_stored_goes_too(store: Store, clock: FakeClock) -> None:
    kept = await keep(store, "ann", IMAGE, PNG, LIMITS)
    await claim(store, new_job(store, owner="ann", payload_json=json.dumps([kept.reference])).job, LIMITS)
    clock.advance("23h")
    await swept(store)
    assert await read(store, "ann", kept.reference) is not None
    clock.advance("2h")
    await swept(store)
    assert await kept_for(store) == []


async def test_all_processes_of_a_store_look_once_an_hour_together(store: Store, clock: FakeClock) -> None:
    looks: list[str] = []
    watched = Watched(store, lambda method: looks.append(method) if method == "scan" else None)
    for _ in range(3):
        await swept(as_store(watched))
    assert len(looks) == 2
    clock.advance("1h")
    await swept(as_store(watched))
    assert len(looks) == 4


# -- whoever dies on the way ----------------------------------------------------------------------------------------


class Watched:
    """A store that says what it is asked, before and after."""

    def __init__(
        self, store: Store, before: Callable[[str], object], after: Callable[[str], object] = lambda method: None
    ) -> None:
        self._store, self._before, self._after = store, before, after

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._store, name)
        return self._watched(name, inner) if name in ("put", "fetch", "scan", "drop", "changed", "insert") else inner

    def _watched(self, name: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._before(name)
            answer = await inner(*args, **kwargs)
            self._after(name)
            return answer

        return call


def as_store(stand_in: Any) -> Store:
    return cast(Store, stand_in)


def dies(store: Store, at: int, when: str) -> Store:
    """The process dies at one of its writes, before or after it reached the store."""
    writes = 0

    def write(method: str) -> None:
        nonlocal writes
        writes += method in ("put", "drop", "insert")
        if writes == at and method in ("put", "drop", "insert"):
            raise StoreUnavailable("the process died")

    nothing: Callable[[str], object] = lambda method: None  # noqa: E731  # what is not watched
    return as_store(Watched(store, write) if when == "before" else Watched(store, nothing, write))


async def uploaded_then_submitted(store: Store) -> Job[Any]:
    kept = await keep(store, "ann", LARGE, PNG, LIMITS)
    return await submitted(store, kept.reference)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(1, 7))
async def test_a_death_between_any_two_writes_leaves_what_can_be_used_or_is_removed(
    clock: FakeClock, at: int, when: str
) -> None:
    store = MemoryStore(clock=clock)
    with pytest.raises(StoreUnavailable):
        await uploaded_then_submitted(dies(store, at, when))
    assert await read(store, "ann", LARGE_ONE) in (None, Attachment(LARGE, PNG))

    await uploaded_then_submitted(store)
    clock.advance(DAY)
    await swept(store)
    assert await read(store, "ann", LARGE_ONE) == Attachment(LARGE, PNG)
    assert len(await store.scan(PIECES)) == 2, "the bytes are kept once"

    for one in await store.find(Query()):
        await removed(store, one)
    clock.advance(DAY)
    await swept(store)
    assert await kept_for(store) == []


async def test_the_deaths_above_are_at_every_write_there_is(clock: FakeClock) -> None:
    await uploaded_then_submitted(dies(MemoryStore(clock=clock), 7, "before"))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(1, 7))
async def test_a_removal_that_dies_is_finished_by_the_next(clock: FakeClock, at: int, when: str) -> None:
    store = MemoryStore(clock=clock)
    kept = await keep(store, "ann", IMAGE, PNG, LIMITS)
    await removed(store, await submitted(store, kept.reference))
    clock.advance(DAY)
    try:
        await swept(dies(store, at, when))
    except StoreUnavailable:
        clock.advance("1h")
        await swept(store)
    assert await kept_for(store) == []
    assert await read(store, "ann", kept.reference) is None


@pytest.mark.parametrize("at", range(1, 5))
async def test_an_upload_after_a_removal_that_died_leaves_no_bytes_behind(clock: FakeClock, at: int) -> None:
    store = MemoryStore(clock=clock)
    kept = await keep(store, "ann", IMAGE, PNG, LIMITS)
    clock.advance(DAY)
    with pytest.raises(StoreUnavailable):
        await swept(dies(store, at, "before"))
    await keep(store, "ann", IMAGE, PNG, LIMITS)
    assert await read(store, "ann", kept.reference) == Attachment(IMAGE, PNG)
    assert len(await store.scan(PIECES)) == 1


# -- whoever comes in between ---------------------------------------------------------------------------------------


class Interleaved(Watched):
    """A store whose callers take turns by chance, before and after each call."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        super().__init__(store, lambda method: None)
        self._chance = chance

    def _watched(self, name: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._pause()
            answer = await inner(*args, **kwargs)
            await self._pause()
            return answer

        return call

    async def _pause(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(300))
async def test_in_whatever_order_they_come_a_stored_job_has_what_it_names(clock: FakeClock, seed: int) -> None:
    """An attachment that is about to be removed is uploaded anew, twice, and named by submits, all at once."""
    store = MemoryStore(clock=clock)
    kept = await keep(store, "ann", IMAGE, PNG, LIMITS)
    clock.advance(DAY)
    one = as_store(Interleaved(store, random.Random(seed)))
    submits = [lambda: submitted(one, kept.reference)] * 2
    uploads = [lambda: keep(one, "ann", IMAGE, PNG, LIMITS)] * (seed % 3)
    acts: list[Callable[[], Awaitable[Any]]] = [*submits, *uploads, lambda: swept(one)]
    random.Random(seed).shuffle(acts)
    answers = await asyncio.gather(*(act() for act in acts), return_exceptions=True)
    for answer in answers:
        assert not isinstance(answer, BaseException) or "no such attachment" in str(answer)
    jobs = [answer for answer in answers if isinstance(answer, Job)]
    if jobs or uploads:
        assert await read(store, "ann", kept.reference) == Attachment(IMAGE, PNG)
        assert len(await store.scan(PIECES)) == 1
    for job in jobs:
        await removed(store, job)
    clock.advance(DAY)
    await swept(store)
    assert await kept_for(store) == []


@pytest.mark.parametrize("others", [0, 1])
async def test_an_upload_that_slept_over_its_own_removal_leaves_nothing_of_the_first_try(
    clock: FakeClock, others: int
) -> None:
    store = MemoryStore(clock=clock)
    asleep = True

    async def a_day_passes() -> None:
        nonlocal asleep
        asleep = False
        clock.advance(DAY)
        await swept(store)
        for _ in range(others):
            await keep(store, "ann", IMAGE, PNG, LIMITS)

    class Sleeps(Watched):
        def _watched(self, name: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def call(*args: Any, **kwargs: Any) -> Any:
                if name == "put" and asleep and args[0].startswith(PIECES):
                    await a_day_passes()
                return await inner(*args, **kwargs)

            return call

    kept = await keep(as_store(Sleeps(store, lambda method: None)), "ann", IMAGE, PNG, LIMITS)
    assert not asleep
    assert await read(store, "ann", kept.reference) == Attachment(IMAGE, PNG)
    assert len(await store.scan(PIECES)) == 1


# -- how much -------------------------------------------------------------------------------------------------------


async def test_an_owner_has_so_much_and_no_more_however_many_come_at_once(store: Store, clock: FakeClock) -> None:
    limits = Limits(attached=3 * LEAST)
    uploads = (keep(store, "ann", bytes([number]), PNG, limits) for number in range(6))
    answers = await asyncio.gather(*uploads, return_exceptions=True)
    refused = [answer.code for answer in answers if isinstance(answer, InvalidRequest)]
    assert len(refused) >= 3
    assert set(refused) == {"quota_exceeded"}
    assert len(await store.scan(PIECES)) == 6 - len(refused)
    await keep(store, "bob", IMAGE, PNG, limits)
    clock.advance(DAY)
    await swept(store)
    await keep(store, "ann", IMAGE, PNG, limits)


async def test_what_is_kept_already_fits_however_full_it_is(clock: FakeClock) -> None:
    store, limits = MemoryStore(clock=clock), Limits(attached=LEAST)
    first = await keep(store, "ann", IMAGE, PNG, limits)
    assert await keep(store, "ann", IMAGE, PNG, limits) == first
    with pytest.raises(InvalidRequest, match="of one owner together are at most 16384 bytes"):
        await keep(store, "ann", b"more", PNG, limits)


# -- copied ---------------------------------------------------------------------------------------------------------


async def test_a_copied_job_has_what_it_names_in_its_new_store(store: Store, clock: FakeClock) -> None:
    source = MemoryStore(clock=clock)
    data = random.Random(1).randbytes(PIECE + 1)
    named, unnamed = await keep(source, "ann", data, PNG, LIMITS), await keep(source, "ann", IMAGE, PNG, LIMITS)
    for _ in range(2):
        job = await submitted(source, named.reference)
    await copy(source, store)
    clock.advance(DAY)
    await swept(store)
    assert await read(store, "ann", named.reference) == Attachment(data, PNG)
    assert await read(store, "ann", unnamed.reference) is None
    assert (await current(store, job.id)).payload_json == job.payload_json
