"""The files of a checkpoint folder that can be read without torch: which folder it is, and what its numbers mean."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open

from worldagen.config import apply_tree
from worldagen.errors import CheckpointError, ConfigError
from worldagen.policy_conventions import PRESET_CONVENTIONS, PolicyConventions

WEIGHTS, CONFIG, CONVENTIONS = "model.safetensors", "config.json", "conventions.json"
Section = TypeVar("Section")


def find_checkpoint(name: str) -> Path:
    """A shipped checkpoint's name ("playtable") or the path of a folder -> the folder. Raises CheckpointError for neither."""
    path = Path(name)
    if path.is_dir():
        return path
    shipped = Path(str(files("worldagen") / "checkpoints"))
    if "/" not in name and (shipped / name).is_dir():
        return shipped / name
    names = ", ".join(sorted(folder.name for folder in shipped.glob("*") if folder.is_dir()))
    raise CheckpointError(f"there is no checkpoint {name!r}; give the path of a checkpoint folder or one of: {names or 'none'}")


def read_conventions(folder: Path) -> PolicyConventions:
    """The conventions of a checkpoint folder. Every key must be there and known; raises CheckpointError."""
    return read_section(PRESET_CONVENTIONS["calvin"], read_json(folder / CONVENTIONS), folder / CONVENTIONS)


def read_weights_header(folder: Path) -> int:
    """How many tensors a checkpoint folder holds, by the header alone and without torch. Raises CheckpointError."""
    read_json(folder / CONFIG)
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="np") as weights:
            return len(weights.keys())
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; copy or import the checkpoint again") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}); copy it again (git lfs pull?)") from None


def read_section(example: Section, tree: Any, path: Path) -> Section:
    """A section from JSON in which every leaf is given, so that no default of a later version slips in."""
    missing = _missing_keys(example, tree)
    if missing:
        raise CheckpointError(f"{path}: missing keys: {', '.join(missing)}")
    try:
        return apply_tree(example, tree, str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _missing_keys(section: Any, tree: Any, prefix: str = "") -> list[str]:
    if not isinstance(tree, Mapping):
        return [prefix.rstrip(".") or "everything"]
    missing = []
    for item in fields(section):
        value = getattr(section, item.name)
        if item.name not in tree:
            missing.append(prefix + item.name)
        elif is_dataclass(value):
            missing += _missing_keys(value, tree[item.name], f"{prefix}{item.name}.")
    return missing


def read_json(path: Path) -> dict[str, Any]:
    """The object in one of a checkpoint's JSON files. Raises CheckpointError."""
    try:
        tree = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; a checkpoint holds {WEIGHTS}, {CONFIG} and {CONVENTIONS}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: holds a {type(tree).__name__}; expected an object")
    return tree
