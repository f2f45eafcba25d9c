"""A Franka arm: `ros2 launch worldagen_ros franka.launch.py`, which the embedded simulator plays unless told otherwise.

    deployment:=franka_crisp                        a real arm behind CRISP; franka_servo, franka_joint_trajectory
    robot:=franka                                   hardware in a deployment that the simulator plays
    static_camera:=/realsense/color/image_raw       the driver's topic; wrist_camera likewise
    namespace:=left checkpoint:=FOLDER set:='command.rate_hz=200'

Before a real arm moves: docs/franka.md and docs/safety.md. Without `ros2 launch`: `worldagen up franka`, with the same words.
"""

from launch import LaunchDescription
from worldagen_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    return describe("franka")
