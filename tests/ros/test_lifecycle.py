"""The managed life of the nodes: it can be led again and again, is refused by name, and ends in order."""

import gc
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import rclpy
from fakes import FakeDecider, FakeRobot
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import State, TransitionEvent
from rcl_interfaces.msg import Log
from rclpy.action import ActionClient
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from worldagen.types import ActionChunk
from worldagen_msgs.action import ExecuteInstruction
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_msgs.msg import CommandStatus, StackStatus
from worldagen_ros import messages, qos, topics
from worldagen_ros.client import StackClient
from worldagen_ros.command_node import CommandNode
from worldagen_ros.config import load_deployment
from worldagen_ros.managed import ManagedNode
from worldagen_ros.policy_node import PolicyNode
from worldagen_ros.recorder_node import RecorderNode
from worldagen_ros.sim_node import SimNode
from worldagen_ros.soaking import MB, look_at
from worldagen_ros.watching import EVERYTHING, timed

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
CYCLES, SETTLED, GROWTH_MB = 20, 3, 50
KINDS = ("publishers", "subscriptions", "clients", "services", "timers", "guards", "waitables")
ALWAYS_THERE = {topics.HEARTBEATS, "diagnostics", "rosout", "parameter_events", "transition_event"}
REALTIME = ("-p", "timing.mode:=realtime")
EVERYTHING_SINCE = QoSProfile(
    depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)  # as nodes keep their logs


def state_of(node: ManagedNode) -> int:
    return node._state_machine.current_state[0]


@pytest.fixture
def unmanaged(start_ros):
    """Call with a node's class and ROS arguments: the node as a process has it before the manager calls, and its graph."""

    def make(kind: Callable[[], ManagedNode], *arguments: str):
        graph = start_ros(*arguments)
        node = kind()
        graph.executor.add_node(node)
        graph.nodes.append(node)
        return graph, node

    return make


def lead(graph, node: ManagedNode, cycles: int) -> float:
    """Its whole life, again and again; asserts that nothing stays on the wire. Returns by how much memory has grown, MB."""
    held, entities = [], []
    for _ in range(cycles):
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
        graph.executor.spin_once(timeout_sec=0.0)
        assert node.trigger_deactivate() == SUCCESS and node.trigger_cleanup() == SUCCESS
        graph.executor.spin_once(timeout_sec=0.0)
        gc.collect()
        held.append(look_at(os.getpid()).rss)
        entities.append({kind: len(list(getattr(node, kind))) for kind in KINDS})
    assert entities == [entities[0]] * cycles
    grown_mb = (held[-1] - held[SETTLED - 1]) / MB
    print(f"{node.get_name()}: {grown_mb:+.1f} MB from cycle {SETTLED} to {cycles}")
    return grown_mb


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (CommandNode, REALTIME),
        (RecorderNode, ("-p", "recorder.enabled:=true")),
        (SimNode, ("-p", "sim.renderer:=raycast")),
        (PolicyNode, (*REALTIME, "-p", "policy.kind:=expert")),
    ],
)
def test_a_life_that_is_led_twenty_times_leaves_nothing_behind(unmanaged, kind, arguments):
    graph, node = unmanaged(kind, *arguments)
    assert lead(graph, node, CYCLES) < GROWTH_MB
    assert gc.get_freeze_count() == 0  # of what the command node keeps out of the collector's way while it is active


@pytest.mark.timeout(200)
def test_a_policy_node_that_is_cleaned_up_keeps_no_weights(unmanaged):
    graph, node = unmanaged(PolicyNode, "-p", "policy.kind:=network")
    assert lead(graph, node, SETTLED + 2) < GROWTH_MB  # not twenty times: torch takes its time


