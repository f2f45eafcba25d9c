"""Whatever the goal does within its steps, the pose that follows it keeps speed, acceleration and jerk."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_making import assert_within, derivatives
from scipy.spatial.transform import Rotation

from worldagen.errors import ConfigError
from worldagen.poses import Pose
from worldagen.smoothing import MotionBounds, PoseFollower, angle_between, turn_between, turn_bounds, turn_by

HOME = Pose.from_euler(np.array([0.1, -0.2, 0.5, np.pi, 0.0, 0.0]))
CALVIN = (MotionBounds(0.6, 6.0, 600.0), MotionBounds(1.6, 16.0, 1600.0))
FIRST_RUN = (MotionBounds(0.1, 1.0, 50.0), MotionBounds(0.5, 2.5, 125.0))  # the turn's windows are the longer ones
FRANKA = (MotionBounds(1.7, 13.0, 6500.0), MotionBounds(2.5, 25.0, 12500.0))
SOFT = (MotionBounds(0.6, 6.0, 60.0), MotionBounds(1.6, 16.0, 160.0))  # the second window is as long as the first
PERIODS = (0.001, 0.004, 0.01, 0.02)


def limits_of(bounds):
    return [[one.speed, one.accel, one.jerk] for one in bounds]


def followed(follower: PoseFollower, directions: np.ndarray, turns: np.ndarray) -> list[Pose]:
    """The poses that follow a goal which makes its full step in each direction (N, 3), and turns its full step about each."""
    goal = follower.seat(HOME)
    poses = [HOME]
    for way, turn in zip(directions, turns, strict=True):
        goal = Pose(goal.position + way * follower.step_m, turn_by(turn * follower.step_rad, goal.quaternion))
        poses.append(follower.follow(goal))
    return poses


def wild_directions(seed: int, ticks: int, stay: int) -> np.ndarray:
    """Unit vectors (ticks, 3), each kept for `stay` ticks; some reverse the one before, some are zero."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(ticks // stay + 1, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for index in range(1, len(vectors)):
        vectors[index] = (vectors[index], -vectors[index - 1], 0.0 * vectors[index])[random.choice(3, p=(0.4, 0.5, 0.1))]
    return np.repeat(vectors, stay, axis=0)[:ticks]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(
    period_s=st.sampled_from(PERIODS),
    bounds=st.sampled_from((CALVIN, FIRST_RUN, FRANKA, SOFT)),
    seed=st.integers(0, 2**32 - 1),
    stay=st.sampled_from((1, 2, 3, 5, 10, 20, 41, 50, 100)),
)
def test_no_goal_makes_the_pose_faster_or_rougher_than_allowed(period_s, bounds, seed, stay):
    follower = PoseFollower(period_s, *bounds)
    poses = followed(follower, wild_directions(seed, 400, stay), wild_directions(seed + 1, 400, stay))
    assert_within(poses, period_s, limits_of(bounds))


