"""LIBERO's stored initial states, from the files it ships, without unpickling anything.

A file is a zip around one pickled float64 array (R, N), R states of N numbers. All 130 of hf-libero 0.1.4 hold the very same
sequence of pickle instructions but for the shape and the bytes. So the instructions are listed, never run, and compared with
that sequence: whatever else a file would make Python do is a difference, and a difference is refused.
"""

import pickletools
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldagen.errors import SimulatorError

ROWS, NUMBERS, BYTES = "the number of rows", "of numbers", "the bytes, as latin1 text"
LAYOUT = (
    *("GLOBAL numpy.core.multiarray _reconstruct", "GLOBAL numpy ndarray", "BININT1 0", "TUPLE1"),
    *("GLOBAL _codecs encode", "BINUNICODE b", "BINUNICODE latin1", "TUPLE2", "REDUCE", "TUPLE3", "REDUCE"),
    *("MARK", "BININT1 1", ROWS, NUMBERS, "TUPLE2"),
    *("GLOBAL numpy dtype", "BINUNICODE f8", "NEWFALSE", "NEWTRUE", "TUPLE3", "REDUCE"),
    *("MARK", "BININT1 3", "BINUNICODE <", "NONE", "NONE", "NONE", "BININT -1", "BININT -1", "BININT1 0", "TUPLE", "BUILD"),
    *("NEWFALSE", "BINGET 3", BYTES, "BINGET 5", "TUPLE2", "REDUCE", "TUPLE", "BUILD", "STOP"),
)
KINDS = {ROWS: ("BININT1", "BININT2", "BININT"), NUMBERS: ("BININT1", "BININT2", "BININT"), BYTES: ("BINUNICODE",)}
UNTOLD = ("PROTO", "BINPUT")  # they compute nothing


def read_initial_states(path: Path) -> np.ndarray:
    """(R, N) float64: each row a flattened MuJoCo state, time, positions, velocities. Raises SimulatorError."""
    try:
        with zipfile.ZipFile(path) as archive:
            body = archive.read("archive/data.pkl")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SimulatorError(f"the initial states in {path} cannot be read: {error}") from None
    try:
        told = [(code.name, argument) for code, argument, _ in pickletools.genops(body) if code.name not in UNTOLD]
        return _array_of(told)
    except ValueError as error:
        raise SimulatorError(f"{path} holds no initial states as LIBERO stores them: {error}") from None


def _array_of(told: Sequence[tuple[str, object]]) -> np.ndarray:
    """Raises ValueError at the first instruction that is not the expected one."""
    found: dict[str, object] = {}
    if len(told) != len(LAYOUT):
        raise ValueError(f"{len(told)} instructions, expected {len(LAYOUT)}")
    for (name, argument), expected in zip(told, LAYOUT, strict=True):
        if expected in KINDS and name in KINDS[expected]:
            found[expected] = argument
            continue
        instruction = name if argument is None else f"{name} {argument}"
        if instruction.replace("numpy._core", "numpy.core") != expected:  # numpy 2 calls the place _core
            raise ValueError(f"{instruction[:80]!r}, expected {expected!r}")
    rows, numbers, text = int(str(found[ROWS])), int(str(found[NUMBERS])), str(found[BYTES])
    numbers_read = np.frombuffer(text.encode("latin1"), "<f8")
    if rows < 1 or numbers < 1 or numbers_read.size != rows * numbers or not np.isfinite(numbers_read).all():
        raise ValueError(f"{numbers_read.size} finite or other numbers, expected {rows} rows of {numbers}, all finite")
    return numbers_read.reshape(rows, numbers)
