"""`outlast serve --reload`: a child process serves, and is started again when a .py file below this folder changes.

The child gets SIGTERM, so that it hands its work back as at any deploy, and the next one goes on with it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from outlast.cli.exits import INTERRUPTED

LOOK_EVERY = 0.3
NOT_OURS = frozenset({"__pycache__", "node_modules", "site-packages"})


def supervise() -> int:
    """Until a signal; answers the exit code of the last child."""
    with _signals() as came:
        while True:
            seen = _changed_at()
            child = subprocess.Popen(_command())
            change = _watch(child, seen, came)
            code = _stop(child, came)
            if change is None:
                return code
            click.echo(f"{os.path.relpath(change)} changed; starting again", err=True)


def _command() -> list[str]:
    """This very command, without --reload."""
    return [sys.executable, *(word for word in sys.orig_argv[1:] if word != "--reload")]


def _watch(child: "subprocess.Popen[bytes]", seen: Mapping[Path, float], came: list[int]) -> Path | None:
    """The file that changed; None once a signal came. A child that ended waits for the change that mends it."""
    ended = False
    while not came:
        time.sleep(LOOK_EVERY)
        now = _changed_at()
        if now != seen:
            return next(path for path in sorted({*now, *seen}) if now.get(path) != seen.get(path))
        if child.poll() is not None and not ended:
            ended = True
            click.echo("Ended; a change of a .py file starts it again.", err=True)
    return None


def _stop(child: "subprocess.Popen[bytes]", came: list[int]) -> int:
    if child.poll() is None:
        child.terminate()
    while child.poll() is None:
        if len(came) > 1:
            child.kill()
            return INTERRUPTED
        time.sleep(0.05)
    # As a shell says that a signal ended it.
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _changed_at() -> dict[Path, float]:
    """When each .py file below this folder was changed; hidden folders, virtual environments and caches apart."""
    return {path: modified for path in _files(Path.cwd()) if (modified := _modified(path)) is not None}


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_OURS]
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        yield from (Path(place, name) for name in files if name.endswith(".py"))


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that came, so far."""
    came: list[int] = []

    def take(signum: int, frame: FrameType | None) -> None:
        came.append(signum)

    before = {one: signal.signal(one, take) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
