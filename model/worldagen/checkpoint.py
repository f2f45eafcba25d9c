"""A checkpoint is a folder: model.safetensors, config.json, conventions.json. Here it is written, read, and refused.

Everything is compared before anything is changed: names, shapes and types of all tensors from the file's header, every key
of both JSON files. A refusal lists all differences. Nothing is ever unpickled.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from worldagen.checkpoint_files import CONFIG, CONVENTIONS, WEIGHTS, read_json, read_section
from worldagen.checkpoint_files import find_checkpoint as find_checkpoint
from worldagen.checkpoint_files import read_conventions as read_conventions
from worldagen.errors import CheckpointError
from worldagen.network.config import PRESETS, NetworkConfig
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import PolicyConventions

FORMAT = "worldagen-checkpoint-1"
_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_SHOWN = 20  # differences listed in an error


def save_checkpoint(folder: Path, network: WorldAgen, conventions: PolicyConventions, notes: str = "") -> None:
    """Write a checkpoint folder; loading it gives the same bits. Raises CheckpointError if something of that name exists.

    notes: where the weights come from, for the reader. The folder appears at once, complete, or not at all.
    """
    if folder.exists():
        raise CheckpointError(f"{folder} exists; choose another folder or remove it first")
    types = {str(tensor.dtype) for tensor in network.state_dict().values()}
    if len(types) > 1:
        raise CheckpointError(f"{folder}: a checkpoint has one type, this network has {', '.join(sorted(types))}")
    config = {"format": FORMAT, "notes": notes, "dtype": _type_name(network.position.dtype), "network": asdict(network.config)}
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        aside.mkdir(parents=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        save_file(tensors, aside / WEIGHTS)
        _write_json(aside / CONFIG, config)
        _write_json(aside / CONVENTIONS, asdict(conventions))
        aside.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise CheckpointError(f"{folder}: cannot be written: {error}") from None


def load_checkpoint(folder: Path) -> tuple[WorldAgen, PolicyConventions]:
    """Build the network of a checkpoint folder, on the CPU, in the type it was saved in. Raises CheckpointError."""
    config, conventions = read_config(folder), read_conventions(folder)
    _refuse_differences(folder, config)
    with torch.random.fork_rng(devices=[]):  # the random weights are overwritten; the caller's generator stays put
        network = WorldAgen(config).to(_stored_type(folder)).eval()
    _copy_weights(folder, network)
    return network, conventions


def load_weights(folder: Path, network: WorldAgen) -> None:
    """Copy a checkpoint's weights into a network of the same configuration, or raise CheckpointError and change nothing."""
    config = read_config(folder)
    if config != network.config:
        raise CheckpointError(f"{folder} is another network:\n" + "\n".join(_differing_leaves(network.config, config)))
    _refuse_differences(folder, config)
    _copy_weights(folder, network)


def read_config(folder: Path) -> NetworkConfig:
    """The network configuration of a checkpoint folder. Every key must be there and known; raises CheckpointError."""
    tree = read_json(folder / CONFIG)
    if tree.get("format") != FORMAT:
        raise CheckpointError(f"{folder / CONFIG}: format is {tree.get('format')!r}; expected {FORMAT!r}")
    return read_section(PRESETS["calvin"], tree.get("network"), folder / CONFIG)


def read_notes(folder: Path) -> str:
    """Where the weights come from, as written by whoever saved them."""
    return str(read_json(folder / CONFIG).get("notes", ""))


def read_header(folder: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name -> (shape, type) of every tensor in a checkpoint folder, without reading the tensors."""
    with _open_weights(folder) as weights:
        slices = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118 - not a mapping
        return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}


def require_whole(folder: Path) -> None:
    """Raise CheckpointError unless configuration, conventions and the header of the weights agree."""
    read_conventions(folder)
    _refuse_differences(folder, read_config(folder))


def describe_differences(
    expected: Mapping[str, tuple[tuple[int, ...], str]], found: Mapping[str, tuple[tuple[int, ...], str]]
) -> list[str]:
    """One line per tensor that is missing, too many, or of another shape or type; both map names to (shape, type)."""
    lines = [f"missing: {name} {list(expected[name][0])}" for name in expected if name not in found]
    lines += [f"unexpected: {name} {list(found[name][0])}" for name in found if name not in expected]
    for name in expected:
        for what, wanted, given in zip(("shape", "type"), expected[name], found.get(name, expected[name]), strict=True):
            if wanted != given:
                lines.append(f"{what} of {name}: found {given}, expected {wanted}")
    return lines


def refuse(what: object, differences: list[str]) -> None:
    """Raise CheckpointError with the differences, if there are any."""
    if differences:
        shown = differences[:_SHOWN] + ([f"... and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else [])
        raise CheckpointError(f"{what} does not fit ({len(differences)} differences):\n  " + "\n  ".join(shown))


def _refuse_differences(folder: Path, config: NetworkConfig) -> None:
    """Compare the header of the weights file with the tensors the configuration asks for."""
    wanted_type = _type_name(_stored_type(folder))
    with torch.device("meta"):  # shapes only: no memory, no random numbers
        tensors = WorldAgen(config).state_dict()
    expected = {name: (tuple(tensor.shape), wanted_type) for name, tensor in tensors.items()}
    refuse(folder / WEIGHTS, describe_differences(expected, read_header(folder)))


def _copy_weights(folder: Path, network: WorldAgen) -> None:
    with _open_weights(folder) as weights, torch.no_grad():
        for name, tensor in network.state_dict().items():
            tensor.copy_(weights.get_tensor(name))


def _open_weights(folder: Path) -> Any:
    path = folder / WEIGHTS
    try:
        return safe_open(path, framework="pt", device="cpu")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; a checkpoint holds {WEIGHTS}, {CONFIG} and {CONVENTIONS}") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}); copy or import the checkpoint again") from None


def _stored_type(folder: Path) -> torch.dtype:
    name = read_json(folder / CONFIG).get("dtype")
    if name not in _TYPES:
        raise CheckpointError(f"{folder / CONFIG}: dtype is {name!r}; expected one of: {', '.join(_TYPES)}")
    return _TYPES[name]


def _type_name(dtype: torch.dtype) -> str:
    return next(name for name, known in _TYPES.items() if known == dtype)


def _differing_leaves(ours: Any, theirs: Any, prefix: str = "") -> list[str]:
    lines = []
    for item in fields(ours):
        mine, other = getattr(ours, item.name), getattr(theirs, item.name)
        if is_dataclass(mine):
            lines += _differing_leaves(mine, other, f"{prefix}{item.name}.")
        elif mine != other:
            lines.append(f"  {prefix}{item.name}: found {other!r}, expected {mine!r}")
    return lines


def _write_json(path: Path, tree: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(tree, indent=2) + "\n", "utf-8")
