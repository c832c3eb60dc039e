"""A recording: what a real app and its workers did to the files of a folder, call by call, and when they said what.

What they say (`say`) is a line written to a file in the same folder. So it has its place among the writes and syncs of
the store: a cut behind it is a cut after that was acknowledged.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

RECORDED = "recorded"
DATABASE = "jobs.db"
SAID = "said"
"""The file of what was acknowledged."""

HEADER = struct.Struct("<IIQQ")
SOURCE = Path(__file__).with_name("recorder.c")

What = Literal["w", "t", "u", "b", "e"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One call that came back: a write, truncation, unlink, or the beginning or end of a sync.

    `place` is a write's offset, a truncation's length, a sync's number.
    """

    what: What
    name: str
    place: int
    data: bytes

    @property
    def process(self) -> int:
        """Who made a sync."""
        return self.place >> 32


def obstacle() -> str | None:
    """Why there can be no recording on this machine; None if there can."""
    if sys.platform != "linux":
        return "only on Linux can a library be put between a process and its files"
    return None if _compiler() else "no C compiler is installed (cc); the recorder is a small C file"


def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def _compiled(folder: Path) -> Path:
    """The recorder as a library to be preloaded."""
    library = folder / "recorder.so"
    flags = ["-O2", "-Wall", "-shared", "-fPIC"]
    subprocess.run([_compiler() or "cc", *flags, "-o", library, SOURCE, "-ldl"], check=True)
    return library


def record(folder: Path, seed: int, *, durability: str) -> list[Entry]:
    """Let the workload of a seed run in a process of its own, and answer what it did to its files.

    They are in `folder / RECORDED`, as the workload left them.
    """
    kept, log = folder / RECORDED, folder / "log"
    kept.mkdir()
    env = os.environ | {
        "LD_PRELOAD": str(_compiled(folder)),
        "RECORDER_FOLDER": str(kept),
        "RECORDER_LOG": str(log),
        "WORKLOAD_STORE": f"sqlite:///{kept / DATABASE}?durability={durability}",
    }
    command = [sys.executable, "-m", "torture.power.workload", "drive", str(seed)]
    ran = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"the workload of seed {seed} ended with {ran.returncode}:\n{ran.stderr[-4000:]}")
    return list(_entries(log.read_bytes()))


def _entries(log: bytes) -> Iterator[Entry]:
    place = 0
    while place < len(log):
        what, named, where, length = HEADER.unpack_from(log, place)
        begin = place + HEADER.size
        place = begin + named + length
        yield Entry(chr(what), log[begin : begin + named].decode(), where, log[begin + named : place])  # type: ignore[arg-type]  # the recorder's own letters


def say(fact: str, *about: Any) -> None:
    """Called in the workload: this much was acknowledged. Silent where nothing is recorded."""
    folder = os.environ.get("RECORDER_FOLDER")
    if folder is not None:
        line = json.dumps([fact, *about]) + "\n"
        fd = os.open(f"{folder}/{SAID}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)
