"""The command node moves only when told, stays inside limits, and holds when it is not told anything good."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import FakeRobot
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from std_msgs.msg import Float64

from worldagen.types import ActionChunk
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_msgs.msg import GripperCommand
from worldagen_ros import messages, qos, topics
from worldagen_ros.command_node import CommandNode


class Controller(Node):
    """Plays the policy on one side and the robot's controller on the other."""

    def __init__(self) -> None:
        super().__init__("controller")
        self.poses: list[PoseStamped] = []
        self.twists: list[TwistStamped] = []
        self.openings: list[float] = []
        self.texts: dict[str, str] = {}
        self.levels: dict[str, bytes] = {}
        self.chunks = self.create_publisher(ActionChunkMsg, topics.ACTION_CHUNK, qos.CHUNKS)
        self.create_subscription(PoseStamped, topics.TARGET_POSE, self.poses.append, qos.commands(None))
        self.create_subscription(TwistStamped, topics.DELTA_TWIST, self.twists.append, qos.commands(None))
        self.create_subscription(
            GripperCommand, topics.GRIPPER_COMMAND, lambda m: self.openings.append(m.opening), qos.commands(None)
        )
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self.on_diagnostics, qos.DIAGNOSTICS)
        self.sequence = -1

    def on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self.texts[status.name.split(": ")[1]] = status.message
            self.levels[status.name.split(": ")[1]] = status.level

    def send(self, rows: np.ndarray, frame_id: str = "world") -> ActionChunkMsg:
        self.sequence += 1
        stamp_ns = self.get_clock().now().nanoseconds
        msg = messages.encode_chunk(ActionChunk(stamp_ns, self.sequence, 1 / 30, "calvin", rows), frame_id)
        self.chunks.publish(msg)
        return msg

    def positions(self) -> np.ndarray:
        return np.array([messages.decode_pose(msg).position for msg in self.poses])


def rows(count: int, x: float = 0.002, opening: float = 1.0) -> np.ndarray:
    motion = np.zeros((count, 7))
    motion[:, 0], motion[:, 6] = x, opening
    return motion


@pytest.fixture
def make_scene(start_ros):
    def make(*parameters: str):
        graph = start_ros("-p", "timing.mode:=realtime", *(part for parameter in parameters for part in ("-p", parameter)))
        robot, command, controller = graph.add(FakeRobot()), graph.add(CommandNode()), graph.add(Controller())
        graph.wait(lambda: command.measured is not None, "joint states")
        graph.wait(lambda: controller.chunks.get_subscription_count() and command.motion.get_subscription_count(), "discovery")
        return graph, robot, command, controller

    return make


def test_it_commands_nothing_before_the_first_chunk(make_scene):
    graph, _, _, controller = make_scene()
    graph.spin_for(0.4)
    assert controller.poses == []


def test_it_plays_a_chunk_from_the_measured_pose_and_then_holds(make_scene):
    graph, _, command, controller = make_scene()
    start = command.measured.position
    controller.send(rows(5, opening=0.0))
    graph.wait(lambda: len(controller.poses) >= 12, "commands")
    x = controller.positions()[:, 0] - start[0]
    assert x.max() == pytest.approx(0.010, abs=1e-9)
    assert np.all(np.diff(x) >= -1e-12)
    assert (
        "HOLD" in controller.texts["command"] or graph.wait(lambda: "HOLD" in controller.texts["command"], "the hold") is None
    )
    assert controller.openings[-1] == 0.0


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_chunk_with_a_bad_number_is_refused_and_the_arm_holds(make_scene, poison):
    graph, _, _, controller = make_scene()
    controller.send(rows(300))
    graph.wait(lambda: len(controller.poses) >= 3, "commands")
    bad = controller.send(rows(5))
    bad.rows[2].translation.y = poison
    bad.sequence += 1
    controller.chunks.publish(bad)
    graph.wait(lambda: "refused, holding" in controller.texts.get("chunks", ""), "the refusal")
    assert str(poison) in controller.texts["chunks"] and controller.levels["chunks"] == DiagnosticStatus.ERROR
    graph.wait(lambda: "HOLD" in controller.texts["command"], "the hold")
    controller.poses.clear()
    graph.wait(lambda: len(controller.poses) >= 5, "commands while holding")
    assert np.ptp(controller.positions(), axis=0) == pytest.approx(np.zeros(3))
    assert np.isfinite(controller.positions()).all()


