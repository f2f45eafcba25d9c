"""Is there room? Said before the first download, not after the last."""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from setup_steps.layout import Layout

GB = 1e9
# Measured with the pins of constraints.txt: 7.8 GB when finished, 3.6 GB of downloads that lie beside it meanwhile.
ENVIRONMENT_GB = 11.5
JETSON_GB = 3.5  # without torch and what it brings: 1.8 GB by the same packages' sizes on x86-64, downloads beside it
CACHE_GB = 4.0  # what pip keeps of the downloads in the home folder, where there is room
UPKEEP_GB = 0.3  # logs, the built workspace, one repaired package


def shortage(layout: Layout) -> str | None:
    """One line about missing room, or None."""
    needed_gb = UPKEEP_GB
    if not (layout.state / "packages.json").exists():
        needed_gb = max(needed_gb, environment_gb(layout) - size_gb(layout.venv))
    return not_enough(layout.venv, needed_gb, free_gb(layout.venv))


def environment_gb(layout: Layout) -> float:
    """What the whole environment takes while it is made."""
    return JETSON_GB if layout.jetson else ENVIRONMENT_GB


def not_enough(folder: Path, needed_gb: float, free_gb: float) -> str | None:
    if free_gb >= needed_gb:
        return None
    return (
        f"the disk is too full: {folder} needs {needed_gb:.1f} GB and {free_gb:.1f} GB are free; "
        "make room, or name a folder on a larger disk in WORLDAGEN_VENV"
    )


def room_for_cache(layout: Layout, environ: Mapping[str, str]) -> bool:
    """Whether pip may keep what it downloads; a full home folder must not spoil a set-up on a large disk."""
    cache = existing(Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/"), ".cache")))
    same_disk = cache.stat().st_dev == existing(layout.venv).stat().st_dev
    return free_gb(cache) >= CACHE_GB + (environment_gb(layout) if same_disk else 0)


def existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def free_gb(folder: Path) -> float:
    return shutil.disk_usage(existing(folder)).free / GB


def size_gb(folder: Path) -> float:
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
    return total / GB
