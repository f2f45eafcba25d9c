"""What tests of motion share: finite differences of a stream of poses, as a controller would take them."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from worldagen.poses import Pose

# Rounding: relative, and some last bits of the poses themselves (m, rad), which the ticks then divide up to three times.
RELATIVE, BITS = 1e-6, 32


def derivatives(poses: Sequence[Pose], period_s: float) -> list[list[np.ndarray]]:
    """Lengths of speed, acceleration and jerk between ticks: [translation, rotation], each [(N-1,), (N-2,), (N-3,)]."""
    positions = np.array([pose.position for pose in poses])
    turns = Rotation.from_quat(np.array([pose.quaternion for pose in poses]))
    first = [np.diff(positions, axis=0) / period_s, (turns[1:] * turns[:-1].inv()).as_rotvec() / period_s]
    return [
        [np.linalg.norm(np.diff(motion, n=order, axis=0), axis=1) / period_s**order for order in range(3)] for motion in first
    ]


def assert_within(poses: Sequence[Pose], period_s: float, limits: Sequence[Sequence[float]]) -> None:
    """limits: [[m/s, m/s2, m/s3], [rad/s, rad/s2, rad/s3]]."""
    if len(poses) < 4:
        return
    rounding = BITS * np.finfo(float).eps * max(1.0, max(np.abs(pose.position).max() for pose in poses))
    for kind, motion, allowed in zip(("translation", "rotation"), derivatives(poses, period_s), limits, strict=True):
        for order, (lengths, longest) in enumerate(zip(motion, allowed, strict=True), start=1):
            tolerance = longest * RELATIVE + rounding / period_s**order
            worst = int(lengths.argmax())
            assert lengths[worst] <= longest + tolerance, (
                f"{kind}, derivative {order}: {lengths[worst]} > {longest}, at {worst}"
            )
