"""The command node moves only when told, stays inside limits, and holds when it is not told anything good."""

import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import FakeRobot
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from std_msgs.msg import Bool, Float64
from std_srvs.srv import Trigger

from worldagen.types import ActionChunk
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_msgs.msg import CommandStatus, GripperCommand
from worldagen_ros import messages, qos, topics
from worldagen_ros.command_node import CommandNode

PERIOD_S = 0.01


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
        self.statuses: list[CommandStatus] = []
        self.create_subscription(CommandStatus, topics.COMMAND_STATUS, self.statuses.append, qos.LATCHED)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self.on_diagnostics, qos.DIAGNOSTICS)
        self.sequence = -1

    def on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self.texts[status.name.split(": ")[1]] = status.message
            self.levels[status.name.split(": ")[1]] = status.level

    @property
    def state(self) -> int:
        """Of the command node; -1 before it has told."""
        return self.statuses[-1].state if self.statuses else -1

    @property
    def reason(self) -> str:
        return self.statuses[-1].reason if self.statuses else ""

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
        # A loaded machine is no fault of the node.
        patient = [f"command.max_{what}_s:=1.0" for what in ("tick_gap", "state_age", "chunk_age")]
        graph = start_ros(
            *(part for parameter in ("timing.mode:=realtime", *patient, *parameters) for part in ("-p", parameter))
        )
        robot, command, controller = graph.add(FakeRobot()), graph.add(CommandNode()), graph.add(Controller())
        graph.wait(lambda: command.pace.measured is not None, "joint states")
        motion = command.pace.outputs.motion
        graph.wait(lambda: controller.chunks.get_subscription_count() and motion.get_subscription_count(), "discovery")
        return graph, robot, command, controller

    return make


def test_it_commands_nothing_before_the_first_chunk(make_scene):
    graph, _, _, controller = make_scene()
    graph.spin_for(0.4)
    assert controller.poses == []


def test_it_plays_a_chunk_from_the_measured_pose_and_then_holds(make_scene):
    graph, _, command, controller = make_scene()
    start = command.pace.measured.position
    controller.send(rows(5, opening=0.0))
    graph.wait(lambda: controller.state == CommandStatus.HOLD, "the hold")
    graph.wait(lambda: command.pace.commander.at_rest, "the rest")
    seen = len(controller.poses)
    graph.wait(lambda: len(controller.poses) > seen + 3, "commands at rest")
    x = controller.positions()[:, 0] - start[0]
    assert x[-1] == pytest.approx(0.010, abs=1e-9) and x.max() == pytest.approx(x[-1])
    assert np.all(np.diff(x) >= -1e-9)
    assert controller.openings[-1] == 0.0
    assert [status.state for status in controller.statuses][-2:] == [CommandStatus.RUNNING, CommandStatus.HOLD]


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_chunk_with_a_bad_number_is_refused_and_the_arm_holds(make_scene, poison):
    graph, _, command, controller = make_scene()
    controller.send(rows(300))
    graph.wait(lambda: len(controller.poses) >= 3, "commands")
    bad = controller.send(rows(5))
    bad.rows[2].translation.y = poison
    bad.sequence += 1
    controller.chunks.publish(bad)
    graph.wait(lambda: "refused, holding" in controller.texts.get("chunks", ""), "the refusal")
    assert str(poison) in controller.texts["chunks"] and controller.levels["chunks"] == DiagnosticStatus.ERROR
    graph.wait(lambda: controller.state == CommandStatus.HOLD, "the hold")
    graph.wait(lambda: command.pace.commander.at_rest, "the rest")
    graph.spin_for(0.05)  # what is under way
    controller.poses.clear()
    graph.wait(lambda: len(controller.poses) >= 5, "commands while holding")
    assert np.ptp(controller.positions(), axis=0) == pytest.approx(np.zeros(3))
    assert np.isfinite(controller.positions()).all()


def test_the_hold_after_a_refused_chunk_is_told_at_once_and_not_with_the_next_regular_status(make_scene, monkeypatch):
    monkeypatch.setattr("worldagen_ros.live_command.STATUS_PERIOD_S", 3600.0)
    graph, _, _, controller = make_scene()
    controller.send(rows(300))
    graph.wait(lambda: controller.state == CommandStatus.RUNNING, "motion")
    controller.send(rows(5), frame_id="camera")
    graph.wait(lambda: controller.state == CommandStatus.HOLD, "the hold")
    assert "a chunk was refused" in controller.reason


