"""The robot of a deployment."""

from worldagen.kinematics import ForwardKinematics
from worldagen.markers import Arm, draw_bounds
from worldagen.scenery import Scenery
from worldagen_ros.config import CommandConfig, ExploreConfig, RobotConfig


def kinematics_of(robot: RobotConfig) -> ForwardKinematics:
    """Its forward kinematics; raises ConfigError for a robot, frame or pose that cannot be."""
    return ForwardKinematics(robot.urdf, robot.tool_frame, robot.base_pose, robot.tool_offset)


def scenery_of(robot: RobotConfig, command: CommandConfig, explore: ExploreConfig) -> Scenery:
    """What is drawn of it and of where it may go; raises ConfigError as above."""
    bounds = draw_bounds(command.limits, explore.envelope if explore.enabled else None)
    return Scenery(kinematics_of(robot), Arm(robot.urdf, robot.tool_frame, robot.base_pose), bounds, robot.frame_id)
