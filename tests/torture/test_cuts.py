"""The harness that cuts the power: what it makes of a recording, and that it sees a loss where there is one."""

from pathlib import Path
from random import Random

import pytest

from torture.power.disk import SECTOR, Disk
from torture.power.images import cut
from torture.power.recording import DATABASE, RECORDED, Entry, obstacle, record

LOG = f"{DATABASE}-wal"
BEFORE, AFTER = bytes([1]) * 4 * SECTOR, bytes([2]) * 4 * SECTOR

recording = pytest.mark.skipif(obstacle() is not None, reason=obstacle() or "")


def write(data: bytes, *, name: str = LOG, place: int = 0) -> Entry:
    return Entry("w", name, place, data)


def sync(name: str = LOG, number: int = 1) -> list[Entry]:
    return [Entry("b", name, number, b""), Entry("e", name, number, b"")]


SETTLED = [write(BEFORE), *sync(), *sync("", number=2)]


def images(*entries: Entry, honest: bool = True) -> list[dict[str, bytes]]:
    disk, chance = Disk(honest=honest), Random(1)
    for entry in entries:
        disk.feed(entry)
    return [disk.image(chance) for _ in range(500)]


def test_what_was_synced_is_there_after_every_cut() -> None:
    assert all(image == {LOG: BEFORE} for image in images(*SETTLED))


def test_what_was_written_since_may_be_there_or_gone_or_torn_at_sectors() -> None:
    left = {image[LOG] for image in images(*SETTLED, write(AFTER))}
    assert {BEFORE, AFTER} < left
    sectors = {image[at : at + SECTOR] for image in left for at in range(0, len(image), SECTOR)}
    assert sectors == {BEFORE[:SECTOR], AFTER[:SECTOR]}


def test_of_two_writes_the_later_may_be_there_without_the_earlier() -> None:
    left = {image[LOG] for image in images(*SETTLED, write(b"one", place=0), write(b"two", place=SECTOR))}
    assert BEFORE[:SECTOR] + b"two" + BEFORE[SECTOR + 3 :] in left


def test_a_write_that_came_while_a_sync_was_under_way_may_be_gone() -> None:
    begin, end = sync(number=3)
    assert any(image[LOG] == BEFORE for image in images(*SETTLED, begin, write(AFTER), end))


def test_a_truncation_may_be_gone_until_it_is_synced() -> None:
    shorter = Entry("t", LOG, SECTOR, b"")
    assert {len(image[LOG]) for image in images(*SETTLED, shorter)} == {SECTOR, 4 * SECTOR}
    assert {len(image[LOG]) for image in images(*SETTLED, shorter, *sync(number=3))} == {SECTOR}


def test_a_file_is_sure_to_be_there_or_gone_once_its_folder_is_synced() -> None:
    unlinked = Entry("u", LOG, 0, b"")
    assert {len(image) for image in images(write(BEFORE), *sync())} == {0, 1}
    assert {len(image) for image in images(*SETTLED, unlinked)} == {0, 1}
    assert {len(image) for image in images(*SETTLED, unlinked, *sync("", number=3))} == {0}


def test_on_a_disk_that_lies_a_sync_makes_nothing_sure() -> None:
    assert {} in images(*SETTLED, honest=False)


@recording
def test_a_recording_replayed_is_what_the_app_left(tmp_path: Path) -> None:
    disk = Disk()
    for entry in record(tmp_path, 1, durability="disk"):
        disk.feed(entry)
    # The app closed its store, so that all of the log is in the file and synced.
    left = {disk.image(Random(seed))[DATABASE] for seed in range(20)}
    assert left == {(tmp_path / RECORDED / DATABASE).read_bytes()}


@recording
def test_no_cut_loses_what_was_acknowledged() -> None:
    found = cut(1, 40)
    assert (found.lost, found.corrupt) == ([], [])
    assert found.counters["facts looked up"] > 40


@recording
def test_without_a_sync_at_each_commit_the_loss_is_seen() -> None:
    found = cut(1, 40, durability="process")
    assert found.lost
    assert found.corrupt == []


@recording
def test_on_a_disk_that_lies_about_syncs_the_loss_is_seen() -> None:
    assert cut(1, 40, honest=False).lost
