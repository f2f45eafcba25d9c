"""Is there room? Said before the first download, not after the last."""

import contextlib
import os
import shutil
from pathlib import Path

from setup_steps.layout import Layout

GB = 1e9
# Measured with the pins of constraints.txt: the environment when finished plus the downloads that lie beside it meanwhile.
ENVIRONMENT_GB = 11.0
DISTRIBUTION_GB = 10.0
UPKEEP_GB = 0.3  # logs, the built workspace, one repaired package


def shortage(layout: Layout) -> str | None:
    """One line about missing room, or None."""
    needed_gb = UPKEEP_GB
    if not (layout.state / "packages.json").exists():
        whole_gb = DISTRIBUTION_GB if layout.distribution else ENVIRONMENT_GB
        needed_gb = max(needed_gb, whole_gb - size_gb(layout.venv))
    return not_enough(layout.venv, needed_gb, free_gb(layout.venv))


def not_enough(folder: Path, needed_gb: float, free_gb: float) -> str | None:
    if free_gb >= needed_gb:
        return None
    return (
        f"the disk is too full: {folder} needs {needed_gb:.1f} GB and {free_gb:.1f} GB are free; "
        "make room, or name a folder on a larger disk in WORLDAGEN_VENV"
    )


def free_gb(folder: Path) -> float:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / GB


def size_gb(folder: Path) -> float:
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
    return total / GB
