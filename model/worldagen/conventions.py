"""How foreign numbers become ours: one table of the action and state conventions that checkpoints and simulators use.

On our side of the table everything is SI: metres, rotation vectors in radians along the axes of the base frame, gripper
opening 0 (closed) to 1 (open). Sources: mees/calvin_env robot.py (relative actions), robosuite OSC_POSE (LIBERO).

Shapes: M rows of 7 numbers.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from worldagen.errors import UnknownName


@dataclass(frozen=True)
class Convention:
    """The meaning of a checkpoint's or simulator's 7 numbers.

    rotation: "euler_increment" adds scaled numbers to the roll, pitch and yaw of the commanded pose; "rotation_vector"
        turns the commanded pose about the base axes.
    gripper_open: the number that opens the gripper; its negative closes it.
    """

    name: str
    period_s: float
    translation_scale_m: float
    rotation_scale_rad: float
    rotation: Literal["euler_increment", "rotation_vector"]
    gripper_open: float


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention("calvin", 1 / 30, 0.02, 0.05, "euler_increment", +1.0),
        Convention("libero", 1 / 20, 0.05, 0.5, "rotation_vector", -1.0),
    )
}


# Whose actions count from where the tool is, not from where it was last sent: OSC_POSE seats its goal anew with every action.
FROM_MEASURED = frozenset({"libero"})


def find_convention(name: str) -> Convention:
    """The convention of that name; raises UnknownName with the list of those that exist."""
    if name not in CONVENTIONS:
        raise UnknownName("convention", name, CONVENTIONS)
    return CONVENTIONS[name]


def decode_actions(convention: Convention, actions: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Turn foreign actions into rows of an ActionChunk: (M, 7) in [-1, 1] -> (M, 7) SI.

    orientation: (3,) roll, pitch, yaw of the commanded pose before the first row, rad; only Euler increments need it.
    """
    actions = np.asarray(actions, dtype=np.float64)
    rows = np.empty_like(actions)
    rows[:, :3] = actions[:, :3] * convention.translation_scale_m
    turns = actions[:, 3:6] * convention.rotation_scale_rad  # (M, 3)
    if convention.rotation == "euler_increment":
        path = np.asarray(orientation, dtype=np.float64) + np.concatenate([np.zeros((1, 3)), np.cumsum(turns, axis=0)])
        poses = Rotation.from_euler("xyz", path)  # M + 1 orientations
        turns = (poses[1:] * poses[:-1].inv()).as_rotvec()
    rows[:, 3:6] = turns
    rows[:, 6] = (actions[:, 6] * convention.gripper_open + 1.0) / 2.0
    return rows


def encode_actions(convention: Convention, rows: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """The inverse of decode_actions: (M, 7) SI -> (M, 7), not clipped to [-1, 1]."""
    rows = np.asarray(rows, dtype=np.float64)
    actions = np.empty_like(rows)
    actions[:, :3] = rows[:, :3] / convention.translation_scale_m
    turns = rows[:, 3:6]
    if convention.rotation == "euler_increment":
        turns = _euler_increments(turns, np.asarray(orientation, dtype=np.float64))
    actions[:, 3:6] = turns / convention.rotation_scale_rad
    actions[:, 6] = (rows[:, 6] * 2.0 - 1.0) * convention.gripper_open
    return actions


def encode_rows(convention: Convention, rows: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """As encode_actions, for rows that each begin at an orientation of their own: (N, 7) SI, (N, 3) rad -> (N, 7)."""
    rows, orientations = np.asarray(rows, dtype=np.float64), np.asarray(orientations, dtype=np.float64)
    actions = np.empty_like(rows)
    actions[:, :3] = rows[:, :3] / convention.translation_scale_m
    turns = rows[:, 3:6]
    if convention.rotation == "euler_increment":
        after = (Rotation.from_rotvec(turns) * Rotation.from_euler("xyz", orientations)).as_euler("xyz")
        turns = (after - orientations + np.pi) % (2 * np.pi) - np.pi
    actions[:, 3:6] = turns / convention.rotation_scale_rad
    actions[:, 6] = (rows[:, 6] * 2.0 - 1.0) * convention.gripper_open
    return actions


def encode_state(convention: Convention, state: np.ndarray) -> np.ndarray:
    """Our (7,) state -> the checkpoint's: the pose as it is, the gripper as the number that was last commanded."""
    encoded = np.array(state, dtype=np.float64)
    encoded[6] = (encoded[6] * 2.0 - 1.0) * convention.gripper_open
    return encoded


def _euler_increments(turns: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Rotation vectors along the base axes (M, 3) -> increments of roll, pitch, yaw (M, 3), each wrapped to [-pi, pi)."""
    increments = np.empty_like(turns)
    pose = Rotation.from_euler("xyz", orientation)
    before = pose.as_euler("xyz")
    for index, turn in enumerate(turns):
        pose = Rotation.from_rotvec(turn) * pose
        after = pose.as_euler("xyz")
        increments[index] = (after - before + np.pi) % (2 * np.pi) - np.pi
        before = after
    return increments