@pytest.mark.parametrize(
    ("kind", "arguments", "says"),
    [
        (CommandNode, ("-p", "command.rate_hz:=5.0"), "command.rate_hz is 5"),
        (CommandNode, ("-p", "robot.urdf:=nowhere.urdf"), "nowhere.urdf"),
        (SimNode, ("-p", "sim.environment:=nowhere"), "unknown.*'nowhere'"),
        (RecorderNode, ("-p", "recorder.chunk_kib:=0"), "recorder.chunk_kib is 0"),
    ],
)
def test_a_refused_configure_can_be_tried_again_and_is_refused_in_the_same_words(unmanaged, kind, arguments, says):
    _, node = unmanaged(kind, *arguments)
    words = []
    for _ in range(2):
        assert node.trigger_configure() == FAILURE
        assert state_of(node) == State.PRIMARY_STATE_UNCONFIGURED
        words.append(str(node.refusal))
    assert words[0] == words[1]
    assert re.search(says, words[0])


def published(node: Node) -> set[str]:
    return {publisher.topic_name.lstrip("/").rpartition("/")[2] for publisher in node.publishers}


def test_an_inactive_command_node_moves_nothing(unmanaged):
    graph, node = unmanaged(CommandNode, *REALTIME)
    robot, stranger = graph.add(FakeRobot()), graph.add(Node("stranger"))
    heard: list[object] = []
    for topic, kind in ((topics.DELTA_TWIST, TwistStamped), (topics.COMMAND_STATUS, CommandStatus)):
        stranger.create_subscription(kind, topic, heard.append, EVERYTHING)
    chunks = stranger.create_publisher(ActionChunkMsg, topics.ACTION_CHUNK, qos.CHUNKS)
    assert node.trigger_configure() == SUCCESS
    assert published(node) <= ALWAYS_THERE
    for number in range(3):
        stamp_ns = stranger.get_clock().now().nanoseconds
        chunks.publish(messages.encode_chunk(ActionChunk(stamp_ns, number, 1 / 30, "calvin", np.zeros((5, 7))), "world"))
        graph.spin_for(0.1)
    assert heard == [] and chunks.get_subscription_count() == 0
    assert robot.count_publishers(topics.TARGET_POSE) == 0
    assert robot.count_services(topics.CLEAR_FAULT) == 0


def test_an_inactive_policy_node_answers_no_goal(unmanaged, monkeypatch):
    monkeypatch.setattr("worldagen_ros.policy_node.DECIDERS", {"network": lambda *_: FakeDecider()})
    graph, node = unmanaged(PolicyNode, *REALTIME, "-p", "policy.kind:=network")
    stranger = graph.add(Node("stranger"))
    client = ActionClient(stranger, ExecuteInstruction, topics.EXECUTE)
    assert node.trigger_configure() == SUCCESS
    assert published(node) <= ALWAYS_THERE
    for activated in (False, True, False):  # it does where it is active, so the question is a good one
        if activated:
            node.trigger_activate()
            graph.wait(client.server_is_ready, "the action of an active node")
        elif node.active:
            node.trigger_deactivate()
            graph.wait(lambda: not client.server_is_ready(), "the end of the action")
            assert published(node) <= ALWAYS_THERE
        else:
            graph.spin_for(0.2)
            assert not client.server_is_ready()
    client.destroy()


# -- with a manager ------------------------------------------------------------------------------------------------------------

IN_ORDER = ["sim", "command", "policy"]


