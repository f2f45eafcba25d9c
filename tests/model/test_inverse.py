"""Joints follow a tool pose: to it where it can be reached, within every bound where it cannot, and they say which."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from worldagen.errors import BadCommand, BadObservation, ConfigError
from worldagen.inverse import InverseConfig, InverseKinematics, JointStep
from worldagen.kinematics import find_robot
from worldagen.poses import Pose

CONFIG = InverseConfig()
READY = np.array(CONFIG.rest_rad)
PERIOD_S = 1 / 30
FASTEST = CONFIG.speed_share * np.array([2.175] * 4 + [2.61] * 3)  # the URDF's limits
ARM = InverseKinematics("panda", "panda_hand_tcp")
MOUNTED = InverseKinematics("panda", "panda_hand_tcp", (-0.34, -0.46, 0.24, 0.1, 0.2, 0.3), (0.01, 0.02, 0.03, 0.3, 0.2, 0.1))


def pose_of(joints: np.ndarray, arm: InverseKinematics = ARM) -> Pose:
    return Pose.from_euler(arm.tool_pose(arm.joint_names, joints))


def follow(joints: np.ndarray, poses: list[Pose], arm: InverseKinematics = ARM) -> list[JointStep]:
    """Step after step, each held to the bounds that always hold."""
    steps, velocities = [], np.zeros(7)
    for pose in poses:
        step = arm.step(arm.joint_names, joints, pose, PERIOD_S, velocities)
        assert np.all(np.abs(step.velocities) <= FASTEST + 1e-9)
        assert np.all(np.abs(step.velocities - velocities) <= CONFIG.acceleration_radps2 * PERIOD_S + 1e-6)
        assert np.all((arm.low - 1e-12 <= step.positions) & (step.positions <= arm.high + 1e-12))
        assert step.positions == pytest.approx(joints + step.velocities * PERIOD_S)
        missed = pose_of(step.positions, arm).row_to(pose)
        assert (step.missed_m, step.missed_rad) == pytest.approx((np.linalg.norm(missed[:3]), np.linalg.norm(missed[3:])))
        assert step.reached == (step.missed_m <= CONFIG.reached_m and step.missed_rad <= CONFIG.reached_rad)
        joints, velocities = step.positions, step.velocities
        steps.append(step)
    return steps


def line(pose: Pose, way: np.ndarray, speed_mps: float = 0.1) -> list[Pose]:
    count = round(float(np.linalg.norm(way)) / speed_mps / PERIOD_S)
    return [Pose(pose.position + way * index / count, pose.quaternion) for index in range(1, count + 1)]


@pytest.mark.parametrize("arm", [ARM, MOUNTED], ids=["plain", "with base pose and tool offset"])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_a_near_pose_that_can_be_reached_is_reached(arm, seed):
    random = np.random.default_rng(seed)
    start = random.uniform(arm.low, arm.high)
    there = np.clip(start + random.uniform(-0.02, 0.02, 7), arm.low, arm.high)
    wanted = pose_of(there, arm)
    last = follow(start, [wanted] * 15, arm)[-1]
    assert last.reached and last.limited_by == ()
    assert wanted.row_to(pose_of(last.positions, arm)) == pytest.approx(np.zeros(6), abs=CONFIG.reached_rad)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=6, deadline=None)
def test_a_slow_path_around_the_ready_posture_is_followed_without_lag(seed):
    random = np.random.default_rng(seed)
    wide, phase = random.uniform(0.02, 0.1, 7), random.uniform(0.0, 6.0, 7)
    times = np.arange(1, 60)[:, None] * PERIOD_S
    path = READY + wide * (np.sin(times + phase) - np.sin(phase))
    steps = follow(READY, [pose_of(joints) for joints in path])
    assert max(step.missed_m for step in steps) < 0.001
    assert all(step.reached for step in steps[-5:])


@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_no_stream_of_poses_leaves_the_bounds(seed):
    """Anywhere within two metres, turned anyhow, changing every few periods: `follow` checks each step."""
    random = np.random.default_rng(seed)
    start = random.uniform(ARM.low, ARM.high)
    wild = [
        Pose(random.uniform(-2.0, 2.0, 3), Rotation.random(random_state=int(random.integers(2**31))).as_quat())
        for _ in range(4)
    ]
    follow(start, [pose for pose in wild for _ in range(8)])


def test_out_of_reach_the_arm_stretches_says_so_and_comes_back():
    ready = pose_of(READY)
    away = line(ready, np.array([0.6, 0.0, 0.0]))
    steps = follow(READY, away + [away[-1]] * 30)
    last = steps[-1]
    assert not last.reached and last.missed_m > 0.05 and {"position", "singularity"} & set(last.limited_by)
    assert np.abs(last.velocities).max() < 0.02  # it stands, however long it is asked
    back = follow(last.positions, [*away[::-1], *[ready] * 60])
    assert back[-1].reached


def test_through_the_singularity_above_the_base_the_arm_comes_out_on_the_other_side():
    over = line(pose_of(READY), np.array([-0.5, 0.0, 0.0]))
    steps = follow(READY, [*over, *[over[-1]] * 60])
    assert any("velocity" in step.limited_by for step in steps)
    assert steps[-1].reached


def test_near_a_singularity_the_joints_are_slower_than_without_damping():
    stretched = np.array([0.0, 0.3, 0.0, ARM.high[3] - 0.4, 0.0, 1.2, 0.785])
    pose = pose_of(stretched)
    wanted = Pose(pose.position + 0.001 * outwards(pose), pose.quaternion)
    damped, undamped = (
        arm.step(arm.joint_names, stretched, wanted, PERIOD_S)
        for arm in (
            InverseKinematics("panda", "panda_hand_tcp", config=InverseConfig(acceleration_radps2=100.0)),
            InverseKinematics("panda", "panda_hand_tcp", config=InverseConfig(acceleration_radps2=100.0, singular_m=0.0)),
        )
    )
    assert np.abs(damped.velocities).max() < 0.2 * np.abs(undamped.velocities).max()
    assert "singularity" in damped.limited_by and "singularity" not in undamped.limited_by


def outwards(pose: Pose) -> np.ndarray:
    away = pose.position - np.array([0.0, 0.0, 0.333])
    return away / np.linalg.norm(away)


def test_a_joint_at_its_limit_stays_there_and_the_others_make_up_for_it():
    start = READY.copy()
    start[6] = ARM.high[6] - 0.001
    pose = pose_of(start)
    turned = [
        Pose(pose.position, (Rotation.from_rotvec([0.0, 0.0, -0.01 * index]) * Rotation.from_quat(pose.quaternion)).as_quat())
        for index in range(1, 20)
    ]
    steps = follow(start, [*turned, *[turned[-1]] * 10])
    assert steps[-1].positions[6] == pytest.approx(ARM.high[6], abs=0.02)
    assert steps[-1].reached


def test_joints_outside_their_margin_may_come_back_but_not_go_on():
    start = READY.copy()
    start[3] = -3.06  # the margin begins at -3.0218
    for way in (np.array([-0.02, 0.0, 0.0]), np.array([0.0, 0.0, 0.02]), np.array([0.02, 0.0, 0.0])):
        pose = pose_of(start)
        step = ARM.step(ARM.joint_names, start, Pose(pose.position + way, pose.quaternion), PERIOD_S)
        assert step.positions[3] >= start[3]


def test_a_held_pose_holds_every_joint():
    start = READY + 0.3
    assert ARM.step(ARM.joint_names, start, pose_of(start), PERIOD_S).velocities == pytest.approx(np.zeros(7), abs=1e-9)


def test_where_the_tool_leaves_it_free_the_arm_leans_to_its_rest_posture():
    start = READY + np.array([0.6, 0.0, -0.6, 0.0, 0.3, 0.0, 0.0])
    pose = pose_of(start)
    up = line(pose, np.array([0.0, 0.0, 0.1]), speed_mps=0.05)
    there_and_back = [*up, *up[::-1], *[pose] * 5]
    unleaning = InverseKinematics("panda", "panda_hand_tcp", config=InverseConfig(rest_share=0.0))
    far = [np.linalg.norm(follow(start, there_and_back, arm)[-1].positions - READY) for arm in (ARM, unleaning)]
    assert far[0] < far[1] - 0.02
    steps = follow(start, there_and_back)
    assert max(step.missed_m for step in steps) < 0.001  # the tool does not see it


def test_the_order_of_names_does_not_matter():
    pose = pose_of(READY + 0.01)
    shuffled = ["panda_finger_joint1", *reversed(ARM.joint_names)]
    step = ARM.step(shuffled, [0.04, *reversed(READY)], pose, PERIOD_S)
    assert step.positions == pytest.approx(ARM.step(ARM.joint_names, READY, pose, PERIOD_S).positions)


def test_soft_limits_in_the_urdf_come_before_hard_ones(tmp_path):
    text = find_robot("panda").read_text("utf-8")
    hard = '<limit lower="-1.7628" upper="1.7628" effort="87" velocity="2.175"/>'
    soft = '<safety_controller soft_lower_limit="-1.5" soft_upper_limit="9.0" k_position="100" k_velocity="40"/>'
    robot = tmp_path / "robot.urdf"
    robot.write_text(text.replace(hard, hard + soft))
    arm = InverseKinematics(str(robot), "panda_hand_tcp")
    assert (arm.low[1], arm.high[1]) == pytest.approx((-1.45, 1.7128))  # never wider than the hard ones


def test_a_mount_stays_where_it_is():
    arm = InverseKinematics("panda_on_mount", "panda_hand_tcp")
    start = np.array([0.912, -0.66, 0.1, *READY])
    pose = pose_of(start, arm)
    step = arm.step(arm.joint_names, start, Pose(pose.position + 0.001, pose.quaternion), PERIOD_S)
    assert step.positions[:3] == pytest.approx(start[:3], abs=1e-15) and step.reached


def test_what_does_not_fit_the_robot_is_refused():
    with pytest.raises(ConfigError, match=r"rest posture has 2 numbers; robot 'panda' needs 7: panda_joint1, .*panda_joint7"):
        InverseKinematics("panda", "panda_hand_tcp", config=InverseConfig(rest_rad=(0.0, 1.0)))
    with pytest.raises(ConfigError, match=r"joint panda_joint\d may be from .* a margin of 2 leaves nothing"):
        InverseKinematics("panda", "panda_hand_tcp", config=InverseConfig(margin_rad=2.0))


def test_what_is_not_finite_is_refused():
    pose = pose_of(READY)
    with pytest.raises(BadCommand, match="expected finite numbers, a rotation and a positive period"):
        ARM.step(ARM.joint_names, READY, Pose(np.array([np.nan, 0.0, 0.0]), pose.quaternion), PERIOD_S)
    with pytest.raises(BadCommand, match="positive period"):
        ARM.step(ARM.joint_names, READY, pose, 0.0)
    with pytest.raises(BadCommand, match="expected 7 finite numbers"):
        ARM.step(ARM.joint_names, READY, pose, PERIOD_S, np.zeros(3))
    with pytest.raises(BadObservation, match="lacks panda_joint7"):
        ARM.step(ARM.joint_names[:6], READY[:6], pose, PERIOD_S)


def test_an_fr3_stands_where_a_panda_stands_within_limits_of_its_own():
    fr3 = InverseKinematics("fr3", "fr3_hand_tcp")
    assert fr3.tool_pose(fr3.joint_names, READY) == pytest.approx(ARM.tool_pose(ARM.joint_names, READY))
    assert (fr3.low[5], fr3.high[3]) == pytest.approx((0.5445 + CONFIG.margin_rad, -0.1518 - CONFIG.margin_rad))
    step = fr3.step(fr3.joint_names, READY, pose_of(READY + 0.001), PERIOD_S)
    assert step.reached
