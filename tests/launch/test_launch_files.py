"""The launch files start the same nodes as `worldagen up`, and the loop closes under them."""

import os
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
FILES = sorted(path.name for path in LAUNCH.glob("*.launch.py"))

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2: run scripts/test, or source scripts/activate first")
for package in ("launch_ros", "launch_pytest"):
    pytest.importorskip(package, reason=f"needs {package} from a ROS distribution; it is not published as a wheel")

import launch_pytest  # noqa: E402
from launch_ros.actions import Node  # noqa: E402

import launch  # noqa: E402
from worldagen_msgs.msg import TaskState  # noqa: E402
from worldagen_ros.client import StackClient  # noqa: E402
from worldagen_ros.config import load_deployment  # noqa: E402
from worldagen_ros.specs import nodes_of  # noqa: E402


def description(file: str) -> launch.LaunchDescription:
    spec = spec_from_file_location(file.replace(".", "_"), LAUNCH / file)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.parametrize("file", FILES)
def test_a_launch_file_has_the_nodes_of_its_deployment(file):
    context = launch.LaunchContext()
    nodes = []
    for entity in description(file).entities:
        found = entity.visit(context) or []
        nodes += [action for action in found if isinstance(action, Node)]
    wanted = nodes_of(load_deployment(file.removesuffix(".launch.py")))
    assert [node.node_executable for node in nodes] == [spec.executable for spec in wanted]


@launch_pytest.fixture
def running_stack():
    domain = 1 + os.getpid() % 99
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    return launch.LaunchDescription(
        [
            launch.actions.IncludeLaunchDescription(
                launch.launch_description_sources.PythonLaunchDescriptionSource(str(LAUNCH / "sim.launch.py")),
                launch_arguments={"namespace": "launched", "set": "sim.renderer=raycast"}.items(),
            ),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


@pytest.mark.launch(fixture=running_stack)
@pytest.mark.timeout(120)
def test_the_loop_closes_under_launch():
    rclpy.init(args=[])
    client = StackClient("launched")
    try:
        client.wait_until_ready()
        began = time.monotonic()
        client.run_episode("open_drawer", "A", seed=1)
        assert client.task_state.status == TaskState.SUCCEEDED
        assert time.monotonic() - began < 60
    finally:
        client.destroy_node()
        rclpy.try_shutdown()
