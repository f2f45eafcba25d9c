"""The playtable as a world: resets, actions, what it refuses."""

import threading

import numpy as np
import pytest

from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.playtable.panda import ARM_JOINTS, JOINT_NAMES
from worldagen_sim.playtable.work_space import WorkSpace

TASK = "push_red_block_left"  # the hand is free and the red block lies on the table
STILL = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
BLOCKS = ("red_block", "blue_block", "pink_block")


def moving(x=0.0, y=0.0, z=0.0, opening=1.0):
    return np.array([x, y, z, 0.0, 0.0, 0.0, opening])


def test_the_same_reset_gives_the_same_state(playtable):
    first = playtable.reset(TASK, "A", 7)
    playtable.reset(TASK, "B", 8)
    again = playtable.reset(TASK, "A", 7)
    assert first.values == again.values
    assert np.array_equal(first.joint_positions, again.joint_positions)


def test_another_seed_gives_another_layout(playtable):
    one, other = (playtable.reset(TASK, "A", seed).values for seed in (1, 2))
    assert all(one[f"{block}_x"] != other[f"{block}_x"] for block in BLOCKS)


def test_the_tool_starts_at_its_target_pointing_down(playtable):
    state = playtable.reset(TASK, "A", 0)
    assert np.abs(state.tcp_pose[:3] - state.target_pose[:3]).max() < 1e-3
    assert abs(state.tcp_pose[3]) == pytest.approx(np.pi, abs=0.01)


def test_thirty_steps_are_one_second(playtable):
    playtable.reset(TASK, "A", 0)
    for _ in range(30):
        state = playtable.step(STILL)
    assert state.time_ns == 1_000_000_000


def test_actions_add_to_the_commanded_pose_not_to_the_measured_one(playtable):
    start = playtable.reset(TASK, "A", 0)
    for _ in range(3):
        state = playtable.step(moving(x=0.01))
    assert state.target_pose[0] - start.target_pose[0] == pytest.approx(0.03)
    assert state.tcp_pose[0] - start.tcp_pose[0] < 0.029  # the arm lags


def test_the_arm_arrives_where_it_was_sent(playtable):
    playtable.reset(TASK, "A", 0)
    for action in [moving(x=0.015, z=-0.005)] * 5 + [STILL] * 15:
        state = playtable.step(action)
    assert np.abs(state.tcp_pose[:3] - state.target_pose[:3]).max() < 2e-3


def test_a_row_is_clipped_to_full_scale(playtable):
    start = playtable.reset(TASK, "A", 0)
    state = playtable.step(np.array([1.0, -1.0, 0.004, 0.0, 0.0, 1.0, 1.0]))
    moved = state.target_pose - start.target_pose
    assert moved[:3] == pytest.approx([0.02, -0.02, 0.004])
    assert moved[5] == pytest.approx(0.05)


def test_the_gripper_opens_above_a_half_and_counts_how_long_it_is_closed(playtable):
    playtable.reset(TASK, "A", 0)
    for _ in range(20):
        closed = playtable.step(moving(opening=0.5))
    assert closed.gripper_opening == 0.0
    assert closed.values["gripper_closed_steps"] == 20
    assert closed.values["gripper_width"] == pytest.approx(0.0, abs=2e-3)
    for _ in range(20):
        opened = playtable.step(moving(opening=0.51))
    assert opened.gripper_opening == 1.0
    assert opened.values["gripper_closed_steps"] == 0
    assert opened.values["gripper_width"] == pytest.approx(0.08, abs=2e-3)


def test_the_fingers_move_together(playtable):
    playtable.reset(TASK, "A", 0)
    for _ in range(4):
        state = playtable.step(moving(opening=0.0))
    left, right = state.joint_positions[7:]
    assert left == pytest.approx(right, abs=1e-3)


def test_joints_are_named_and_stay_inside_their_limits(playtable):
    random = np.random.default_rng(0)
    playtable.reset(TASK, "A", 0)
    lower, upper = np.array([(joint.lower_rad, joint.upper_rad) for joint in ARM_JOINTS]).T
    for _ in range(100):
        state = playtable.step(random.uniform(-0.1, 0.1, size=7))
        assert (state.joint_positions[:7] > lower - 0.02).all()
        assert (state.joint_positions[:7] < upper + 0.02).all()
    assert state.joint_names == JOINT_NAMES


def test_a_target_cannot_be_driven_into_the_table_or_away(playtable):
    playtable.reset(TASK, "A", 0)
    for _ in range(60):
        state = playtable.step(moving(x=0.02, y=0.02, z=-0.02))
    assert state.target_pose[2] == pytest.approx(WorkSpace().table_top_m)
    assert np.abs(state.tcp_pose[:3] - state.target_pose[:3]).max() < 0.02  # it can get there


def test_a_target_in_front_of_the_table_stops_at_its_edge():
    space = WorkSpace()
    low = np.array([0.1, -0.30, 0.36])
    further_in = low + np.array([0.0, 0.2, 0.0])
    assert space.clip(low, further_in) == pytest.approx([0.1, space.table_front_m, 0.36])


def test_unknown_names_are_refused_with_those_that_exist(playtable):
    with pytest.raises(UnknownName, match="close_drawer, lift_blue_block_drawer"):
        playtable.reset("fly", "A", 0)
    with pytest.raises(UnknownName, match="A, B, C, D"):
        playtable.reset(TASK, "Z", 0)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, None])
def test_a_seed_that_is_no_whole_number_is_refused(playtable, seed):
    with pytest.raises(SimulatorError, match="whole number"):
        playtable.reset(TASK, "A", seed)


@pytest.mark.parametrize("action", [np.full(7, np.nan), np.zeros(6), np.array([np.inf] + [0.0] * 6)])
def test_a_broken_action_is_refused_and_moves_nothing(playtable, action):
    before = playtable.reset(TASK, "A", 0)
    with pytest.raises(SimulatorError, match="7 finite numbers"):
        playtable.step(action)
    after = playtable.step(STILL)
    assert after.time_ns == before.time_ns + 33_333_333
    assert after.target_pose == pytest.approx(before.target_pose)


def test_a_step_before_the_first_reset_is_refused():
    from worldagen_sim.playtable import make_playtable

    with pytest.raises(SimulatorError, match="call reset first"):
        make_playtable(renderer="raycast").step(STILL)


def test_calls_from_another_thread_are_refused(playtable):
    playtable.reset(TASK, "A", 0)
    faults = []

    def step_elsewhere():
        try:
            playtable.step(STILL)
        except SimulatorError as error:
            faults.append(str(error))

    thread = threading.Thread(target=step_elsewhere)
    thread.start()
    thread.join()
    assert "belongs to the thread" in faults[0]


def test_closing_twice_is_harmless_and_a_reset_begins_anew():
    from worldagen_sim.playtable import make_playtable

    environment = make_playtable(renderer="raycast")
    environment.reset(TASK, "A", 0)
    environment.render()
    environment.close()
    environment.close()
    assert environment.reset(TASK, "A", 0).time_ns == 0
