"""Poses become joint trajectories that a joint_trajectory_controller takes, and that end at rest."""

import numpy as np
import pytest
from fakes import FakeRobot
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from scipy.interpolate import CubicHermiteSpline
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from worldagen.errors import BadCommand, BadObservation, ConfigError
from worldagen.inverse import InverseConfig
from worldagen.kinematics import ForwardKinematics
from worldagen.poses import Pose
from worldagen.types import ActionChunk
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_ros import messages, qos, topics
from worldagen_ros.command_node import CommandNode
from worldagen_ros.config import RobotConfig
from worldagen_ros.trajectory_output import DELAY_S, MAX_LEAD_RAD, TrajectoryOutput

PERIOD_S = 1 / 30
PERIOD_NS = round(PERIOD_S * 1e9)
ROBOT = RobotConfig()
KINEMATICS = ForwardKinematics(ROBOT.urdf, ROBOT.tool_frame, ROBOT.base_pose, ROBOT.tool_offset)
ARM = KINEMATICS.joint_names
READY = np.array(InverseConfig().rest_rad)
START_NS = 5_000_000_000


def pose_of(joints: np.ndarray) -> Pose:
    return Pose.from_euler(KINEMATICS.tool_pose(ARM, joints))


def away(way: float) -> Pose:
    pose = pose_of(READY)
    return Pose(pose.position + np.array([way, 0.0, 0.0]), pose.quaternion)


def two_points(msg: JointTrajectory) -> tuple[JointTrajectoryPoint, JointTrajectoryPoint]:
    moving, resting = msg.points
    return moving, resting


def seconds(point: JointTrajectoryPoint) -> float:
    return point.time_from_start.sec + point.time_from_start.nanosec * 1e-9


def test_a_trajectory_is_what_the_controller_checks_for():
    output = TrajectoryOutput(ROBOT, PERIOD_S)
    msg = output.encode(away(0.003), ["panda_finger_joint1", *ARM[::-1]], [0.04, *READY[::-1]], START_NS, "world")
    msg = deserialize_message(serialize_message(msg), JointTrajectory)
    assert msg.joint_names == list(ARM) == list(output.joint_names)
    assert (msg.header.stamp.sec, msg.header.frame_id) == (5, "world")
    moving, resting = msg.points
    assert seconds(moving) == pytest.approx(PERIOD_S + DELAY_S)
    assert seconds(resting) > seconds(moving)  # times increase strictly
    assert list(resting.velocities) == [0.0] * 7  # or it would be refused
    assert len(moving.positions) == len(moving.velocities) == len(resting.positions) == 7
    assert np.array(moving.velocities) == pytest.approx((np.array(moving.positions) - READY) / PERIOD_S)


def test_an_arm_that_follows_is_led_to_the_pose_without_a_step():
    output, joints, before = TrajectoryOutput(ROBOT, PERIOD_S), READY, np.zeros(7)
    for tick in range(60):
        wanted = away(0.003 * min(tick, 40))
        moving, _ = output.encode(wanted, ARM, joints, START_NS + tick * PERIOD_NS, "world").points
        assert np.abs(np.array(moving.velocities) - before).max() <= InverseConfig().acceleration_radps2 * PERIOD_S + 1e-9
        joints, before = np.array(moving.positions), np.array(moving.velocities)
    assert output.step is not None and output.step.reached
    assert away(0.12).row_to(pose_of(joints))[:3] == pytest.approx(np.zeros(3), abs=5e-4)


def test_the_last_point_is_where_the_joints_come_to_rest():
    output = TrajectoryOutput(ROBOT, PERIOD_S)
    for tick in range(20):
        moving, resting = output.encode(away(0.004 * tick), ARM, READY, START_NS + tick * PERIOD_NS, "world").points
        braking_s = seconds(resting) - seconds(moving)
        velocities = np.array(moving.velocities)
        assert np.abs(velocities).max() / braking_s <= InverseConfig().acceleration_radps2 + 1e-6
        assert np.array(resting.positions) == pytest.approx(np.array(moving.positions) + velocities * braking_s / 2)


def test_an_arm_that_is_held_is_not_wound_up():
    output, farthest = TrajectoryOutput(ROBOT, PERIOD_S), 0.0
    for tick in range(100):
        moving, _ = output.encode(away(0.2), ARM, READY, START_NS + tick * PERIOD_NS, "world").points
        farthest = np.abs(np.array(moving.positions) - READY).max()
    step = 2.61 * InverseConfig().speed_share * PERIOD_S
    assert 0.5 * MAX_LEAD_RAD < farthest <= MAX_LEAD_RAD + step
    assert output.step is not None and not output.step.reached