class Witness(StackClient):
    """Hears what a managed stack tells of its life."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: dict[str, list[tuple[int, str]]] = {"inactive": [], "unconfigured": []}
        self.born_ns = time.time_ns()
        self.logged: dict[str, int] = {}  # node -> when it first said what an activated node says, ns
        self.stack = StackStatus()
        self.twists: list[TwistStamped] = []
        self.commands = CommandStatus()
        for name in IN_ORDER:
            self.create_subscription(
                TransitionEvent, f"{name}/transition_event", timed(partial(self.on_change, name)), EVERYTHING
            )
        self.create_subscription(Log, "/rosout", self.on_log, EVERYTHING_SINCE)
        self.create_subscription(StackStatus, topics.STACK_STATUS, lambda msg: setattr(self, "stack", msg), qos.LATCHED)
        self.create_subscription(CommandStatus, topics.COMMAND_STATUS, lambda msg: setattr(self, "commands", msg), qos.LATCHED)
        self.create_subscription(TwistStamped, topics.DELTA_TWIST, self.twists.append, qos.commands(None))

    def on_change(self, name: str, msg: TransitionEvent, sent_ns: int) -> None:
        if msg.goal_state.label in self.changes:
            self.changes[msg.goal_state.label].append((sent_ns, name))

    def on_log(self, msg: Log) -> None:
        at_ns = msg.stamp.sec * 1_000_000_000 + msg.stamp.nanosec
        if at_ns > self.born_ns and msg.msg.startswith(("ready: ", "episode 1: ")):  # an older one is of a test before
            self.logged.setdefault(msg.name, at_ns)

    def came_up(self) -> list[str]:
        """Nodes in the order in which they were activated, by their logs.

        Not by their transition events: those are kept for nobody, so a subscriber that a node does not yet know misses them.
        """
        return sorted(self.logged, key=self.logged.__getitem__)

    def became(self, label: str) -> list[str]:
        """Nodes in the order in which they last came into a state."""
        return [name for _, name in sorted({name: (at_ns, name) for at_ns, name in self.changes[label]}.values())]


@pytest.fixture
def managed(start_stack) -> Iterator[tuple]:
    """A stack in real time that is up, commanding velocities, and who hears it."""
    config = {"sim.renderer": "raycast", "command.interface": "delta_twist", "command.max_tick_gap_s": "1.0"}
    config["command.rate_hz"] = "10"  # a command lives for two ticks: so long the witness may be kept from hearing the last
    rclpy.init(args=[])
    witness = Witness()  # before there is anything to hear
    stack = start_stack(load_deployment("sim_realtime", config))
    try:
        witness.wait(lambda: witness.stack.state == StackStatus.ACTIVE, "the stack")
        yield stack, witness
    finally:
        witness.destroy_node()
        rclpy.try_shutdown()


def test_a_stack_comes_up_in_order_and_an_interrupted_manager_takes_it_down_in_reverse_with_a_safe_last_command(managed):
    stack, witness = managed
    assert witness.stack.detail == f"active: {', '.join(IN_ORDER)}"
    # The manager's word may overtake those of the nodes, which come from other processes.
    witness.wait(lambda: len(witness.logged) == len(IN_ORDER), "the nodes' own words")
    assert witness.came_up() == IN_ORDER
    witness.wait_until_ready()
    witness.begin(witness.reset_simulator("open_drawer", "A", seed=1, max_steps=1000))
    witness.wait(lambda: any(asks_to_move(twist) for twist in witness.twists[-3:]), "a moving arm")
    os.kill(stack.pid("manager"), signal.SIGINT)
    witness.wait(lambda: stack.code("manager") is not None, "the end of the manager")
    witness.wait(lambda: len(witness.became("unconfigured")) == 3, "the last of the nodes' words")
    assert stack.code("manager") == 0 and witness.stack.state == StackStatus.STOPPING
    assert witness.became("unconfigured") == IN_ORDER[::-1]
    assert witness.commands.state == CommandStatus.DISABLED and not asks_to_move(witness.twists[-1])


def asks_to_move(twist: TwistStamped) -> bool:
    """Whether it asks for any motion."""
    linear, angular = twist.twist.linear, twist.twist.angular
    return any((linear.x, linear.y, linear.z, angular.x, angular.y, angular.z))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_when_a_node_is_gone_or_hangs_for_good_the_manager_takes_the_others_down_and_says_which(managed, number):
    stack, witness = managed
    lost = stack.pid("policy")
    os.kill(lost, number)
    begun_s = time.monotonic()
    try:
        witness.wait(lambda: stack.code("manager") is not None, "the end of the manager")
        witness.wait(lambda: len(witness.became("unconfigured")) == 2, "the last of the others' words")
    finally:
        if number == signal.SIGSTOP:
            os.kill(lost, signal.SIGKILL)  # nothing else ends it
    assert stack.code("manager") == 1 and time.monotonic() - begun_s < 30
    assert witness.stack.state == StackStatus.FAILED and "policy is silent for" in witness.stack.detail
    assert witness.became("unconfigured") == ["command", "sim"]
    assert witness.commands.state == CommandStatus.DISABLED