def test_a_chunk_in_another_frame_is_refused(make_scene):
    graph, _, _, controller = make_scene()
    controller.send(rows(5), frame_id="camera")
    graph.wait(lambda: "'camera'; expected 'world'" in controller.texts.get("chunks", ""), "the refusal")
    graph.spin_for(0.2)
    assert controller.poses == []


def test_commands_stay_inside_the_limits(make_scene):
    # The arm does not move, which is no fault as long as it is not led away from it by more than that.
    graph, _, command, controller = make_scene("command.limits.max_lead_m:=0.004", "command.limits.max_speed_mps:=0.1")
    start = command.pace.measured.position
    controller.send(rows(60, x=5.0))
    graph.wait(lambda: controller.statuses and "lead" in controller.statuses[-1].limited_by, "the limit")
    graph.wait(lambda: len(controller.poses) >= 40, "commands")
    x = controller.positions()[:, 0] - start[0]
    assert np.diff(x).max() <= 0.1 * PERIOD_S + 1e-9 or len(x) < command.pace.ticks  # a command that was lost makes two steps
    assert 0.0 < x.max() <= 0.004 + 1e-6


def test_when_joint_states_stop_it_holds_and_moves_only_for_a_new_chunk(make_scene):
    graph, robot, _, controller = make_scene()
    controller.send(rows(300))
    graph.wait(lambda: controller.state == CommandStatus.RUNNING, "motion")
    robot.silent.add("joint_states")
    graph.wait(lambda: controller.state == CommandStatus.HOLD, "the loss to be noticed")
    assert "no joint states" in controller.reason
    robot.silent.clear()
    graph.wait(lambda: controller.state == CommandStatus.READY, "joint states")
    graph.spin_for(0.05)  # what is under way
    controller.poses.clear()
    graph.spin_for(0.2)
    assert controller.poses == []  # READY commands nothing
    controller.send(rows(5))
    graph.wait(lambda: controller.poses, "a command")


@pytest.mark.parametrize(
    ("offset_s", "says"), [(-2.0, "s old; allowed"), (1.0, "s in the future; allowed"), (None, "not stamped")]
)
def test_joint_states_whose_stamp_is_no_capture_time_do_not_count(make_scene, offset_s, says):
    graph, robot, command, controller = make_scene()
    robot.clock_offset_s = offset_s
    graph.wait(lambda: says in controller.texts.get("joint_states", ""), "the refusal")
    assert controller.levels["joint_states"] == DiagnosticStatus.ERROR
    graph.wait(lambda: time.monotonic() - command.pace.heard_s > 1.1, "the newest good one to be old")
    controller.send(rows(30))
    graph.wait(lambda: "no joint states" in controller.reason, "the reason")
    assert controller.poses == []


def test_it_can_command_velocities_instead_and_the_last_one_is_none(make_scene):
    graph, _, command, controller = make_scene("command.interface:=delta_twist")
    controller.send(rows(300, x=0.003))
    graph.wait(lambda: len(controller.twists) >= 40, "twists")
    speeds = [msg.twist.linear.x for msg in controller.twists]
    assert np.median(speeds[-20:]) == pytest.approx(0.09, rel=0.3)  # a late tick makes up for what it missed
    assert command.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    graph.spin_for(0.2)
    assert controller.twists[-1].twist.linear.x == 0.0
    seen = len(controller.twists)
    controller.send(rows(300, x=0.003))
    graph.spin_for(0.2)
    assert len(controller.twists) == seen  # an inactive node says nothing


def test_a_deactivated_node_comes_to_rest_first_and_can_be_activated_again(make_scene):
    graph, _, command, controller = make_scene()
    controller.send(rows(300))
    graph.wait(lambda: len(controller.poses) >= 30, "commands")
    pace = command.pace
    assert command.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    graph.spin_for(0.2)
    last = pace.newest
    assert np.abs(last.motion).max() < 1e-6  # at rest, not cut off
    assert controller.positions()[-1] == pytest.approx(last.pose.position, abs=1e-9)
    assert command.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    command.bring_up()
    controller.poses.clear()
    graph.wait(lambda: command.pace.measured is not None, "joint states")
    graph.wait(lambda: command.pace.outputs.motion.get_subscription_count(), "discovery")
    assert controller.poses == []
    controller.create_timer(0.2, lambda: controller.send(rows(3)))
    graph.wait(lambda: controller.poses, "a command")


