"""What the files of a bank of places hold: prototypes and whitening as safetensors, the rest as JSON. No pickle.

Tensors are float64, named LEVEL.mean, LEVEL.variance, LEVEL.matrix; those of a prototype have a `count` beside them. In
whitening.safetensors prototypes have prefixes: base. for the base's own, known.0., known.1. for the places it was trained in.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from worldagen.errors import BankError
from worldagen.mixture.embedding import LEVELS, Embedding
from worldagen.mixture.prototypes import Prototype
from worldagen.mixture.whitening import Whitening
from worldagen.provenance import sha256_of

BASE_PREFIX, KNOWN_PREFIX = "base.", "known."
Known = Sequence[tuple[str, Prototype]]  # by name


def write_prototype(file: Path, prototype: Prototype, told: Mapping[str, str]) -> None:
    """told: what its header says besides. Raises OSError and SafetensorError."""
    save_file(_tensors_of(prototype), file, dict(told))


def read_prototype(file: Path) -> Prototype:
    """Raises BankError for a file that is not whole, or of something else."""
    return _prototype_from(_read(file), "", file)


def write_whitening(file: Path, whitening: Whitening, base: Prototype, known: Known) -> None:
    """With the base's prototypes. Raises OSError and SafetensorError."""
    tensors = _tensors_of(base, BASE_PREFIX)
    for number, (_, prototype) in enumerate(known):
        tensors.update(_tensors_of(prototype, f"{KNOWN_PREFIX}{number}."))
    for level, mean, matrix in zip(LEVELS, whitening.means, whitening.matrices, strict=True):
        tensors[f"{level}.mean"], tensors[f"{level}.matrix"] = mean, matrix
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, file)


def read_whitening(file: Path, names: Sequence[str]) -> tuple[Whitening, Prototype, Known]:
    """names: of the places that the base was trained in. Raises BankError for a file that is not whole."""
    tensors = _read(file)
    try:
        whitening = Whitening(
            tuple(tensors[f"{level}.mean"] for level in LEVELS), tuple(tensors[f"{level}.matrix"] for level in LEVELS)
        )
    except KeyError as error:
        raise BankError(f"{file}: has no tensor {error}; copy the bank again") from None
    known = [(name, _prototype_from(tensors, f"{KNOWN_PREFIX}{number}.", file)) for number, name in enumerate(names)]
    return whitening, _prototype_from(tensors, BASE_PREFIX, file), known


def read_object(file: Path, form: str, keys: Mapping[str, type | tuple[type, ...]], missing: str) -> dict[str, Any]:
    """A JSON object with these keys. missing: what to do where there is no such file. Raises BankError."""
    try:
        tree = json.loads(file.read_text("utf-8"))
        if tree["format"] != form:
            raise BankError(f"{file}: format is {tree['format']!r}; expected {form!r}, of another version perhaps")
        for key, kind in keys.items():
            if not isinstance(tree[key], kind):
                raise TypeError(f"{key} is {tree[key]!r}")
    except FileNotFoundError:
        raise BankError(f"{file}: no such file; {missing}") from None
    except NotADirectoryError:
        raise BankError(f"{file}: its folder is a file; {missing}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BankError(f"{file}: damaged ({type(error).__name__}: {error}); copy the bank again") from None
    return tree


def refuse_damage(folder: Path, digests: Mapping[str, str], remedy: str) -> None:
    """Raise BankError, by name, for a file that is not the one whose digest was written down."""
    for name, digest in digests.items():
        if Path(name).name != name:
            raise BankError(f"{folder}: names the file {name!r} outside its folder; this bank must not be used")
        try:
            found = sha256_of(folder / name)
        except OSError as error:
            raise BankError(f"{folder / name}: cannot be read ({error}); {remedy}") from None
        if found != digest:
            raise BankError(
                f"{folder / name}: damaged, its digest is {found[:12]}..., expected {str(digest)[:12]}...; {remedy}"
            )


def _tensors_of(prototype: Prototype, prefix: str = "") -> dict[str, np.ndarray]:
    tensors = {f"{prefix}count": np.array([prototype.count])}
    for level, mean, variance in zip(LEVELS, prototype.mean.levels, prototype.variance, strict=True):
        tensors[f"{prefix}{level}.mean"], tensors[f"{prefix}{level}.variance"] = mean, variance
    return tensors


def _prototype_from(tensors: Mapping[str, np.ndarray], prefix: str, file: Path) -> Prototype:
    try:
        mean = Embedding(tuple(tensors[f"{prefix}{level}.mean"] for level in LEVELS))
        variance = tuple(tensors[f"{prefix}{level}.variance"] for level in LEVELS)
        return Prototype(mean, variance, int(tensors[f"{prefix}count"][0]))
    except KeyError as error:
        raise BankError(f"{file}: has no tensor {error}; copy the bank again") from None
    except BankError as error:
        raise BankError(f"{file}: {error}") from None


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise BankError(f"{file}: not a whole safetensors file ({error}); copy the bank again") from None
