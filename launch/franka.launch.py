"""A Franka arm, played by the embedded simulator unless told otherwise: `ros2 launch worldagen_ros franka.launch.py`.

On the real arm: set:='robot.source=hardware', after reading the deployment file (config/franka.yaml).
"""

from launch import LaunchDescription
from worldagen_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    return describe("franka")
