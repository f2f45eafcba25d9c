"""Small files that are there whole or not at all, whoever dies while they are written."""

import contextlib
import errno
import os
from pathlib import Path


def write_whole(path: Path, text: str, sync: bool = False) -> None:
    """Write a text file, UTF-8, replacing what was there in one step. Raises OSError, leaving what was there.

    sync: it is on the disk when this returns, whatever becomes of the machine.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, "utf-8")
        if sync:
            sync_to_disk(aside)
        os.replace(aside, path)
        if sync:
            sync_to_disk(path.parent)
    except OSError:
        with contextlib.suppress(OSError):  # what is left of it only takes up space
            aside.unlink()
        raise


def sync_to_disk(path: Path) -> None:
    """Bring a file, or which files a folder holds, to the disk. Raises OSError."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # file systems that know no syncing of folders
            raise
    finally:
        os.close(opened)


def sync_tree(folder: Path) -> None:
    """The same for a folder with everything below it."""
    for item in folder.iterdir():
        if item.is_dir():
            sync_tree(item)
        else:
            sync_to_disk(item)
    sync_to_disk(folder)
