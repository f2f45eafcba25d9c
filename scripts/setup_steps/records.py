"""Are the installed files still what pip wrote? Judged by their sizes, which takes a second for 70 000 files.

Every installed distribution has a RECORD that lists its files with hash and size. Reading 7 GB to compare hashes would
take minutes; a process that was killed, a full disk or a power cut shows in the sizes.
"""

import csv
import os
import re
from collections import defaultdict
from pathlib import Path

from setup_steps.exports import EXPORT_SUFFIX

UNCHECKED = (".pyc", EXPORT_SUFFIX)  # rewritten by Python, and by our own step 4


def installed(site_packages: Path) -> dict[str, str]:
    """Normalised name -> version of every distribution that has metadata there."""
    found = {}
    for folder in _metadata_folders(site_packages):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        found[normalise(name)] = version
    return found


def damaged(site_packages: Path) -> dict[Path, str]:
    """The metadata folder of each distribution that is not whole -> what is wrong with it."""
    faults: dict[Path, str] = {}
    sizes: dict[str, set[int]] = defaultdict(set)  # two distributions may list one file; the later one won
    owners: dict[str, list[Path]] = defaultdict(list)
    for folder in _metadata_folders(site_packages):
        try:
            rows = _read_record(folder / "RECORD")
        except (OSError, ValueError, UnicodeDecodeError):
            faults[folder] = "its list of files is missing"
            continue
        if not (folder / "METADATA").is_file():
            faults[folder] = "its metadata are missing"
            continue
        for path, size in rows:
            sizes[path].add(size)
            owners[path].append(folder)
    base = str(site_packages)
    for path, expected in sizes.items():
        try:
            size = os.stat(f"{base}/{path}").st_size
        except OSError:
            size = -1
        if size not in expected:
            for folder in owners[path]:
                faults[folder] = f"{path} is {'missing' if size < 0 else 'cut short'}"
    return faults


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(constraints: Path) -> dict[str, str]:
    """Normalised name -> pinned version, whatever the markers say."""
    lines = (line.partition(";")[0].strip() for line in constraints.read_text().splitlines())
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {normalise(name): version for name, _, version in pairs}


def _metadata_folders(site_packages: Path) -> list[Path]:
    if not site_packages.is_dir():
        return []
    return [Path(e.path) for e in os.scandir(site_packages) if e.name.endswith(".dist-info") and not e.name.startswith("~")]


def _read_record(path: Path) -> list[tuple[str, int]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise ValueError(f"{path} is empty")
    return [(row[0], int(row[2])) for row in rows if row[2] and not row[0].endswith(UNCHECKED)]
