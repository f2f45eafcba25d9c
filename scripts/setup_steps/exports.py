"""Step 4: the one repair that the ROS wheels need before anything can be built against them.

Their exported CMake files name include folders of the machine that built the wheels, and CMake refuses a folder that
does not exist. Nobody needs these entries (the message generator finds Python and NumPy by itself), so they go.
Reinstalling a wheel brings them back, hence the check on every run.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setup_steps.layout import Layout
from setup_steps.progress import Progress

EXPORT_SUFFIX = "__rosidl_generator_pyExport.cmake"
INCLUDES = re.compile(r'(INTERFACE_INCLUDE_DIRECTORIES\s+)"([^"]*)"')


def repaired(text: str) -> str:
    """The same CMake file without include folders that do not exist here."""
    return INCLUDES.sub(_keep_existing, text)


def _keep_existing(match: re.Match[str]) -> str:
    kept = [entry for entry in match[2].split(";") if entry and ("$" in entry or Path(entry).is_dir())]
    return f'{match[1]}"{";".join(kept)}"'


class RepairExports:
    name = "wheels"
    stamp: Path | None = None  # the files themselves show whether they were repaired

    def __init__(self, layout: Layout, environ: Mapping[str, str]) -> None:
        self.layout = layout
        self.files: list[Path] = []

    def fingerprint(self) -> str:
        return ""

    def faults(self, record: dict[str, Any]) -> list[str]:
        if self.layout.distribution:
            return []
        self.files = sorted(Path(self.layout.venv, "share").glob(f"*/cmake/*{EXPORT_SUFFIX}"))
        broken = [file for file in self.files if repaired(file.read_text()) != file.read_text()]
        return [f"{len(broken)} CMake files of the ROS wheels name folders of another machine"] if broken else []

    def work(self, progress: Progress) -> None:
        for file in self.files:
            # Written anew and renamed: pip may have hard-linked it, and a cut file would look repaired.
            draft = file.with_suffix(".draft")
            draft.write_text(repaired(file.read_text()))
            draft.replace(file)

    def record(self) -> dict[str, Any]:
        return {}

    def summary(self) -> str:
        if self.layout.distribution:
            return "none, ROS comes from the distribution"
        return f"{len(self.files)} CMake files fit this machine"
