"""Where and when it was measured."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def machine(folder: Path) -> dict[str, str]:
    """What a reader must know of the machine to make anything of absolute figures."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{os.cpu_count()} x {_cpu()}",
        "system": f"{platform.system()} {platform.machine()}",
        "disk": file_system(folder),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of file system that a folder is on, such as ext4."""
    best, kind = Path(), "unknown"
    for line in mounts.read_text("utf-8", "replace").splitlines() if mounts.exists() else ():
        before, _, after = line.partition(" - ")
        mount = Path(before.split()[4])
        if folder.resolve().is_relative_to(mount) and len(mount.parts) >= len(best.parts):
            best, kind = mount, after.split()[0]
    return kind


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
