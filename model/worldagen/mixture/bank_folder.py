"""The folder of a bank of places, changed so that it is whole at any moment: written aside, synced, renamed.

    BANK/bank.json                 what it belongs to, what it was calibrated on, the bound of abstention
    BANK/whitening.safetensors     the whitening, and the prototypes of the base
    BANK/places/NAME/0001/         an adapter's files, prototypes.safetensors, and place.json with the digests of all of them
    BANK/places/NAME/current       which version counts: the one thing that changes

Whoever dies in a change leaves the bank as it was, or changed, and perhaps a hidden file that the next change clears away. One
process changes a bank at a time; the others wait.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from worldagen.errors import BankError
from worldagen.mixture.bank_files import read_object
from worldagen.whole_files import sync_to_disk, sync_tree, write_whole

BANK, WHITENING, PLACES, CURRENT, LOCK = "bank.json", "whitening.safetensors", "places", "current", ".lock"
FORMAT = "worldagen-bank-1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HEAD_KEYS = {
    "base": str, "encoder": str, "definition": str, "backbone": dict, "checkpoint": str, "least": float,
    "lora": (dict, type(None)), "files": dict, "calibration": dict,
}  # fmt: skip
REMEDY = "copy the bank again, or remove this place (worldagen bank remove)"
Fill = Callable[[Path], None]  # writes files into a folder


def create_folder(folder: Path, fill: Callable[[Path], Mapping[str, Any]]) -> None:
    """Make the folder of a bank without places. fill: writes what is beside bank.json, and returns what that says.

    Raises BankError, leaving nothing, when it exists or cannot be written.
    """
    if folder.exists():
        raise BankError(f"{folder} exists; give another folder, or remove it first")
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        (aside / PLACES).mkdir(parents=True)
        head = {"format": FORMAT, **fill(aside)}
        (aside / BANK).write_text(json.dumps(head, indent=1) + "\n", "utf-8")
        sync_tree(aside)
        aside.rename(folder)
        sync_to_disk(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise BankError(f"{folder}: the bank cannot be written: {error}; nothing of it was kept") from None


class BankFolder:
    """One that exists. head: bank.json as it was read last."""

    def __init__(self, path: Path) -> None:
        """Raises BankError for what is no bank."""
        self.path = path
        self.head: dict[str, Any] = {}
        self._read_head()

    def names(self) -> list[str]:
        """Of the places there are, sorted."""
        folder = self.path / PLACES
        try:
            return sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
        except OSError as error:
            raise BankError(f"{folder}: cannot be read ({error}); copy the bank again") from None

    def version_of(self, name: str) -> Path:
        """The folder of the version of a place that counts. Raises BankError."""
        file = self.path / PLACES / name / CURRENT
        try:
            version = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BankError(f"{file}: cannot be read ({error}); {REMEDY}") from None
        if not NAME.fullmatch(version) or not (file.parent / version).is_dir():
            there = ", ".join(_versions(file.parent)) or "none"
            raise BankError(f"{file}: names the version {version[:20]!r}; there are: {there}. Write one of these into it")
        return file.parent / version

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Alone in the bank, on what is there now, without what somebody left who was killed. Raises BankError, as it was."""
        try:
            with (self.path / LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._read_head()
                for pattern in (".*", f"{PLACES}/.*", f"{PLACES}/*/.*"):
                    for left in self.path.glob(pattern):
                        if left.name != LOCK:
                            shutil.rmtree(left) if left.is_dir() else left.unlink()
                yield
        except (OSError, SafetensorError) as error:
            raise BankError(f"{self.path}: cannot be written: {error}; the bank is as it was") from None

    def next_version(self, name: str) -> str:
        """ "0001" for a place that is not there."""
        return f"{max((int(there) for there in _versions(self.path / PLACES / name)), default=0) + 1:04d}"

    def add_version(self, name: str, lora: Mapping[str, Any], fill: Fill) -> None:
        """The next version of a place, or a place, which counts from now on. lora: the form of the bank's adapters.

        Raises what fill raises, or OSError, leaving the bank as it was.
        """
        place, version = self.path / PLACES / name, self.next_version(name)
        if place.exists():
            self._swap(place, version, fill)
        else:
            self._appear(place, version, lora, fill)

    def drop(self, name: str) -> None:
        """Take a place out with all its versions. Raises OSError."""
        place = self.path / PLACES / name
        aside = place.with_name(f".{name}.{os.getpid()}")
        place.rename(aside)
        sync_to_disk(aside.parent)
        shutil.rmtree(aside, ignore_errors=True)  # what is left of it is cleared away later

    def _appear(self, place: Path, version: str, lora: Mapping[str, Any], fill: Fill) -> None:
        aside, before = place.with_name(f".{place.name}.{os.getpid()}"), self.head
        try:
            (aside / version).mkdir(parents=True)
            fill(aside / version)
            (aside / CURRENT).write_text(f"{version}\n", "utf-8")
            sync_tree(aside)
            self._write_head({**before, "lora": dict(lora)})  # before the place: without one it binds nobody
            aside.rename(place)
            sync_to_disk(place.parent)
        except BaseException:
            with suppress(OSError):
                self._write_head(before)
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def _swap(self, place: Path, version: str, fill: Fill) -> None:
        aside = place / f".{version}.{os.getpid()}"
        try:
            aside.mkdir()
            fill(aside)
            sync_tree(aside)
            aside.rename(place / version)
            sync_to_disk(place)
            write_whole(place / CURRENT, f"{version}\n", sync=True)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            if (place / CURRENT).read_text("utf-8").strip() != version:
                shutil.rmtree(place / version, ignore_errors=True)
            raise

    def _read_head(self) -> None:
        file = self.path / BANK
        self.head = read_object(file, FORMAT, HEAD_KEYS, "give the folder of a bank, or make one (worldagen bank create)")
        if not -1.0 <= self.head["least"] <= 1.0:
            raise BankError(f"{file}: least is {self.head['least']}; expected a cosine, -1 to 1")

    def _write_head(self, head: dict[str, Any]) -> None:
        if head != self.head:
            write_whole(self.path / BANK, json.dumps(head, indent=1) + "\n", sync=True)
            self.head = head


def _versions(place: Path) -> list[str]:
    return sorted(item.name for item in place.glob("[0-9]*") if item.name.isdecimal())
