"""The launch files start the same nodes as `worldagen up`, and the loop closes under them."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
FILES = sorted(path.name for path in LAUNCH.glob("*.launch.py"))

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2: run scripts/test, or source scripts/activate first")
pytest.importorskip("launch_ros", reason="needs launch_ros from a ROS distribution; it is not published as a wheel")

from launch_ros.actions import Node  # noqa: E402

import launch  # noqa: E402
from worldagen_msgs.msg import TaskState  # noqa: E402
from worldagen_ros.client import StackClient  # noqa: E402
from worldagen_ros.config import load_deployment  # noqa: E402
from worldagen_ros.specs import nodes_of  # noqa: E402

# What `ros2 launch` does with a file and its arguments; the command itself belongs to another package.
SERVICE = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

file, *arguments = sys.argv[1:]
pairs = [argument.split(":=", 1) for argument in arguments]
service = LaunchService()
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(PythonLaunchDescriptionSource(file), launch_arguments=pairs)])
)
sys.exit(service.run())
"""


def description(file: str) -> launch.LaunchDescription:
    spec = spec_from_file_location(file.replace(".", "_"), LAUNCH / file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def nodes(file: str, **arguments: str) -> list[Node]:
    context = launch.LaunchContext()
    context.launch_configurations.update(arguments)
    found = [action for entity in description(file).entities for action in entity.visit(context) or []]
    return [action for action in found if isinstance(action, Node)]


@pytest.mark.parametrize("file", FILES)
def test_a_launch_file_has_the_nodes_of_its_deployment(file):
    wanted = nodes_of(load_deployment(file.removesuffix(".launch.py")))
    assert [node.node_executable for node in nodes(file)] == [spec.executable for spec in wanted]


def test_on_a_real_arm_no_simulator_is_started():
    executables = [node.node_executable for node in nodes("franka.launch.py", robot="franka")]
    assert "sim_node" not in executables and "command_node" in executables


@pytest.fixture
def running_stack(tmp_path) -> Iterator[subprocess.Popen]:
    os.environ["ROS_DOMAIN_ID"] = str(random.randrange(1, 100))
    arguments = ("namespace:=launched", "set:=sim.renderer=raycast", "remap:=target_pose:=/wished")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(LAUNCH / "sim.launch.py"), *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "ROS_LOG_DIR": str(tmp_path)},
        )
        yield process
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            process.kill()
    print((tmp_path / "log").read_text())


@pytest.mark.timeout(120)
def test_the_loop_closes_under_launch_in_a_namespace_with_a_remapped_topic(running_stack):
    rclpy.init(args=[])
    client = StackClient("launched")
    try:
        client.wait_until_ready()
        client.run_episode("open_drawer", "A", seed=1, patience_s=60.0)
        assert client.task_state.status == TaskState.SUCCEEDED
        assert client.count_publishers("/wished") == 1 and client.count_publishers("/launched/target_pose") == 0
    finally:
        client.destroy_node()
        rclpy.try_shutdown()
    running_stack.send_signal(signal.SIGINT)
    assert running_stack.wait(30) == 0
