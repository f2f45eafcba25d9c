"""Every ROS test runs in a domain of its own, waits for conditions with deadlines, and leaves no process behind."""

import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run scripts/test, or source scripts/activate first")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from worldagen_ros.config import DeploymentConfig
from worldagen_ros.managed import ManagedNode
from worldagen_ros.specs import UDP_PROFILE
from worldagen_ros.stack import Stack, stack_environment

# Modules whose tests ask whether something came in time. The others wait for conditions, however long that takes.
WATCH_THE_CLOCK = (
    "test_adapter_services",
    "test_command_node",
    "test_doctor_live",
    "test_explore",
    "test_faults",
    "test_latency_traces",
    "test_lifecycle",
    "test_monitor_node",
    "test_picture_costs",
    "test_policy_engine",
    "test_policy_node",
    "test_recorder",
    "test_soak",
    "test_stack",
    "test_trajectory_output",
    "test_two_stacks",
    "test_launch_arguments",
    "test_launch_files",
)
FIRST_PORT = 22100  # a bound port marks a domain as taken, for other test runs on this machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/ros/" in str(item.path):
            item.add_marker(pytest.mark.ros)
        if item.path.stem in WATCH_THE_CLOCK:
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def domain() -> Iterator[int]:
    """A ROS domain that no other test run on this machine uses."""
    for number in random.sample(range(1, 100), 99):
        lock = socket.socket()
        try:
            lock.bind(("127.0.0.1", FIRST_PORT + number))
        except OSError:
            lock.close()
            continue
        yield number
        lock.close()
        return
    pytest.fail("all ROS domains of this machine are taken by test runs")


@pytest.fixture(autouse=True)
def environment(domain: int, tmp_path, monkeypatch) -> dict[str, str]:
    """The complete environment of a ROS process; also this process's own, which outlives nodes that are killed."""
    whole = stack_environment({**os.environ, "ROS_LOG_DIR": str(tmp_path / "log")}, domain, UDP_PROFILE)
    for key, value in whole.items():
        monkeypatch.setenv(key, value)
    return whole


class Graph:
    """Nodes of this process, spun by whoever waits."""

    def __init__(self) -> None:
        self.executor = SingleThreadedExecutor()
        self.nodes: list[Node] = []

    def add(self, node: Node) -> Node:
        """Spin it from now on; a managed node is brought up, which raises what it refuses."""
        self.executor.add_node(node)
        self.nodes.append(node)
        if isinstance(node, ManagedNode):
            node.bring_up()
        return node

    def wait(self, condition: Callable[[], object], what: str, patience_s: float = 20.0) -> None:
        """Spin until the condition holds; fails the test after the patience."""
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {patience_s:g} s for {what}")
            self.executor.spin_once(timeout_sec=0.02)

    def spin_for(self, seconds: float) -> None:
        """Spin for a while: for tests that something does not happen."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)


@pytest.fixture
def start_ros(environment) -> Iterator[Callable[..., Graph]]:
    """Call with ROS arguments, e.g. start_ros("-p", "policy.kind:=network"), to initialise rclpy; returns a Graph."""
    graphs: list[Graph] = []

    def start(*arguments: str) -> Graph:
        rclpy.init(args=["--ros-args", *arguments] if arguments else [])
        graphs.append(Graph())
        return graphs[-1]

    yield start
    for graph in graphs:
        for node in graph.nodes:
            node.destroy_node()
        graph.executor.shutdown()
    rclpy.try_shutdown()


@pytest.fixture
def start_stack(environment) -> Iterator[Callable[..., Stack]]:
    """Call with a deployment (and a namespace) to start its nodes as processes; returns the Stack, its lines in `.lines`."""
    stacks: list[Stack] = []

    def start(config: DeploymentConfig, namespace: str = "") -> Stack:
        lines: list[str] = []
        stack = Stack(config, lambda name, line: lines.append(f"[{name}] {line}"), namespace)
        stack.lines = lines
        stacks.append(stack)
        stack.start()
        return stack

    yield start
    for stack in stacks:
        stack.stop()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A folder with random weights of the playtable preset."""
    from worldagen.checkpoint import save_checkpoint  # torch takes its time, and most tests here do without
    from worldagen.session import make_policy

    policy = make_policy("playtable")
    folder = tmp_path_factory.mktemp("checkpoint") / "random"
    save_checkpoint(folder, policy.network, policy.conventions, "random weights")
    return folder