def test_a_chunk_in_another_frame_is_refused(make_scene):
    graph, _, _, controller = make_scene()
    controller.send(rows(5), frame_id="camera")
    graph.wait(lambda: "'camera'; expected 'world'" in controller.texts.get("chunks", ""), "the refusal")
    graph.spin_for(0.2)
    assert controller.poses == []


def test_commands_stay_inside_the_limits(make_scene):
    graph, _, command, controller = make_scene("command.limits.max_step_m:=0.001", "command.limits.max_lead_m:=0.004")
    start = command.measured.position
    controller.send(rows(20, x=5.0))
    graph.wait(lambda: len(controller.poses) >= 12, "commands")
    x = controller.positions()[:, 0] - start[0]
    assert np.diff(x, prepend=0.0).max() <= 0.001 + 1e-9
    assert x.max() == pytest.approx(0.004, abs=1e-6)


def test_without_joint_states_nothing_is_commanded_until_a_new_chunk(make_scene):
    graph, robot, command, controller = make_scene()
    controller.send(rows(300))
    graph.wait(lambda: len(controller.poses) >= 3, "commands")
    robot.silent.add("joint_states")
    graph.wait(lambda: command.measured is None, "the loss to be noticed")
    controller.poses.clear()
    graph.spin_for(0.3)
    assert controller.poses == []
    robot.silent.clear()
    graph.wait(lambda: command.measured is not None, "joint states")
    graph.spin_for(0.2)
    assert controller.poses == []
    controller.send(rows(5))
    graph.wait(lambda: controller.poses, "a command")


def test_it_can_command_velocities_instead(make_scene):
    graph, _, _, controller = make_scene("command.interface:=delta_twist")
    controller.send(rows(5, x=0.003))
    graph.wait(lambda: len(controller.twists) >= 8, "twists")
    speeds = [msg.twist.linear.x for msg in controller.twists]
    assert max(speeds) == pytest.approx(0.09)
    assert speeds[-1] == 0.0


def test_a_speed_scale_slows_it_until_told_otherwise_also_when_the_one_who_said_it_is_gone(make_scene):
    graph, _, command, controller = make_scene()
    monitor = graph.add(Node("someone"))
    scales = monitor.create_publisher(Float64, topics.SPEED_SCALE, 1)  # not latched: a person with `ros2 topic pub`
    graph.wait(lambda: scales.get_subscription_count(), "discovery")
    scales.publish(Float64(data=0.25))
    graph.wait(lambda: command.commander.speed_scale == 0.25, "the slower speed")
    monitor.destroy_publisher(scales)
    start = command.measured.position
    controller.send(rows(5, x=0.004))
    graph.wait(lambda: len(controller.poses) >= 8, "commands")
    x = controller.positions()[:, 0] - start[0]
    assert x.max() == pytest.approx(0.005) and np.diff(x).max() == pytest.approx(0.001)
    graph.wait(lambda: controller.texts.get("speed") == "speed scale 0.25", "the diagnostic")
    assert controller.levels["speed"] == DiagnosticStatus.WARN


@pytest.mark.parametrize("scale", [np.nan, -1.0, 2.0])
def test_a_speed_scale_that_is_none_is_refused_and_the_old_one_kept(make_scene, scale):
    graph, _, command, controller = make_scene()
    scales = controller.create_publisher(Float64, topics.SPEED_SCALE, qos.LATCHED)
    graph.wait(lambda: scales.get_subscription_count() >= 2, "discovery")
    scales.publish(Float64(data=0.5))
    graph.wait(lambda: command.commander.speed_scale == 0.5, "the slower speed")
    scales.publish(Float64(data=float(scale)))
    graph.wait(lambda: controller.texts.get("speed", "").startswith("refused"), "the refusal")
    assert controller.levels["speed"] == DiagnosticStatus.ERROR and command.commander.speed_scale == 0.5


def test_a_command_node_that_comes_later_hears_the_speed_that_was_asked_for_before(start_ros):
    graph = start_ros("-p", "timing.mode:=realtime")
    asking = graph.add(Node("asking"))
    asking.create_publisher(Float64, topics.SPEED_SCALE, qos.LATCHED).publish(Float64(data=0.0))
    command = graph.add(CommandNode())
    graph.wait(lambda: command.commander.speed_scale == 0.0, "the speed")
