"""Commanded tool poses as joint trajectories, for arms whose controller takes no poses: one short trajectory per tick.

Each has two points: where the joints are to be, with their velocities, and where they come to rest if no other trajectory
follows. So a controller that never hears from us again brakes by itself, and one that refuses trajectories with a velocity at
their end, as joint_trajectory_controller does, takes them. docs/franka.md has the controller's side.
"""

from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from worldagen.errors import ConfigError
from worldagen.inverse import InverseConfig, InverseKinematics, JointStep
from worldagen.poses import Pose
from worldagen_ros import messages
from worldagen_ros.config import RobotConfig

DELAY_S = 0.04  # from our tick to the controller, delays of our own included: past its first point the joints would step
MAX_LEAD_RAD = 0.1  # farthest a commanded joint may be from the measured one: an arm that is held must not be wound up
MAX_GAP_S = 0.5  # after a longer pause the arm begins again from where it is measured, at rest


class TrajectoryOutput:
    """Remembers the joints it commanded last, so that what the controller hears is continuous. Not thread-safe.

    joint_names: of the arm, from the base outwards, as every trajectory has them. step: what became of the newest pose, with
    how far it was missed and why; None before the first.
    """

    def __init__(
        self, robot: RobotConfig, period_s: float, config: InverseConfig | None = None, ahead_s: float | None = None
    ) -> None:
        """period_s: between two calls of encode. ahead_s: from a pose's stamp until the joints are to be there, more than the
        message takes to the controller; a period and DELAY_S unless said.

        Raises ConfigError for a robot that cannot be, or a period or ahead_s that is not positive or shorter than a period.
        """
        self._config = config or InverseConfig()
        self._kinematics = InverseKinematics(robot.urdf, robot.tool_frame, robot.base_pose, robot.tool_offset, self._config)
        self._period_s = period_s
        self._ahead_s = period_s + DELAY_S if ahead_s is None else ahead_s
        if not 0.0 < period_s < MAX_GAP_S or not period_s <= self._ahead_s < np.inf:
            raise ConfigError(
                f"joint trajectories every {period_s} s, {self._ahead_s} s ahead; expected a period from 0 to {MAX_GAP_S} s, "
                "and no less ahead than a period"
            )
        self._arm = self._kinematics.moving
        self.joint_names = tuple(np.array(self._kinematics.joint_names)[self._arm].tolist())
        self.step: JointStep | None = None
        self._stamp_ns = 0

    def reset(self) -> None:
        """Forget what was commanded: the arm was lost, put elsewhere, or let go."""
        self.step = None

    def encode(
        self, pose: Pose, joint_names: Sequence[str], joint_positions: Sequence[float] | np.ndarray, stamp_ns: int, frame: str
    ) -> JointTrajectory:
        """The trajectory of one tick towards a tool pose, from measured joints in any order (rad).

        stamp_ns: of this tick, when the trajectory begins. frame: of the pose. Raises BadObservation for joints that are
        missing or not finite, and BadCommand for a pose that is not; both leave what was commanded before as it is.
        """
        measured = self._kinematics.ordered(joint_names, joint_positions)
        start, velocities = measured, None
        if self.step is not None and 0 <= stamp_ns - self._stamp_ns <= MAX_GAP_S * 1e9:
            start = np.clip(self.step.positions, measured - MAX_LEAD_RAD, measured + MAX_LEAD_RAD)
            velocities = self.step.velocities
        self.step = self._kinematics.step(self._kinematics.joint_names, start, pose, self._period_s, velocities)
        self._stamp_ns = stamp_ns
        return JointTrajectory(
            header=messages.header(stamp_ns, frame), joint_names=list(self.joint_names), points=self._points(self.step)
        )

    def _points(self, step: JointStep) -> list[JointTrajectoryPoint]:
        fastest = float(np.abs(step.velocities).max())
        braking_s = max(self._period_s, fastest / self._config.acceleration_radps2)
        # Braking evenly, a joint goes half as far as it would have gone.
        rest = np.clip(
            step.positions + step.velocities * braking_s / 2,
            np.minimum(self._kinematics.low, step.positions),
            np.maximum(self._kinematics.high, step.positions),
        )
        return [
            self._point(step.positions, step.velocities, self._ahead_s),
            self._point(rest, np.zeros_like(rest), self._ahead_s + braking_s),
        ]

    def _point(self, positions: np.ndarray, velocities: np.ndarray, after_s: float) -> JointTrajectoryPoint:
        sec, nanosec = divmod(round(after_s * 1e9), 1_000_000_000)
        return JointTrajectoryPoint(
            positions=positions[self._arm].tolist(),
            velocities=velocities[self._arm].tolist(),
            time_from_start=Duration(sec=sec, nanosec=nanosec),
        )
