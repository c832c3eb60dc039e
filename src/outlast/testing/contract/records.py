"""Records: small notes with a version and an expiry."""

import asyncio

from outlast.stores.base import Record, Store
from outlast.testing.clock import FakeClock
from outlast.testing.contract.ground import in_threads


class Notes:
    async def test_a_note_is_fetched_as_it_was_put(self, store: Store) -> None:
        value = {"z": [1, 2.5, None, True], "a": {"é": "😀 \u2028"}}
        written = await store.put("worker/é:1", value)
        assert written == Record("worker/é:1", value, 1)
        assert await store.fetch("worker/é:1") == written
        assert await store.fetch("worker/é") is None
        assert await store.fetch("WORKER/é:1") is None

    async def test_a_note_may_be_of_several_mebibytes(self, store: Store) -> None:
        value = {"base64": "A" * (4 << 20)}
        await store.put("large", value)
        written = await store.put("large", value, version=1)
        assert written == Record("large", value, 2)
        assert await store.fetch("large") == written
        await store.drop(["large"])
        assert await store.fetch("large") is None

    async def test_each_put_raises_the_version(self, store: Store) -> None:
        versions = [(await _put(store, "k", n)).version for n in range(3)]
        assert versions == [1, 2, 3]
        kept = await store.fetch("k")
        assert kept is not None
        assert kept.value == {"n": 2}

    async def test_a_note_is_put_only_over_the_version_given(self, store: Store) -> None:
        assert await store.put("k", {"n": 1}, version=1) is None, "there is none yet"
        assert await store.put("k", {"n": 2}, version=0) == Record("k", {"n": 2}, 1)
        assert await store.put("k", {"n": 3}, version=0) is None, "there is one already"
        assert await store.put("k", {"n": 4}, version=2) is None
        assert await store.fetch("k") == Record("k", {"n": 2}, 1)
        assert await store.put("k", {"n": 5}, version=1) == Record("k", {"n": 5}, 2)

    async def test_of_many_puts_over_one_version_one_is_written(self, store: Store) -> None:
        for version in range(3):
            answers = await asyncio.gather(*(store.put("k", {"n": n}, version=version) for n in range(20)))
            written = [answer for answer in answers if answer is not None]
            assert [await store.fetch("k")] == written

    async def test_of_puts_from_many_threads_over_one_version_one_is_written(self, store: Store) -> None:
        answers = await in_threads(4, lambda: store.put("k", {"n": 1}, version=0))
        assert answers.count(None) == 3

    async def test_counting_by_versions_loses_nothing(self, store: Store) -> None:
        async def count() -> None:
            for _ in range(5):
                while True:
                    now = await store.fetch("k") or Record("k", {"n": 0}, 0)
                    if await store.put("k", {"n": now.value["n"] + 1}, version=now.version) is not None:
                        break

        await asyncio.gather(*(count() for _ in range(8)))
        assert await store.fetch("k") == Record("k", {"n": 40}, 40)

    async def test_an_expired_note_is_absent(self, store: Store, clock: FakeClock) -> None:
        written = await store.put("k/1", {"n": 1}, ttl=10.5)
        assert written is not None
        assert written.expires_at == store.now() + 10.5
        await store.put("k/2", {"n": 2})
        clock.advance(10.25)
        assert await store.fetch("k/1") == written
        clock.advance(0.25)
        assert await store.fetch("k/1") is None
        assert [note.key for note in await store.scan("k/")] == ["k/2"]
        assert await store.put("k/1", {"n": 3}, version=written.version) is None
        assert await store.put("k/1", {"n": 3}, version=0) is not None, "an expired note does not exist"

    async def test_a_put_gives_the_note_a_new_expiry(self, store: Store, clock: FakeClock) -> None:
        await store.put("short", {"n": 1}, ttl=10)
        await store.put("for ever", {"n": 1}, ttl=10)
        clock.advance(5)
        await store.put("short", {"n": 2}, ttl=10)
        await store.put("for ever", {"n": 2})
        clock.advance(9)
        assert await store.fetch("short") is not None
        clock.advance(1e9)
        assert await store.fetch("short") is None
        assert await store.fetch("for ever") is not None

    async def test_notes_are_scanned_by_prefix_in_the_order_of_their_keys(self, store: Store) -> None:
        keys = ["w/b", "w/a", "w/é", "w/😀", "w/", "w/%", "w/_", "w/[a]", "w/*", "w"]
        for n, key in enumerate([*keys, "v/z", "x", "W/a", "w0"]):
            await _put(store, key, n)
        assert [note.key for note in await store.scan("w/")] == sorted(key for key in keys if key != "w")
        assert [note.key for note in await store.scan("w/%")] == ["w/%"]
        assert [note.key for note in await store.scan("w/_")] == ["w/_"]
        assert [note.key for note in await store.scan("w/[")] == ["w/[a]"]
        assert len(await store.scan("")) == len(keys) + 4
        assert await store.scan("nothing") == []

    async def test_notes_are_dropped_by_key(self, store: Store) -> None:
        for n, key in enumerate(["a", "ab", "b"]):
            await _put(store, key, n)
        await store.drop(["a", "b", "absent"])
        assert [note.key for note in await store.scan("")] == ["ab"]
        assert await store.put("a", {"n": 1}, version=0) is not None


async def _put(store: Store, key: str, n: int) -> Record:
    written = await store.put(key, {"n": n})
    assert written is not None
    return written
