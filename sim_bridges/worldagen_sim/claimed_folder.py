"""A folder that belongs to one request: a file in it says which, and whoever asks for something else is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldagen.errors import WorldAgenError
from worldagen.whole_files import write_whole


def claim_folder(folder: Path, name: str, asked: Mapping[str, Any], kind: str, refusal: type[WorldAgenError]) -> None:
    """Begin or go on with what was asked for, told in the file `name`. kind: what such a folder is called, "recording".

    Raises the refusal, changing nothing, with every difference for another request, and for a folder that holds anything else.
    """
    asked, file = json.loads(json.dumps(asked)), folder / name
    if file.exists():
        wanted, found = _leaves(asked), _leaves(json.loads(file.read_text(encoding="utf-8")))
        differing = [f"{key} {found.get(key)!r} instead of {wanted[key]!r}" for key in wanted if found.get(key) != wanted[key]]
        if differing:
            raise refusal(
                f"{folder} holds another {kind}: {'; '.join(differing)}. Ask for the same to go on with it, or give another "
                "folder"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise refusal(f"{folder} is not empty and holds no {kind}; give another folder. Nothing in it was changed")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, asked)


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    write_whole(file, json.dumps(values, indent=1) + "\n")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves.update(_leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return leaves
