"""What a row of a chunk may do to the commanded pose: row in, the row the robot may receive and the limits it met out.

In lockstep (`limit_step`), a row at a time. Order: step size, speed scale, distance between target and measured pose, work
space. The last word belongs to the work space.

In real time, a tick at a time, a goal is moved (goal_limiting.py) and a pose follows it (smoothing.py).
"""

from dataclasses import dataclass

import numpy as np

from worldagen.config import setting
from worldagen.errors import ConfigError
from worldagen.poses import Pose

NO_BOX = (0.0,) * 6


@dataclass(frozen=True)
class LimitsConfig:
    """Bounds below the policy. The defaults let CALVIN's full scale pass: 0.02 m and 0.05 rad on each axis, at 30 Hz."""

    max_step_m: float = setting(0.035, "longest translation of one row, m", low=0.0, high=0.1)
    max_step_rad: float = setting(0.0875, "largest rotation of one row, rad", low=0.0, high=1.0)
    max_lead_m: float = setting(0.1, "farthest the commanded pose may be from the measured one, m", low=0.001, high=1.0)
    max_lead_rad: float = setting(0.5, "largest angle between commanded and measured pose, rad", low=0.01, high=3.0)
    workspace_low_m: tuple[float, ...] = setting((-0.6, -0.6, 0.0), "lowest x, y, z of the tool in the base frame, m")
    workspace_high_m: tuple[float, ...] = setting((0.6, 0.6, 1.2), "highest x, y, z of the tool in the base frame, m")
    # What follows is of real time only. Speeds: CALVIN's full scale on one axis is 0.02 m and 0.05 rad at 30 Hz, 0.6 m/s and
    # 1.5 rad/s. Accelerations: half of what Franka publishes for a Panda's tool (13 m/s2, 25 rad/s2), because a controller that
    # tracks a path needs some itself; both make windows of 0.2 s. Jerks: a tenth (6500 m/s3, 12500 rad/s3), which costs 0.02 s.
    max_speed_mps: float = setting(0.6, "realtime only: highest speed of the tool, m/s", low=0.001, high=1.7)
    max_speed_radps: float = setting(1.6, "realtime only: fastest turn of the tool, rad/s", low=0.01, high=2.5)
    max_accel_mps2: float = setting(6.0, "realtime only: highest acceleration of the tool, m/s2", low=0.1, high=13.0)
    max_accel_radps2: float = setting(16.0, "realtime only: highest angular acceleration, rad/s2", low=0.1, high=25.0)
    max_jerk_mps3: float = setting(600.0, "realtime only: highest jerk of the tool, m/s3", low=1.0, high=6500.0)
    max_jerk_radps3: float = setting(1600.0, "realtime only: highest angular jerk, rad/s3", low=1.0, high=12500.0)
    keep_out_m: tuple[float, ...] = setting(
        NO_BOX,
        "realtime only: boxes the tool may not enter, six numbers each: lowest x, y, z, highest x, y, z in the base frame, m; "
        "six zeros: none",
        repeats=True,
    )
    # Below max_lead, or an arm that does not move at all would be led by that much and never be noticed.
    max_following_m: float = setting(
        0.08, "realtime only: an arm farther from where it was sent does not follow, m; below max_lead_m", low=0.001, high=1.0
    )
    max_following_rad: float = setting(
        0.4, "realtime only: an arm turned away by more does not follow, rad; below max_lead_rad", low=0.01, high=3.0
    )
    max_following_s: float = setting(
        0.5, "realtime only: an arm that does not follow for longer is a fault, s", low=0.0, high=10.0
    )
    workspace_margin_m: float = setting(
        0.03, "realtime only: a tool measured farther outside the work space is a fault, m", low=0.0, high=0.5
    )

    def __post_init__(self) -> None:
        # Only what one field says by itself: parameters arrive one by one, so two that belong together may differ for a while.
        keep_out_boxes(self.keep_out_m)


def keep_out_boxes(numbers: tuple[float, ...]) -> np.ndarray:
    """The boxes (B, 2, 3): lowest and highest x, y, z; six zeros are none. Raises ConfigError for what is no box."""
    if len(numbers) % 6 or not np.isfinite(numbers).all():
        raise ConfigError(
            f"keep_out_m is {list(numbers)}; expected six finite numbers for each box: lowest x, y, z, highest x, y, z"
        )
    boxes = [np.reshape(numbers[start : start + 6], (2, 3)) for start in range(0, len(numbers), 6)]
    for box in boxes:
        if box.any() and not (box[0] < box[1]).all():
            raise ConfigError(
                f"keep_out_m holds the box {box.ravel().tolist()}; expected the lowest x, y, z, then the highest, each above"
            )
    return np.array([box for box in boxes if box.any()], dtype=np.float64).reshape(-1, 2, 3)


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
