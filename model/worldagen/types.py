"""The values that cross every boundary: frozen, SI units, shapes stated once.

Shapes: H x W pixels, M rows in a chunk. Poses are 6 numbers: x, y, z in metres and roll, pitch, yaw in radians, extrinsic
x-y-z (`scipy.spatial.transform.Rotation.from_euler("xyz", ...)`), in the frame the deployment names.
"""

from dataclasses import dataclass, field

import numpy as np

from worldagen.errors import BadChunk, BadObservation

STATE_LENGTH = 7  # TCP pose (6) and the last commanded gripper opening
ROW_LENGTH = 7  # translation (3), rotation vector (3), gripper opening


def _frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view, so that the caller's own array keeps its flags."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Observation:
    """What the robot sees and feels at one instant.

    stamp_ns: capture time in nanoseconds of the ROS (or simulation) clock.
    static_image, wrist_image: (H, W, 3) uint8, RGB, upright.
    state: (7,) float64; TCP pose (m, rad) and the last commanded gripper opening (0 closed .. 1 open).
    """

    stamp_ns: int
    static_image: np.ndarray
    wrist_image: np.ndarray
    state: np.ndarray

    def __post_init__(self) -> None:
        for name in ("static_image", "wrist_image"):
            image = np.asarray(getattr(self, name))
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise BadObservation(
                    f"{name} has shape {image.shape} and type {image.dtype}; expected (height, width, 3) uint8 RGB"
                )
            object.__setattr__(self, name, _frozen(image))
        state = np.asarray(self.state, dtype=np.float64)
        if state.shape != (STATE_LENGTH,):
            raise BadObservation(f"state has shape {state.shape}; expected ({STATE_LENGTH},): TCP pose and gripper opening")
        if not np.isfinite(state).all():
            raise BadObservation(f"state holds numbers that are not finite: {state.tolist()}")
        object.__setattr__(self, "state", _frozen(state))


@dataclass(frozen=True, eq=False)
class ActionChunk:
    """Some rows of end-effector motion, one per control period, that answer one observation.

    stamp_ns: stamp of the newest observation the chunk answers.
    sequence: counts the chunks of one policy since its last reset, from 0.
    period_s: duration of one row in seconds.
    convention: name of the checkpoint's convention the rows were converted from, for the reader; rows are SI already.
    adapter: identifier of the active adapter, "" for the base.
    rows: (M, 7) float64; translation in metres and rotation vector in radians, both relative to the commanded pose and
        along the axes of the base frame, then gripper opening (0 closed .. 1 open).
    inference_s: from the complete observation to the finished chunk. preprocess_s, encode_s: parts of it, in the order in which
        they come: pictures become the network's numbers, then tokens; what is left is the backbone's. 0 where there is no such
        part.
    clean_rows: (M, 7) or None; of a demonstrator whose rows are disturbed on purpose: what it would have done undisturbed.
    """

    stamp_ns: int
    sequence: int
    period_s: float
    convention: str
    rows: np.ndarray
    adapter: str = ""
    inference_s: float = field(default=0.0)
    clean_rows: np.ndarray | None = None
    preprocess_s: float = field(default=0.0)
    encode_s: float = field(default=0.0)

    def __post_init__(self) -> None:
        rows = np.asarray(self.rows, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != ROW_LENGTH or len(rows) == 0:
            raise BadChunk(f"chunk rows have shape {rows.shape}; expected (rows >= 1, {ROW_LENGTH})")
        if not np.isfinite(rows).all():
            row, column = np.argwhere(~np.isfinite(rows))[0]
            raise BadChunk(
                f"chunk {self.sequence} holds {rows[row, column]} in row {row}, column {column}; expected finite numbers"
            )
        if not self.period_s > 0:
            raise BadChunk(f"chunk {self.sequence} has a row period of {self.period_s} s; expected a positive number")
        object.__setattr__(self, "rows", _frozen(rows))
        if self.clean_rows is not None:
            object.__setattr__(self, "clean_rows", _frozen(self.clean_rows))