def test_an_arm_that_does_not_follow_is_a_fault_which_only_a_person_clears(make_scene):
    lead = ("command.limits.max_following_m:=0.01", "command.limits.max_following_s:=0.1")
    graph, _, _, controller = make_scene(*lead)
    controller.send(rows(300, x=0.004))
    graph.wait(lambda: controller.state == CommandStatus.FAULT, "the fault")
    assert "where it was sent" in controller.reason
    graph.wait(lambda: controller.levels["command"] == DiagnosticStatus.ERROR, "the diagnostic")
    controller.send(rows(300, x=0.004))
    graph.spin_for(0.2)
    assert controller.state == CommandStatus.FAULT  # never left by a fresh message
    clear = controller.create_client(Trigger, topics.CLEAR_FAULT)
    graph.wait(clear.service_is_ready, "the service")
    answer = clear.call_async(Trigger.Request())
    graph.wait(answer.done, "the answer")
    assert answer.result().success, answer.result().message
    graph.wait(lambda: controller.state == CommandStatus.READY, "the way out")


def test_with_a_deadman_nothing_moves_unless_it_is_held(make_scene):
    graph, _, command, controller = make_scene("command.deadman:=always")
    button = controller.create_publisher(Bool, topics.DEADMAN, qos.states_out())
    controller.send(rows(30))
    graph.wait(lambda: "deadman" in controller.reason, "the reason")
    assert controller.poses == [] and controller.statuses[-1].deadman_required
    holding = controller.create_timer(0.05, lambda: button.publish(Bool(data=True)))
    graph.wait(lambda: command.pace.deadman.held(time.monotonic_ns()), "the button")
    controller.send(rows(300))
    graph.wait(lambda: controller.state == CommandStatus.RUNNING, "motion")
    controller.destroy_timer(holding)
    graph.wait(lambda: controller.state == CommandStatus.HOLD, "the hold")
    assert "deadman" in controller.reason


def test_it_ticks_at_its_rate_and_tells_how_punctually(make_scene):
    graph, _, command, controller = make_scene()
    graph.wait(lambda: command.pace.ticks > 150, "ticks")
    graph.wait(lambda: controller.statuses[-1].ticks > 100, "a status")
    told = controller.statuses[-1]
    assert told.rate == pytest.approx(100.0, rel=0.5)  # a loaded machine is late, and says so
    assert 0.0 <= told.jitter_p50 <= told.jitter_p99 <= told.jitter_max


def test_a_speed_scale_slows_it_until_told_otherwise_also_when_the_one_who_said_it_is_gone(make_scene):
    graph, _, command, controller = make_scene()
    monitor = graph.add(Node("someone"))
    scales = monitor.create_publisher(Float64, topics.SPEED_SCALE, 1)  # not latched: a person with `ros2 topic pub`
    graph.wait(lambda: scales.get_subscription_count(), "discovery")
    scales.publish(Float64(data=0.25))
    graph.wait(lambda: command.pace.commander.speed_scale == 0.25, "the slower speed")
    monitor.destroy_publisher(scales)
    start = command.pace.measured.position
    controller.send(rows(5, x=0.004))
    graph.wait(lambda: controller.state == CommandStatus.HOLD, "the end of the rows")
    graph.wait(lambda: command.pace.commander.at_rest, "the rest")
    graph.spin_for(0.05)  # what is under way
    assert controller.positions()[-1, 0] - start[0] == pytest.approx(0.005)
    graph.wait(lambda: controller.texts.get("speed") == "speed scale 0.25", "the diagnostic")
    assert controller.levels["speed"] == DiagnosticStatus.WARN


@pytest.mark.parametrize("scale", [np.nan, -1.0, 2.0])
def test_a_speed_scale_that_is_none_is_refused_and_the_old_one_kept(make_scene, scale):
    graph, _, command, controller = make_scene()
    scales = controller.create_publisher(Float64, topics.SPEED_SCALE, qos.LATCHED)
    graph.wait(lambda: scales.get_subscription_count() >= 2, "discovery")
    scales.publish(Float64(data=0.5))
    graph.wait(lambda: command.pace.commander.speed_scale == 0.5, "the slower speed")
    scales.publish(Float64(data=float(scale)))
    graph.wait(lambda: controller.texts.get("speed", "").startswith("refused"), "the refusal")
    assert controller.levels["speed"] == DiagnosticStatus.ERROR and command.pace.commander.speed_scale == 0.5


def test_a_command_node_that_comes_later_hears_the_speed_that_was_asked_for_before(start_ros):
    graph = start_ros("-p", "timing.mode:=realtime")
    asking = graph.add(Node("asking"))
    asking.create_publisher(Float64, topics.SPEED_SCALE, qos.LATCHED).publish(Float64(data=0.0))
    command = graph.add(CommandNode())
    graph.wait(lambda: command.pace.commander.speed_scale == 0.0, "the speed")
