"""Markers show what the robot is about to do and may not leave, while somebody looks."""

import numpy as np
import pytest
from fakes import HOME, JOINTS, FakeRobot
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from visualization_msgs.msg import Marker, MarkerArray

from worldagen.kinematics import ForwardKinematics
from worldagen.markers import CLOSED, OPEN
from worldagen.poses import Pose
from worldagen.types import ActionChunk
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_ros import messages, qos, topics
from worldagen_ros.config import RobotConfig
from worldagen_ros.markers_node import NEWEST, MarkersNode

TOOL = Pose.from_euler(ForwardKinematics("panda", "panda_hand_tcp", RobotConfig().base_pose).tool_pose(JOINTS, HOME))


class Operator(Node):
    """Looks, and plays the policy and the command node."""

    def __init__(self) -> None:
        super().__init__("operator")
        self.shown: dict[str, Marker] = {}
        self.heard = 0
        self.chunks = self.create_publisher(ActionChunkMsg, topics.ACTION_CHUNK, qos.CHUNKS)
        self.targets = self.create_publisher(PoseStamped, topics.TARGET_POSE, qos.commands(None))

    def look(self) -> None:
        self.create_subscription(MarkerArray, topics.MARKERS, self.on_markers, NEWEST)

    def on_markers(self, msg: MarkerArray) -> None:
        self.heard += 1
        self.shown = {marker.ns: marker for marker in msg.markers}

    def ask(self, rows: np.ndarray, period_s: float = 1.0) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        self.chunks.publish(messages.encode_chunk(ActionChunk(stamp_ns, 0, period_s, "calvin", rows), "world"))

    def send(self, pose: Pose) -> None:
        self.targets.publish(messages.encode_pose(pose, self.get_clock().now().nanoseconds, "world"))


@pytest.fixture
def make_scene(start_ros):
    def make(*parameters: str):
        graph = start_ros(*(part for parameter in parameters for part in ("-p", parameter)))
        node, robot, operator = graph.add(MarkersNode()), graph.add(FakeRobot()), graph.add(Operator())
        graph.wait(lambda: node.scenery.tool, "the joint states")
        graph.wait(lambda: operator.chunks.get_subscription_count(), "the markers' ears")
        return graph, node, robot, operator

    return make


def points_of(marker: Marker) -> np.ndarray:
    return np.array([(point.x, point.y, point.z) for point in marker.points])


def test_the_plan_the_command_and_the_bounds_are_drawn(make_scene):
    graph, _, _, operator = make_scene("explore.enabled:=true", "command.limits.workspace_low_m:=[-0.5, -0.5, 0.1]")
    operator.look()
    rows = np.zeros((4, 7))
    rows[:, 2], rows[:, 6] = -0.01, (1.0, 1.0, 0.0, 0.0)

    def drawn() -> bool:
        operator.ask(rows)
        operator.send(TOOL)
        return {"chunk", "commanded"} <= set(operator.shown)

    graph.wait(drawn, "the plan and the command")
    shown = operator.shown
    assert {"workspace", "workspace/label", "envelope", "envelope/label", "arm"} <= set(shown)
    assert {marker.header.frame_id for marker in shown.values()} == {"world"}

    chunk = shown["chunk"]
    assert chunk.type == Marker.LINE_STRIP and chunk.lifetime.sec == 1 and chunk.scale.x > 0
    assert np.allclose(points_of(chunk), TOOL.position + np.outer(range(5), [0, 0, -0.01]))
    colours = np.array([(colour.r, colour.g, colour.b, colour.a) for colour in chunk.colors])
    assert np.allclose(colours[1], OPEN) and np.allclose(colours[-1], CLOSED)

    workspace = shown["workspace"]
    assert workspace.type == Marker.LINE_LIST and len(workspace.points) == len(workspace.colors) == 24
    assert points_of(workspace).min(axis=0).tolist() == [-0.5, -0.5, 0.1]
    assert shown["workspace/label"].text == "work space"
    assert np.allclose(points_of(shown["arm"])[-1], TOOL.position)
    assert np.allclose(points_of(shown["commanded"])[0], TOOL.position)


def test_without_exploration_there_is_no_envelope_and_without_a_plan_no_path(make_scene):
    graph, _, _, operator = make_scene()
    operator.look()
    graph.wait(lambda: operator.shown, "markers")
    assert set(operator.shown) == {"workspace", "workspace/label", "arm"}


def test_nothing_is_drawn_while_nobody_looks(make_scene, monkeypatch):
    graph, node, _, operator = make_scene()
    drawn: list[int] = []
    honest = node.scenery.drawings
    monkeypatch.setattr(node.scenery, "drawings", lambda: drawn.append(1) or honest())
    for _ in range(3):
        node.draw()
    assert not drawn
    operator.look()
    graph.wait(lambda: operator.heard >= 2, "markers, again and again")
    assert drawn


def test_numbers_that_are_none_are_dropped_and_told(make_scene):
    graph, node, robot, _ = make_scene()
    robot.positions = np.full(7, np.nan)
    graph.wait(lambda: told_by(node).startswith(f"dropped a message of {topics.JOINT_STATES}"), "the diagnostic")


def told_by(node: MarkersNode) -> str:
    return node.diagnostics._statuses["markers"].message


def test_a_second_activation_begins_anew(make_scene):
    graph, node, _, operator = make_scene()
    operator.look()
    graph.wait(lambda: operator.heard, "markers")
    before = node.scenery
    node.trigger_deactivate()
    operator.heard = 0
    node.trigger_activate()
    assert node.scenery is not before
    graph.wait(lambda: operator.heard, "markers again")
