"""What sources of other people's recordings share: the state of their files, and their numbers as ours.

Shapes: T instants of an episode.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from worldagen.conventions import Convention, decode_actions
from worldagen.errors import BadEpisode
from worldagen.types import ROW_LENGTH


def fingerprint_files(files: Iterable[Path]) -> str:
    """Digest of names, sizes and times; a file that is missing counts as such."""
    digest = hashlib.sha256()
    for file in files:
        try:
            status = file.stat()
            digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{file}\0missing\n".encode())
    return digest.hexdigest()


def require_numbers(where: str, what: str, numbers: object, width: int) -> np.ndarray:
    """The numbers as (T, width) float64. Raises BadEpisode for another shape and for NaN, which would spread to other rows."""
    try:
        found = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadEpisode(f"{where}: {what} are no table of numbers; expected rows of {width}") from None
    if found.ndim != 2 or found.shape[1] != width:
        raise BadEpisode(f"{where}: {what} have shape {found.shape}; expected rows of {width}")
    if not np.isfinite(found).all():
        row, column = np.argwhere(~np.isfinite(found))[0]
        raise BadEpisode(f"{where}: {what} hold {found[row, column]} in row {row}, column {column}; expected finite numbers")
    return found


def decode_openings(where: str, convention: Convention, numbers: np.ndarray) -> np.ndarray:
    """Gripper numbers (T,) -> openings, 0 closed to 1 open. Raises BadEpisode beyond fully open or closed."""
    openings = (numbers * convention.gripper_open + 1.0) / 2.0
    beyond = np.flatnonzero(np.abs(numbers) > 1.0 + 1e-3)
    if len(beyond):
        raise BadEpisode(f"{where}: the gripper's number is {numbers[beyond[0]]:g} in row {beyond[0]}; expected -1 to 1")
    return np.clip(openings, 0.0, 1.0)


def decode_each(where: str, convention: Convention, actions: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Actions (T, 7) as recorded, each relative to its own orientation (T, 3; roll, pitch, yaw, rad) -> (T, 7) SI rows.

    Not one path from the first orientation: recorded increments start from the measured pose, which lags behind what was
    commanded, so their sum runs far ahead of the arm.
    """
    rows = np.empty((len(actions), ROW_LENGTH))
    for index, (action, orientation) in enumerate(zip(actions, orientations, strict=True)):
        rows[index] = decode_actions(convention, action[None], orientation)[0]
    rows[:, 6] = decode_openings(where, convention, actions[:, 6])
    return rows


def require_picture(where: str, what: str, picture: np.ndarray) -> np.ndarray:
    """The picture itself. Raises BadEpisode unless it is (H, W, 3) uint8."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise BadEpisode(f"{where}: {what} has shape {picture.shape} and type {picture.dtype}; expected (H, W, 3) uint8")
    return picture
