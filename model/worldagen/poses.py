"""A tool pose that rows of an ActionChunk can move, without the seam that Euler angles of a downward hand sit on."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation


@dataclass(frozen=True, eq=False)
class Pose:
    """position: (3,) m; quaternion: (4,) x, y, z, w; both in the deployment's base frame."""

    position: np.ndarray
    quaternion: np.ndarray

    @staticmethod
    def from_euler(pose: np.ndarray) -> "Pose":
        """(6,) x, y, z (m), roll, pitch, yaw (rad, extrinsic x-y-z)."""
        return Pose(np.array(pose[:3], dtype=np.float64), Rotation.from_euler("xyz", pose[3:6]).as_quat())

    def moved(self, row: np.ndarray) -> "Pose":
        """Translate and turn by the first six numbers of a row (m, rad), along the base frame's axes."""
        turned = Rotation.from_rotvec(row[3:6]) * Rotation.from_quat(self.quaternion)
        return Pose(self.position + row[:3], turned.as_quat())

    def row_to(self, other: "Pose") -> np.ndarray:
        """The (6,) translation and rotation vector that move this pose onto the other: the inverse of `moved`."""
        turn = Rotation.from_quat(other.quaternion) * Rotation.from_quat(self.quaternion).inv()
        return np.concatenate([other.position - self.position, turn.as_rotvec()])


def wrap(angle_rad: float, turn_rad: float = 2 * np.pi) -> float:
    """The angle less whole turns: in [-turn / 2, turn / 2)."""
    return (angle_rad + turn_rad / 2) % turn_rad - turn_rad / 2
