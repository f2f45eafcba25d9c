"""Goals that keep so much distance that means of them keep all of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldagen.errors import ConfigError
from worldagen.goal_limiting import GoalLimiter, KeepOutBox
from worldagen.limits import NO_BOX, LimitsConfig, keep_out_boxes
from worldagen.poses import Pose
from worldagen.smoothing import MotionBounds, PoseFollower

UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
BOX = np.array([[0.0, 0.0, 0.0], [0.2, 0.2, 0.2]])
LIMITS = LimitsConfig(
    workspace_low_m=(-1.0, -1.0, -1.0), workspace_high_m=(1.0, 1.0, 1.0), max_lead_m=1.0, keep_out_m=tuple(BOX.ravel())
)


def at(x: float, y: float, z: float) -> np.ndarray:
    return np.array([x, y, z])


def seated(position: np.ndarray, jerks: tuple[float, float] = (600.0, 1600.0)) -> tuple[GoalLimiter, PoseFollower]:
    follower = PoseFollower(0.01, MotionBounds(0.6, 6.0, jerks[0]), MotionBounds(1.6, 16.0, jerks[1]))
    limiter = GoalLimiter(LIMITS, follower)
    limiter.seat(follower.seat(Pose(position, UPRIGHT)))
    return limiter, follower


def go(limiter: GoalLimiter, follower: PoseFollower, way: np.ndarray, ticks: int) -> list[np.ndarray]:
    """Where the pose is when it is led that way at full speed."""
    step = np.concatenate([way / max(np.linalg.norm(way), 1e-9) * follower.step_m, np.zeros(3)])
    positions = []
    for _ in range(ticks):
        limiter.move(step, limiter.goal)
        positions.append(follower.follow(limiter.goal).position)
    return positions


def depth(positions: list[np.ndarray]) -> float:
    """How deep the way between positions leads into the box, m; at most 0 while it stays out."""
    points = np.array(positions)
    points = np.concatenate(
        [points[:-1] + (points[1:] - points[:-1]) * share for share in (0.0, 0.25, 0.5, 0.75)] + [points[-1:]]
    )
    return float(np.minimum(points - BOX[0], BOX[1] - points).min(axis=1).max())


class TestKeepOutBox:
    def test_no_step_into_the_zone_is_made(self):
        box = KeepOutBox(BOX, 0.05)
        box.seat(at(-0.06, 0.1, 0.1))
        assert box.allows(at(-0.06, 0.1, 0.1), at(-0.05, 0.1, 0.1))
        assert not box.allows(at(-0.06, 0.1, 0.1), at(-0.049, 0.1, 0.1))

    def test_from_inside_the_zone_it_goes_on_as_long_as_it_does_not_come_nearer(self):
        box = KeepOutBox(BOX, 0.05)
        start = at(-0.02, 0.1, 0.1)
        box.seat(start)
        assert box.allows(start, at(-0.03, 0.1, 0.1))  # away
        assert box.allows(start, at(-0.02, 0.15, 0.1))  # along the face
        assert not box.allows(start, at(-0.019, 0.1, 0.1))

    def test_it_does_not_come_nearer_to_a_corner_either(self):
        box = KeepOutBox(BOX, 0.05)
        start = at(-0.02, 0.23, 0.1)
        box.seat(start)
        assert not box.allows(start, at(-0.02, 0.21, 0.1))
        assert box.allows(start, at(-0.02, 0.24, 0.1))

    def test_from_inside_the_box_it_leaves_by_the_nearest_face(self):
        box = KeepOutBox(BOX, 0.05)
        start = at(0.02, 0.1, 0.1)
        box.seat(start)
        assert box.allows(start, at(0.01, 0.1, 0.1))
        assert not box.allows(start, at(0.03, 0.1, 0.1))

    def test_who_left_the_zone_may_not_come_back(self):
        box = KeepOutBox(BOX, 0.05)
        box.seat(at(-0.04, 0.1, 0.1))
        box.pass_to(at(-0.06, 0.1, 0.1))
        assert not box.allows(at(-0.06, 0.1, 0.1), at(-0.04, 0.1, 0.1))


sides = st.sampled_from([at(*way) for way in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))])
ways = st.lists(st.tuples(sides, sides, st.integers(1, 40)), min_size=1, max_size=10)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    corner=st.tuples(*[st.sampled_from((-0.075, -0.05, -0.01, -0.001, 0.001, 0.01, 0.1, 0.19, 0.201, 0.21, 0.25, 0.275))] * 3),
    story=ways,
)
def test_wherever_it_begins_it_never_enters_the_box_nor_goes_deeper_into_it(corner, story):
    """Around corners, too close to begin with: where a path is cut short most."""
    limiter, follower = seated(np.array(corner))
    positions = [np.array(corner)]
    for first, second, ticks in story:
        positions += go(limiter, follower, first + 0.99 * second, ticks)
    begins = depth(positions[:1])
    if begins <= 0.0:
        assert depth(positions) <= 1e-12
    else:
        assert max(depth([position]) for position in positions) <= begins + 1e-12
        outside = [depth([position]) <= 0.0 for position in positions]
        assert all(outside[outside.index(True) :]) or not any(outside)


@pytest.mark.parametrize("beside", [0.001, 0.015, 0.03, 0.05])
@pytest.mark.parametrize("above", [0.001, 0.015, 0.04])
@pytest.mark.parametrize("then", [at(1, 0, 0), at(1, 0, 0.2), at(1, 0, 1)])
def test_no_way_around_an_edge_leads_through_it(beside, above, then):
    """Up beside the box to just above it, and over: the means of the goals are nearest to the edge there."""
    for climb in (0.01, 0.03, 0.1):
        limiter, follower = seated(at(-beside, 0.1, 0.2 + above - climb))
        positions = go(limiter, follower, at(0, 0, 1), round(climb / follower.step_m))
        positions += go(limiter, follower, then, 40)
        assert depth(positions) <= 0.0


def test_a_goal_stops_before_the_zone_and_the_pose_with_it():
    limiter, follower = seated(at(0.1, 0.1, 0.5))
    positions = go(limiter, follower, at(0.0, 0.0, -1.0), 80)
    assert 0.2 + follower.corner_m < positions[-1][2] < 0.2 + follower.corner_m + 2 * follower.step_m


def test_a_pose_cuts_the_corner_of_the_zone_but_not_that_of_the_box():
    limiter, follower = seated(at(-0.072, 0.1, -0.1))
    positions = go(limiter, follower, at(0.0, 0.0, 1.0), 62)
    assert depth(positions) == pytest.approx(-0.072)
    positions += go(limiter, follower, at(1.0, 0.0, 0.0), 40)
    assert -follower.corner_m + 0.01 < depth(positions) < 0.0


@settings(max_examples=60, derandomize=True, deadline=None)
@given(outside=st.sampled_from((0.001, 0.005, 0.02, 0.1)), soft=st.booleans(), story=ways)
def test_a_pose_that_comes_into_the_work_space_stays_there(outside, soft, story):
    """Also when rows lead on out, and when the goal goes in and back to the border while the pose still comes in."""
    jerks = (60.0, 160.0) if soft else (600.0, 1600.0)  # the second window as long as the first
    limiter, follower = seated(at(1.0 + outside, -1.0 - outside, 0.5), jerks)
    positions = np.array([*go(limiter, follower, at(0, 0, 1), 1)])
    for first, second, ticks in story:
        positions = np.concatenate([positions, go(limiter, follower, first + 0.99 * second, ticks)])
    inside = np.abs(positions) <= 1.0 + 1e-12
    for axis in range(3):
        assert inside[inside[:, axis].argmax() :, axis].all() or not inside[:, axis].any()


def test_six_zeros_are_no_box():
    assert keep_out_boxes(NO_BOX).shape == (0, 2, 3)
    assert keep_out_boxes((*NO_BOX, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0)).tolist() == [[[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]]
    assert keep_out_boxes(()).shape == (0, 2, 3)


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((0.0, 0.0, 0.0, 1.0, 1.0), "expected six finite numbers for each box"),
        ((0.0, 0.0, 0.0, 1.0, 1.0, float("nan")), "expected six finite numbers"),
        ((0.0, 0.0, 0.5, 1.0, 1.0, 0.5), r"holds the box \[0\.0, 0\.0, 0\.5, 1\.0, 1\.0, 0\.5\]"),
    ],
)
def test_what_is_no_box_is_refused(numbers, says):
    with pytest.raises(ConfigError, match=says):
        LimitsConfig(keep_out_m=numbers)
