"""The embedded simulator, the command node and a scripted expert: `ros2 launch worldagen_ros sim.launch.py`."""

from launch import LaunchDescription
from worldagen_ros.launching import describe


def generate_launch_description() -> LaunchDescription:
    return describe("sim")
