"""How much disk there is, and when that is too little to record."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worldagen.errors import BagError, DiskFull

MIB = 1 << 20


def free_bytes(path: Path) -> int:
    """Free for an ordinary user on the disk that holds a path, or will: the nearest folder above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError as error:
        raise BagError(f"{path}: cannot tell how much disk is free ({error.strerror or error})") from None


@dataclass(frozen=True)
class DiskGuard:
    """Keeps a floor of free bytes on the disk of a folder. free: how they are counted; tests put in their own."""

    folder: Path
    floor_bytes: int
    free: Callable[[Path], int] = free_bytes

    def check(self) -> None:
        """Raises DiskFull when less than the floor is free."""
        free = self.free(self.folder)
        if free < self.floor_bytes:
            raise DiskFull(
                f"{self.folder}: {free / MIB:.0f} MiB of disk are free; recording needs {self.floor_bytes / MIB:.0f} MiB. "
                "Free some space, choose another folder, or lower the floor"
            )