@pytest.mark.parametrize("period_s", PERIODS)
@pytest.mark.parametrize("bounds", [CALVIN, FRANKA], ids=["calvin", "franka"])
def test_a_goal_that_turns_back_as_soon_as_the_pose_is_up_to_speed_uses_what_is_allowed(period_s, bounds):
    """Or the bounds would hold for a follower that hardly moves."""
    follower = PoseFollower(period_s, *bounds)
    first = round(2 * bounds[0].speed / bounds[0].accel / period_s)
    back = np.where((np.arange(8 * first) // (2 * first)) % 2 == 0, 1.0, -1.0)[:, None] * np.array([1.0, 0.0, 0.0])
    speed, accel, _ = derivatives(followed(follower, back, 0.0 * back), period_s)[0]
    assert speed.max() == pytest.approx(bounds[0].speed)
    assert accel.max() > 0.85 * bounds[0].accel


@settings(max_examples=25, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stay=st.sampled_from((1, 7, 30)))
def test_the_pose_stays_in_any_box_the_goals_stay_in_and_ends_exactly_at_the_last(seed, stay):
    follower = PoseFollower(0.01, *CALVIN)
    ways = wild_directions(seed, 150, stay)
    poses = followed(follower, ways, wild_directions(seed + 1, 150, stay))
    goals = HOME.position + np.cumsum(np.concatenate([np.zeros((1, 3)), ways * follower.step_m]), axis=0)
    positions = np.array([pose.position for pose in poses])
    assert (positions >= goals.min(axis=0) - 1e-12).all() and (positions <= goals.max(axis=0) + 1e-12).all()

    goal = Pose(goals[-1], turn_by(np.array([0.001, 0.0, 0.0]), poses[-1].quaternion))
    for _ in range(round(follower.window_s / 0.01)):
        assert not follower.at_rest
        end = follower.follow(goal)
    assert follower.at_rest
    assert end.position.tolist() == goal.position.tolist()
    assert end.quaternion == pytest.approx(goal.quaternion, abs=1e-15)
    assert follower.follow(goal).position.tolist() == end.position.tolist()


@settings(max_examples=25, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stay=st.sampled_from((1, 7, 30)))
def test_a_pose_is_no_farther_from_the_goal_of_half_a_window_ago_than_a_corner(seed, stay):
    follower = PoseFollower(0.01, *CALVIN)
    ways = wild_directions(seed, 200, stay)
    positions = np.array([pose.position for pose in followed(follower, ways, 0.0 * ways)])
    goals = HOME.position + np.cumsum(np.concatenate([np.zeros((1, 3)), ways * follower.step_m]), axis=0)
    half = (round(follower.window_s / 0.01) - 2) // 2
    away = np.linalg.norm(positions[half:] - goals[: len(goals) - half], axis=1)
    assert away.max() <= follower.corner_m + 1e-12


def test_at_an_even_speed_the_pose_is_half_a_window_behind():
    follower = PoseFollower(0.01, *CALVIN)
    ways = np.tile([1.0, 0.0, 0.0], (100, 1))
    behind = HOME.position[0] + 100 * follower.step_m - followed(follower, ways, 0.0 * ways)[-1].position[0]
    assert behind == pytest.approx(0.6 * (follower.window_s / 2 - 0.01))


def test_a_goal_with_the_other_quaternion_of_its_turn_is_the_same_goal():
    follower = PoseFollower(0.01, *CALVIN)
    follower.seat(HOME)
    for _ in range(100):
        pose = follower.follow(Pose(HOME.position, -HOME.quaternion))
    assert angle_between(pose.quaternion, HOME.quaternion) == pytest.approx(0.0, abs=1e-15)


def test_a_seat_forgets_what_was_before():
    follower = PoseFollower(0.01, *CALVIN)
    assert follower.pose is None
    ways = np.tile([1.0, 0.0, 0.0], (30, 1))
    followed(follower, ways, ways)
    assert not follower.at_rest
    elsewhere = Pose(np.array([0.3, 0.3, 0.3]), 2.0 * HOME.quaternion)
    follower.seat(elsewhere)
    assert follower.at_rest
    pose = follower.follow(follower.pose)
    assert pose.position.tolist() == [0.3, 0.3, 0.3]
    assert np.linalg.norm(pose.quaternion) == pytest.approx(1.0)


def test_windows_are_as_long_as_the_limits_ask_for_and_no_longer():
    follower = PoseFollower(0.001, MotionBounds(0.6, 6.0, 600.0), MotionBounds(0.1, 16.0, 1600.0))
    assert follower.window_s == pytest.approx(0.2 + 0.02)
    assert follower.corner_m == pytest.approx(0.6 * 0.11)


def test_a_turn_costs_a_small_part_of_its_speed():
    follower = PoseFollower(0.01, *CALVIN)
    assert 0.99 * 1.6 * 0.01 < follower.step_rad < 1.6 * 0.01
    bounds = turn_bounds(1.6, 0.2, 0.02)
    assert (bounds.speed / 1.6, bounds.accel / 16.0, bounds.jerk / 1600.0) == pytest.approx((1.0, 1.02, 1.03), abs=0.015)


def test_speeds_that_need_too_long_to_stop_are_refused():
    with pytest.raises(ConfigError, match=r"at 2\.5 rad/s, 1 rad/s2 .* expected lower speeds"):
        PoseFollower(0.01, CALVIN[0], MotionBounds(2.5, 1.0, 100.0))


quaternions = st.tuples(*[st.floats(-1, 1)] * 4).map(np.array).filter(lambda four: np.linalg.norm(four) > 0.1)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(quaternions, quaternions, st.tuples(*[st.floats(-1.7, 1.7)] * 3).map(np.array))
def test_turns_are_those_of_scipy(start, end, vector):
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    turned = Rotation.from_rotvec(vector) * Rotation.from_quat(start)
    assert (Rotation.from_quat(turn_by(vector, start)) * turned.inv()).magnitude() == pytest.approx(0.0, abs=1e-12)
    between = Rotation.from_rotvec(turn_between(start, end)) * Rotation.from_quat(start)
    assert (between * Rotation.from_quat(end).inv()).magnitude() == pytest.approx(0.0, abs=1e-12)
    assert angle_between(start, end) == pytest.approx(np.linalg.norm(turn_between(start, end)), abs=1e-9)


def test_a_tick_is_cheap():
    """33 us at 250 Hz on one core of a Xeon at 2.5 GHz; the fastest of many, because other processes may run beside."""
    follower = PoseFollower(0.004, *CALVIN)
    goal = follower.seat(HOME)
    fastest = np.inf
    for _ in range(300):
        begin = time.perf_counter()
        follower.follow(goal)
        fastest = min(fastest, time.perf_counter() - begin)
    assert fastest < 0.0002
