"""The way home in small rows: where the tool is and where it should be in, the next rows of a chunk out."""

import numpy as np

from worldagen.poses import Pose

STANDING_ROWS = 6  # of a chunk that stands still; a shorter one would be refused when it comes late
NEARING = 0.1  # share of what is left that one row may go: the arm lags behind, and would overshoot


def is_home(pose: Pose, home: Pose, tolerance_m: float, tolerance_rad: float) -> bool:
    """Whether a pose is home, within both tolerances."""
    way = pose.row_to(home)
    return bool(np.linalg.norm(way[:3]) <= tolerance_m and np.linalg.norm(way[3:]) <= tolerance_rad)


def rows_home(pose: Pose, home: Pose, step_m: float, step_rad: float, opening: float, count: int) -> np.ndarray:
    """(count, 7) equal rows straight toward home, no longer than a step, shorter near the goal. opening: of the gripper."""
    way = pose.row_to(home)
    row = np.concatenate([_shortened(way[:3] * NEARING, step_m), _shortened(way[3:] * NEARING, step_rad), [opening]])
    return np.tile(row, (count, 1))


def rows_standing(opening: float) -> np.ndarray:
    """(STANDING_ROWS, 7) rows in which nothing moves. opening: of the gripper."""
    return np.tile(np.append(np.zeros(6), opening), (STANDING_ROWS, 1))


def _shortened(vector: np.ndarray, longest: float) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
