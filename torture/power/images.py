"""One recording, and many power cuts within it: what is left each time is opened by the real store and examined."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import apsw

from outlast import Outlast
from outlast.errors import StoreRefused
from outlast.stores import open_store
from outlast.stores.base import Query
from torture.history import flaws
from torture.power.disk import Disk
from torture.power.facts import MOST_EVENTS, Facts
from torture.power.recording import DATABASE, SAID, Entry, record
from torture.power.workload import app as workload

GO_ON_EVERY = 100
"""Of so many images, in one a worker then brings all jobs to their end."""

ROOM = 1 << 30
"""Bytes that the images of all recordings under way may take together."""


@dataclass(slots=True)
class Found:
    """What the cuts of a recording left; `lost` and `corrupt` have a text for each bad image."""

    images: int = 0
    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Found") -> None:
        self.images += other.images
        self.lost += other.lost
        self.corrupt += other.corrupt
        self.counters.update(other.counters)


def cut(seed: int, images: int, *, durability: str = "disk", honest: bool = True) -> Found:
    """Record the workload of a seed, cut it so many times, and examine what is left."""
    with tempfile.TemporaryDirectory(prefix="outlast-recording-") as folder:
        entries = record(Path(folder), seed, durability=durability)
    with tempfile.TemporaryDirectory(prefix="outlast-images-", dir=_memory()) as folder:
        return asyncio.run(_examine(entries, Path(folder), Random(seed), images, honest))


def _memory() -> str | None:
    """A folder in memory, where there is one with room: an image lives for a moment, and nothing cuts our own power."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and shutil.disk_usage(shared).free > ROOM else None


async def _examine(entries: Sequence[Entry], folder: Path, chance: Random, images: int, honest: bool) -> Found:
    found = Found(counters=_met(entries))
    disk, facts = Disk(honest=honest), Facts()
    cuts = Counter(chance.randrange(len(entries)) for _ in range(images))
    for number, entry in enumerate(entries):
        if entry.name == SAID:
            facts.hear(entry.data.decode())
        disk.feed(entry)
        for _ in range(cuts[number]):
            await _image(disk.image(chance), folder / "image", facts, found, f"cut behind call {number}")
    return found


def _met(entries: Sequence[Entry]) -> Counter[str]:
    """What the recording went through."""
    met = Counter[str]()
    log = f"{DATABASE}-wal"
    there = frozenset[str]()
    met["processes"] = len({entry.process for entry in entries if entry.what == "e"})
    for entry in entries:
        if entry.what == "e":
            met["syncs"] += 1
            met["checkpoints"] += entry.name == DATABASE
        met["starts of the log anew"] += (entry.what, entry.name, entry.place) == ("w", log, 0) and log in there
        there = there - {entry.name} if entry.what == "u" else there | {entry.name}
    return met


async def _image(files: dict[str, bytes], folder: Path, facts: Facts, found: Found, where: str) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    found.images += 1
    found.counters["facts looked up"] += facts.count
    try:
        await _opened(folder / DATABASE, facts, found, where)
    finally:
        shutil.rmtree(folder)


async def _opened(path: Path, facts: Facts, found: Found, where: str) -> None:
    try:
        async with open_store(f"sqlite:///{path}") as store:
            missing = await facts.missing(store)
            damage = list(_damage(path))
    except (StoreRefused, apsw.Error) as error:
        missing, damage = [], [f"it cannot be used: {error}"]
    if damage:
        found.corrupt.append(f"{where}: {'; '.join(damage[:3])}")
    elif missing:
        found.lost.append(f"{where}: {'; '.join(missing[:3])}")
    elif found.images % GO_ON_EVERY == 0:
        found.counters["images a worker went on with"] += 1
        found.lost += [f"{where}, and on from there: {flaw}" for flaw in await _went_on(path)]


def _damage(path: Path) -> Iterator[str]:
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        for (line,) in connection.execute("pragma integrity_check"):
            if line != "ok":
                yield line


async def _went_on(path: Path) -> list[str]:
    """A worker takes over what it finds; what is wrong with the jobs once all have ended."""
    async with Outlast(f"sqlite:///{path}", concurrency=100, lease=1.5) as app:
        app.handlers = workload.handlers
        async with app.working():
            for _ in range(2_000):
                if all(status.ended for _, status in await app.count()):
                    break
                await asyncio.sleep(0.01)
        return [
            f"{job.id}: {flaw}"
            for short in await app.find(Query(limit=MOST_EVENTS))
            for job in [await app.get(short.id)]
            for flaw in [
                *flaws(job, await app.log(job.id), await app.steps(job.id)),
                *([] if job.ended else [f"it did not end: {job.status}"]),
            ]
        ]
