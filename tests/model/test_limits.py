"""Whatever row comes, the commanded pose stays inside its bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from worldagen.limits import LimitsConfig, limit_step
from worldagen.poses import Pose

HOME = Pose.from_euler(np.array([0.0, 0.0, 0.5, np.pi, 0.0, 0.0]))
LIMITS = LimitsConfig(
    max_step_m=0.02,
    max_step_rad=0.05,
    max_lead_m=0.05,
    max_lead_rad=0.2,
    workspace_low_m=(-0.3, -0.3, 0.1),
    workspace_high_m=(0.3, 0.3, 0.8),
)


def row(**numbers: float) -> np.ndarray:
    return np.array([numbers.get(name, 0.0) for name in ("x", "y", "z", "rx", "ry", "rz", "gripper")])


def test_a_small_row_passes_unchanged():
    pose, met = limit_step(row(x=0.01, rz=0.02), HOME, HOME, LIMITS)
    assert met == ()
    assert pose.position == pytest.approx([0.01, 0.0, 0.5])


def test_a_long_step_is_shortened_and_keeps_its_direction():
    pose, met = limit_step(row(x=3.0, y=-4.0), HOME, HOME, LIMITS)
    assert met == ("step",)
    assert pose.position == pytest.approx([0.012, -0.016, 0.5])


def test_a_large_turn_keeps_its_axis():
    pose, met = limit_step(row(rx=1.0, ry=1.0), HOME, HOME, LIMITS)
    assert met == ("step",)
    assert HOME.row_to(pose)[3:] == pytest.approx(np.array([1, 1, 0]) / np.sqrt(2) * 0.05)


def test_the_target_cannot_run_away_from_a_blocked_arm():
    target = HOME
    for _ in range(20):
        target, met = limit_step(row(x=0.02), target, HOME, LIMITS)
    assert met == ("lead",)
    assert target.position[0] == pytest.approx(0.05)


def test_the_work_space_has_the_last_word():
    edge = Pose.from_euler(np.array([0.295, 0.0, 0.5, np.pi, 0.0, 0.0]))
    pose, met = limit_step(row(x=0.02), edge, edge, LIMITS)
    assert met == ("workspace",)
    assert pose.position[0] == 0.3


numbers = st.floats(-1e30, 1e30, allow_nan=False, allow_infinity=False)


@given(st.lists(arrays(np.float64, 7, elements=numbers), min_size=1, max_size=20))
def test_no_stream_of_finite_rows_leaves_the_bounds(rows):
    target = HOME
    for wild in rows:
        before = target
        target, _ = limit_step(wild, target, HOME, LIMITS)
        lead = HOME.row_to(target)
        assert np.linalg.norm(target.position - before.position) <= LIMITS.max_step_m + 1e-9
        assert np.linalg.norm(lead[:3]) <= LIMITS.max_lead_m + 1e-9
        assert np.linalg.norm(lead[3:]) <= LIMITS.max_lead_rad + 1e-9
        assert np.all(target.position >= LIMITS.workspace_low_m) and np.all(target.position <= LIMITS.workspace_high_m)


def test_a_pose_survives_the_way_through_its_row():
    other = Pose(np.array([0.1, -0.2, 0.6]), Rotation.from_euler("xyz", [3.0, 0.2, -1.0]).as_quat())
    back = HOME.moved(HOME.row_to(other))
    assert back.position == pytest.approx(other.position)
    assert abs(back.quaternion @ other.quaternion) == pytest.approx(1.0)


@pytest.mark.parametrize("wanted_m", [0.01, 0.02, 3.0])
def test_a_speed_scale_makes_every_step_shorter_also_the_longest(wanted_m):
    pose, met = limit_step(row(x=wanted_m, rz=0.04), HOME, HOME, LIMITS, speed_scale=0.25)
    assert HOME.row_to(pose)[[0, 5]] == pytest.approx([0.25 * min(wanted_m, LIMITS.max_step_m), 0.25 * 0.04])
    assert "speed" in met
