"""Small files that are there whole or not at all, whoever dies while they are written."""

import contextlib
import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file, UTF-8, replacing what was there in one step. Raises OSError, leaving what was there."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, "utf-8")
        os.replace(aside, path)
    except OSError:
        with contextlib.suppress(OSError):  # what is left of it only takes up space
            aside.unlink()
        raise
