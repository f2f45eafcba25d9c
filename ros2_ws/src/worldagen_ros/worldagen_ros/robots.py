"""The robot of a deployment."""

from worldagen.kinematics import ForwardKinematics
from worldagen_ros.config import RobotConfig


def kinematics_of(robot: RobotConfig) -> ForwardKinematics:
    """Its forward kinematics; raises ConfigError for a robot, frame or pose that cannot be."""
    return ForwardKinematics(robot.urdf, robot.tool_frame, robot.base_pose, robot.tool_offset)
