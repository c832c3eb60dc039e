"""A disk whose every sync takes 1 ms longer, as a network disk's does: slow_disk.c, put before the C library."""

import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("slow_disk.c")


class NoSlowDisk(Exception):
    """It cannot be had here; the message says why."""


def compiled(folder: Path) -> Path:
    """The library to be preloaded. Raises NoSlowDisk where there is no compiler, or another system than Linux."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        raise NoSlowDisk("a slow disk needs Linux and a C compiler `cc`")
    library = folder / "slow_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
    return library
