"""What every benchmark writes beside its numbers: the machine, the date and the command that made them."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from worldagen import provenance


def write_result(path: Path, numbers: dict[str, Any]) -> None:
    """Write a JSON file: numbers, and where they come from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**describe_run(), **numbers}, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")


def describe_run() -> dict[str, Any]:
    """Date, command and machine, without anything that names the machine or its user."""
    return provenance.describe_run(command_line())


def command_line() -> str:
    """The command that is running, as it is typed in the project's folder."""
    return shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