def between(start: tuple, end: tuple, time_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities on the cubic that joint_trajectory_controller lays between two points (s, rad, rad/s)."""
    spline = CubicHermiteSpline([start[0], end[0]], [start[1], end[1]], [start[2], end[2]])
    return spline(time_s), spline.derivative()(time_s)


@pytest.mark.parametrize(("latest_s", "lost"), [(0.002, 0.0), (0.02, 0.05)])
def test_a_controller_that_hears_it_unevenly_still_moves_evenly(latest_s, lost):
    """Each trajectory replaces the one before from where that has led, at 1 kHz; messages are late, and some are lost."""
    random, output = np.random.default_rng(1), TrajectoryOutput(ROBOT, 0.01)
    joints, velocities, plan, sent, velocities_were = READY, np.zeros(7), [], [], np.zeros(7)
    sharpest = 0.0
    for now_ms in range(1000):
        now_s = now_ms / 1000
        if now_ms % 10 == 0:
            wanted = away(0.03 * (1 - np.cos(np.pi * now_s)))  # up to 0.09 m/s
            msg = output.encode(wanted, ARM, joints, START_NS + now_ms * 1_000_000, "world")
            if random.random() >= lost:
                sent.append((now_s + random.uniform(0.001, latest_s), now_s, msg))
        for _, stamp_s, msg in [waits for waits in sent if waits[0] <= now_s]:
            plan = [(now_s, joints, velocities)]
            plan += [(stamp_s + seconds(point), np.array(point.positions), np.array(point.velocities)) for point in msg.points]
        sent = [waits for waits in sent if waits[0] > now_s]
        if plan:
            part = 0 if now_s < plan[1][0] else 1
            joints, velocities = between(plan[part], plan[part + 1], min(now_s, plan[-1][0]))
        sharpest = max(sharpest, float(np.abs(velocities - velocities_were).max()) * 1000)
        velocities_were = velocities
    assert away(0.06).row_to(pose_of(joints))[:3] == pytest.approx(np.zeros(3), abs=0.005)
    assert sharpest < 7.5  # rad/s2, what a Panda's slowest joint stands


@pytest.mark.parametrize("what", ["reset", "a pause", "time runs back"])
def test_after_an_interruption_it_begins_where_the_arm_is(what):
    output = TrajectoryOutput(ROBOT, PERIOD_S)
    for tick in range(10):
        output.encode(away(0.05), ARM, READY, START_NS + tick * PERIOD_NS, "world")
    stamp_ns = START_NS + {"reset": 10 * PERIOD_NS, "a pause": 2_000_000_000, "time runs back": -1}[what]
    if what == "reset":
        output.reset()
    elsewhere = READY + 0.3
    moving, _ = output.encode(pose_of(elsewhere), ARM, elsewhere, stamp_ns, "world").points
    assert np.array(moving.positions) == pytest.approx(elsewhere)
    assert np.array(moving.velocities) == pytest.approx(np.zeros(7), abs=1e-9)


def test_bad_numbers_are_refused_and_change_nothing():
    output = TrajectoryOutput(ROBOT, PERIOD_S)
    output.encode(away(0.003), ARM, READY, START_NS, "world")
    step = output.step
    with pytest.raises(BadObservation, match="lacks panda_joint1"):
        output.encode(away(0.003), ARM[1:], READY[1:], START_NS + PERIOD_NS, "world")
    with pytest.raises(BadCommand, match="expected finite numbers"):
        output.encode(Pose(np.full(3, np.nan), np.array([0.0, 0.0, 0.0, 1.0])), ARM, READY, START_NS + PERIOD_NS, "world")
    assert output.step is step


def test_a_mount_is_not_commanded():
    output = TrajectoryOutput(RobotConfig(urdf="panda_on_mount", base_pose=(0.0,) * 6), PERIOD_S)
    assert output.joint_names == ARM


@pytest.mark.parametrize(("period_s", "ahead_s"), [(0.0, None), (1.0, None), (0.02, 0.01)])
def test_a_period_that_cannot_be_is_refused(period_s, ahead_s):
    with pytest.raises(ConfigError, match=r"expected a period from 0 to 0\.5 s, and no less ahead than a period"):
        TrajectoryOutput(ROBOT, period_s, ahead_s=ahead_s)


def test_the_command_node_says_joint_trajectories_and_an_arm_that_plays_them_gets_there(start_ros):
    patient = [f"command.max_{what}_s:=1.0" for what in ("tick_gap", "state_age", "chunk_age")]
    parameters = ("timing.mode:=realtime", "command.interface:=joint_trajectory", *patient)
    graph = start_ros(*(part for parameter in parameters for part in ("-p", parameter)))
    robot, command, policy = graph.add(FakeRobot()), graph.add(CommandNode()), graph.add(Node("test_policy"))
    heard: list[JointTrajectory] = []

    def play(msg: JointTrajectory) -> None:
        heard.append(msg)
        robot.positions = np.array(two_points(msg)[0].positions)

    policy.create_subscription(JointTrajectory, topics.JOINT_TRAJECTORY, play, qos.commands(None))
    chunks = policy.create_publisher(ActionChunkMsg, topics.ACTION_CHUNK, qos.CHUNKS)
    graph.wait(lambda: command.pace.measured is not None, "joint states")
    motion = command.pace.outputs.motion
    graph.wait(lambda: chunks.get_subscription_count() and motion.get_subscription_count(), "discovery")
    start = command.pace.measured.position
    rows = np.zeros((10, 7))
    rows[:, 0] = 0.002
    chunks.publish(messages.encode_chunk(ActionChunk(robot.get_clock().now().nanoseconds, 0, 1 / 30, "calvin", rows), "world"))
    graph.wait(lambda: len(heard) > 20 and not any(two_points(heard[-1])[0].velocities), "the rest")
    assert all(msg.joint_names == list(ARM) and not any(two_points(msg)[1].velocities) for msg in heard)
    moved = KINEMATICS.tool_pose(ARM, two_points(heard[-1])[0].positions)[:3] - start
    assert moved == pytest.approx([0.02, 0.0, 0.0], abs=2e-3)
