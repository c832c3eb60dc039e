"""What a power cut may leave of the files: pure, and as unkind as a disk may be.

Of a file, what was written before its last sync began is there. Of the writes and truncations since, each may be there,
be gone, or be there in part, sector by sector, in any combination. Files appear and vanish in the order in which they
were created and unlinked, which is sure once their folder was synced.
"""

from collections import deque
from itertools import islice
from random import Random

from torture.power.recording import DATABASE, Entry

SECTOR = 512
FOLDER = ""
FILES = {FOLDER, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-journal"}
"""What outlives a cut; the shared memory beside them (`-shm`) does not."""


class File:
    """One file, whatever it is called: what is sure of it, and what is not yet."""

    def __init__(self) -> None:
        self.sure = bytearray()
        self.unsure: deque[Entry] = deque()
        self._settled = 0

    @property
    def mark(self) -> int:
        """How many changes there were so far."""
        return self._settled + len(self.unsure)

    def settle(self, mark: int) -> None:
        """All changes before this mark are on the disk."""
        while self._settled < mark:
            _change(self.sure, self.unsure.popleft())
            self._settled += 1

    def image(self, chance: Random, keep: float, tear: float) -> bytes:
        """What is left after a cut: each unsure change with the chance `keep`, or with `tear` in part."""
        if not self.unsure:
            return bytes(self.sure)
        content = bytearray(self.sure)
        for entry in self.unsure:
            draw = chance.random()
            if entry.what == "w" and draw < tear:
                _tear(content, entry, chance)
            elif draw < tear + (1 - tear) * keep:
                _change(content, entry)
        return bytes(content)


class Disk:
    """Files as a recording leaves them, entry by entry.

    Parameters
    ----------
    honest: False for a disk that answers a sync and does nothing, as with `synchronous=OFF`.
    """

    def __init__(self, *, honest: bool = True) -> None:
        self._honest = honest
        self._named: dict[str, File] = {}
        self._sure_names: dict[str, File] = {}
        self._unsure_names: deque[tuple[str, File | None]] = deque()
        self._settled_names = 0
        self._begun: dict[int, tuple[File | None, int]] = {}

    def feed(self, entry: Entry) -> None:
        """One more call came back."""
        if entry.name not in FILES:
            return
        match entry.what:
            case "w" | "t":
                self._file(entry.name).unsure.append(entry)
            case "u":
                self._named.pop(entry.name, None)
                self._unsure_names.append((entry.name, None))
            case "b" if self._honest and entry.name == FOLDER:
                self._begun[entry.place] = None, self._settled_names + len(self._unsure_names)
            case "b" if self._honest:
                file = self._file(entry.name)
                self._begun[entry.place] = file, file.mark
            case "e" if self._honest:
                self._synced(*self._begun.pop(entry.place))
            case _:
                pass

    def image(self, chance: Random) -> dict[str, bytes]:
        """The files after a cut at this moment."""
        keep = chance.choice((0.0, 1.0, chance.random(), chance.random()))
        tear = chance.choice((0.0, chance.random() / 2))
        names = dict(self._sure_names)
        for name, file in islice(self._unsure_names, chance.randint(0, len(self._unsure_names))):
            _rename(names, name, file)
        return {name: file.image(chance, keep, tear) for name, file in names.items()}

    def _file(self, name: str) -> File:
        if name not in self._named:
            self._named[name] = File()
            self._unsure_names.append((name, self._named[name]))
        return self._named[name]

    def _synced(self, file: File | None, mark: int) -> None:
        if file is not None:
            file.settle(mark)
            return
        while self._settled_names < mark:
            _rename(self._sure_names, *self._unsure_names.popleft())
            self._settled_names += 1


def _rename(names: dict[str, File], name: str, file: File | None) -> None:
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file


def _change(content: bytearray, entry: Entry) -> None:
    if entry.what == "t":
        _resize(content, entry.place)
    else:
        _put(content, entry.place, entry.data)


def _tear(content: bytearray, entry: Entry, chance: Random) -> None:
    begin, end = entry.place, entry.place + len(entry.data)
    for sector in range(begin - begin % SECTOR, end, SECTOR):
        first, last = max(sector, begin), min(sector + SECTOR, end)
        if chance.random() < 0.5:
            _put(content, first, entry.data[first - begin : last - begin])


def _put(content: bytearray, place: int, data: bytes) -> None:
    if place > len(content):
        _resize(content, place)
    content[place : place + len(data)] = data


def _resize(content: bytearray, length: int) -> None:
    content.extend(bytes(max(length - len(content), 0)))
    del content[length:]
