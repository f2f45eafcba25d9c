"""What the command node says to the robot: the commanded motion, in the way its controller takes it, and the gripper."""

from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.duration import Duration
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from worldagen.poses import Pose
from worldagen_msgs.msg import GripperCommand
from worldagen_ros import messages, qos, topics
from worldagen_ros.config import RobotConfig
from worldagen_ros.trajectory_output import TrajectoryOutput

LAST_WORDS_S = 0.2  # so long the last message may take to be acknowledged
KINDS: dict[str, tuple[Any, str]] = {
    "target_pose": (PoseStamped, topics.TARGET_POSE),
    "delta_twist": (TwistStamped, topics.DELTA_TWIST),
    "joint_trajectory": (JointTrajectory, topics.JOINT_TRAJECTORY),
}


class AnyCommand(Protocol):
    """One tick's command: lockstep's or real time's."""

    @property
    def pose(self) -> Pose: ...
    @property
    def motion(self) -> np.ndarray: ...
    @property
    def opening(self) -> float: ...


class CommandOutputs:
    """Publishers of the command node. period_s: of one command; lifespan_s: after which it must be dead, None in lockstep."""

    def __init__(self, node: Node, interface: str, robot: RobotConfig, period_s: float, lifespan_s: float | None) -> None:
        self._frame_id, self._interface, self._period_s = robot.frame_id, interface, period_s
        kind, topic = KINDS[interface]
        self._trajectory = TrajectoryOutput(robot, period_s) if interface == "joint_trajectory" else None
        self.motion = node.create_publisher(kind, topic, qos.commands(lifespan_s))
        self.gripper = node.create_publisher(GripperCommand, topics.GRIPPER_COMMAND, qos.commands(lifespan_s))

    def send(self, command: AnyCommand, stamp_ns: int, joints: tuple[Any, Any], period_s: float | None = None) -> None:
        """joints: names and positions, as measured; period_s: of this command, where it is another than usual."""
        if self._trajectory is not None:
            self.motion.publish(self._trajectory.encode(command.pose, *joints, stamp_ns, self._frame_id))
        else:
            twist, period_s = self._interface == "delta_twist", period_s or self._period_s
            told = messages.encode_motion(command.pose, command.motion, twist, period_s, stamp_ns, self._frame_id)
            self.motion.publish(told)
        self.gripper.publish(messages.encode_gripper(command.opening, stamp_ns, self._frame_id))

    def forget(self) -> None:
        """The arm was lost, or put elsewhere: what comes next does not continue what was sent before."""
        if self._trajectory is not None:
            self._trajectory.reset()

    def stand_still(self, stamp_ns: int) -> None:
        """Said when no pose is being commanded: where velocities are, none."""
        if self._interface == "delta_twist":
            self.motion.publish(messages.encode_twist(np.zeros(6), self._period_s, stamp_ns, self._frame_id))

    def finish(self) -> None:
        """Wait until the last message has arrived: its publisher is about to be destroyed."""
        self.motion.wait_for_all_acked(Duration(seconds=LAST_WORDS_S))
