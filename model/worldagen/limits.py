"""What a row of a chunk may do to the commanded pose: row in, the row the robot may receive and the limits it met out.

Order: step size, speed scale, distance between target and measured pose, work space. The last word belongs to the work space.
"""

from dataclasses import dataclass

import numpy as np

from worldagen.config import setting
from worldagen.poses import Pose


@dataclass(frozen=True)
class LimitsConfig:
    """Bounds below the policy. The defaults let CALVIN's full scale pass: 0.02 m and 0.05 rad on each axis, at 30 Hz."""

    max_step_m: float = setting(0.035, "longest translation of one row, m", low=0.0, high=0.1)
    max_step_rad: float = setting(0.0875, "largest rotation of one row, rad", low=0.0, high=1.0)
    max_lead_m: float = setting(0.1, "farthest the commanded pose may be from the measured one, m", low=0.001, high=1.0)
    max_lead_rad: float = setting(0.5, "largest angle between commanded and measured pose, rad", low=0.01, high=3.0)
    workspace_low_m: tuple[float, ...] = setting((-0.6, -0.6, 0.0), "lowest x, y, z of the tool in the base frame, m")
    workspace_high_m: tuple[float, ...] = setting((0.6, 0.6, 1.2), "highest x, y, z of the tool in the base frame, m")


def limit_step(
    row: np.ndarray, target: Pose, measured: Pose, limits: LimitsConfig, speed_scale: float = 1.0
) -> tuple[Pose, tuple[str, ...]]:
    """The commanded pose after a row, inside every limit, and the names of the limits that changed it.

    row: (7,) SI, finite. target, measured: the commanded and the measured pose before the row. speed_scale: share of the step
    that is made, 0 to 1; of the limited one, so that the fastest step becomes slower too.
    """
    met = []
    # Lengths, not single axes: pulling a pose back to the measured one then never makes a step longer.
    step = np.concatenate([_shortened(row[:3], limits.max_step_m), _shortened(row[3:6], limits.max_step_rad)])
    if not np.array_equal(step, row[:6]):
        met.append("step")
    if speed_scale < 1.0:
        step = step * speed_scale
        met.append("speed")

    lead = measured.row_to(target.moved(step))
    clipped = np.concatenate([_shortened(lead[:3], limits.max_lead_m), _shortened(lead[3:], limits.max_lead_rad)])
    wanted = target.moved(step)
    if not np.array_equal(clipped, lead):
        wanted = measured.moved(clipped)
        met.append("lead")

    inside = np.clip(wanted.position, limits.workspace_low_m, limits.workspace_high_m)
    if not np.array_equal(inside, wanted.position):
        wanted = Pose(inside, wanted.quaternion)
        met.append("workspace")
    return wanted, tuple(met)


def _shortened(vector: np.ndarray, longest: float) -> np.ndarray:
    """The vector, scaled down to at most that length."""
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
