"""In real time: each state, what changes it, and the words for it; and what is sent meanwhile."""

import numpy as np
import pytest
from live_arm import HERE, PERIOD_S, LiveArm, chunk, commander_with
from motion_making import assert_within

from worldagen.errors import BadChunk, BadCommand, ConfigError
from worldagen.limits import LimitsConfig
from worldagen.live_commanding import LiveState
from worldagen.poses import Pose

REST = 30  # ticks, in which any motion comes to rest


@pytest.fixture
def arm() -> LiveArm:
    return LiveArm()


def elsewhere(**offset_m: float) -> Pose:
    return Pose(HERE.position + np.array([offset_m.get(axis, 0.0) for axis in "xyz"]), HERE.quaternion)


def is_(arm: LiveArm, state: LiveState, words: str) -> bool:
    assert arm.commander.state is state, f"{arm.commander.state}: {arm.commander.reason}"
    assert words in arm.commander.reason
    return True


# ---------------------------------------------------------------- playing


def test_nothing_is_commanded_before_it_is_enabled(arm):
    assert "not enabled" in arm.offer()
    assert arm.tick(3) is None and is_(arm, LiveState.DISABLED, "not enabled yet")


def test_nothing_is_commanded_before_the_first_chunk(arm):
    assert arm.commander.enable() == ""
    assert arm.tick(3) is None and is_(arm, LiveState.READY, "waits for a chunk")


def test_the_first_command_is_where_the_arm_is(arm):
    arm.run(ticks=1, sequence=7)
    first = arm.commands[-1]
    assert is_(arm, LiveState.RUNNING, "chunk 7 plays")
    assert (first.seated, first.motion.tolist(), first.limited_by) == (True, [0.0] * 6, ())
    assert first.pose.position.tolist() == HERE.position.tolist()
    assert not arm.tick().seated


def test_rows_are_played_by_time_and_the_pose_ends_where_they_lead(arm):
    arm.run(rows=10, ticks=1 + 50 + REST)  # 10 rows of 50 ms
    assert arm.x[-1] == pytest.approx(0.1 + 10 * 0.005)
    assert arm.commander.at_rest and is_(arm, LiveState.HOLD, "rows ran out")
    speeds = np.diff(arm.x) / PERIOD_S
    assert speeds.max() == pytest.approx(0.005 / 0.05)  # even, though rows take five ticks each
    assert speeds.min() >= -1e-9


def test_how_often_it_ticks_does_not_change_where_rows_lead():
    for period_s in (0.002, 0.01, 0.033):
        arm = LiveArm(commander_with(period_s=period_s))
        arm.commander.enable()
        arm.tick(1, period_s)
        arm.offer(rows=10)
        arm.tick(round(0.9 / period_s), period_s)
        assert arm.x[-1] == pytest.approx(0.15), period_s


def test_ticks_that_jitter_lose_no_motion_at_full_speed():
    arm = LiveArm(commander_with(LimitsConfig(max_speed_mps=0.1, max_accel_mps2=5.0)))  # rows ask for exactly that speed
    arm.run(rows=10, ticks=1)
    for period_s in [0.014, 0.006] * 25:
        arm.tick(1, period_s)
    arm.tick(REST)
    assert arm.x[-1] == pytest.approx(0.15)
    assert not any("speed" in command.limited_by for command in arm.commands if command)


def test_a_turn_is_made_about_its_axis(arm):
    arm.run(ticks=1 + 50 + REST, row=[0.0, 0.0, 0.0, 0.0, 0.03, 0.04, 1.0])
    assert HERE.row_to(arm.commands[-1].pose) == pytest.approx([0.0, 0.0, 0.0, 0.0, 0.3, 0.4])


def test_motions_add_up_to_the_pose(arm):
    arm.run(ticks=40)
    moved = HERE.position + np.sum([command.motion[:3] for command in arm.commands if command], axis=0)
    assert moved == pytest.approx(arm.commands[-1].pose.position)


def test_an_overlapping_chunk_goes_on_where_the_one_before_is(arm):
    arm.run(rows=10, ticks=1 + 20)  # 4 rows are played, and the first of them began with the first tick
    arm.offer(rows=6, sequence=1, age_s=0.1)
    arm.tick(100)
    assert arm.x[-1] == pytest.approx(0.1 + 0.005 * (4 + 4))  # two of the new six were played since its observation


def test_rows_of_libero_count_from_where_the_tool_is_less_the_delay_of_smoothing(arm):
    arm.run(rows=20, ticks=1 + 100 + REST, convention="libero")
    assert arm.x[-1] == pytest.approx(0.2)  # an arm that goes where it is sent makes all of the rows
    stuck = LiveArm(follows=False)
    stuck.run(rows=20, ticks=1 + 100 + REST, convention="libero")
    assert stuck.x[-1] < 0.12  # one that does not is not led away


def test_a_speed_scale_makes_a_share_of_the_rest_of_the_rows(arm):
    arm.commander.scale_speed(0.5)
    arm.run(rows=10, ticks=1 + 25)
    assert "speed_scale" in arm.commands[-1].limited_by
    arm.commander.scale_speed(1.0)
    arm.tick(25 + REST)
    assert arm.x[-1] == pytest.approx(0.1 + 5 * 0.0025 + 5 * 0.005)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -0.1, 1.01])
def test_a_speed_that_is_no_share_is_refused_and_the_old_one_kept(arm, scale):
    arm.commander.scale_speed(0.5)
    with pytest.raises(BadCommand, match=r"expected a number from 0 to 1, keeping 0\.5"):
        arm.commander.scale_speed(scale)
    assert arm.commander.speed_scale == 0.5


def test_the_gripper_is_told_open_or_closed_and_keeps_in_a_hold(arm):
    arm.run(rows=4, ticks=30, opening=0.2)
    assert {command.opening for command in arm.commands if command} == {0.0}
    arm.tick(40)
    assert is_(arm, LiveState.HOLD, "") and arm.commands[-1].opening == 0.0
    arm.offer(rows=2, sequence=1, opening=0.7)
    arm.tick(2)
    assert arm.commands[-1].opening == 1.0


def test_it_knows_the_adapter_of_the_chunk_that_plays_or_waits(arm):
    arm.commander.enable()
    assert arm.commander.adapter == "" and arm.commander.row_period_s == 0.0
    arm.offer(adapter="kitchen")
    assert arm.commander.adapter == "kitchen" and arm.commander.row_period_s == 0.05
    arm.tick(3)
    arm.commander.hold("a person's wish")
    assert arm.commander.adapter == ""


# ---------------------------------------------------------------- limits that act


@pytest.mark.parametrize(
    ("limits", "x_m", "name"),
    [
        ({"workspace_high_m": (0.12, 0.6, 1.2)}, 0.005, "workspace"),
        ({"keep_out_m": (0.16, 0.0, 0.0, 0.3, 0.5, 1.0)}, 0.005, "keep_out"),
        ({"max_step_m": 0.002}, 0.005, "step"),
        ({"max_speed_mps": 0.05}, 0.005, "speed"),
        ({"max_accel_mps2": 1.0}, 0.005, "acceleration"),
        ({"max_jerk_mps3": 100.0}, 0.005, "jerk"),
        ({"max_lead_m": 0.001}, 0.005, "lead"),
    ],
)
def test_each_limit_is_named_when_it_acts_and_only_then(limits, x_m, name):
    named = set()
    for given, expected in ((limits, True), ({}, False)):
        arm = LiveArm(commander_with(LimitsConfig(**given))).run(ticks=60, x_m=x_m)
        named = {word for command in arm.commands if command for word in command.limited_by}
        if name not in ("acceleration", "jerk"):  # a row that begins at once is always rougher than that
            assert (name in named) is expected, named
    assert named <= {"acceleration", "jerk"}


def test_names_come_in_the_order_of_the_checks():
    limits = LimitsConfig(
        max_speed_mps=0.1, workspace_high_m=(0.1005, 0.6, 1.2), max_lead_m=0.001, keep_out_m=(0.0, 0.25, 0.0, 0.2, 0.6, 1.0)
    )
    arm = LiveArm(commander_with(limits), follows=False)
    arm.commander.scale_speed(0.9)
    arm.run(ticks=2, row=[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    assert arm.commands[-1].limited_by == ("workspace", "step", "speed_scale", "speed", "acceleration", "jerk")
    arm.tick(3)
    assert arm.commands[-1].limited_by == ("workspace", "step", "speed_scale", "speed", "lead")


def test_an_arm_that_stands_outside_comes_in_at_limited_speed_and_stays():
    limits = LimitsConfig(max_speed_mps=0.3, workspace_high_m=(0.0, 0.6, 1.2))  # it stands 10 cm outside
    arm = LiveArm(commander_with(limits))
    arm.commander.enable()
    arm.tick()
    for round_ in range(10):  # rows that lead on outside
        arm.offer(rows=4, sequence=round_, x_m=0.02)
        arm.tick(20)
    assert is_(arm, LiveState.RUNNING, "")
    assert arm.x[-1] == 0.0
    poses = [command.pose for command in arm.commands if command]
    assert_within(poses, PERIOD_S, [[0.3, 6.0, 600.0], [1.6, 16.0, 1600.0]])
    assert np.diff(arm.x).max() <= 0.0


def test_a_blocked_arm_is_not_led_farther_than_the_lead_and_the_pose_stays_continuous():
    arm = LiveArm(commander_with(LimitsConfig(max_lead_m=0.03, max_following_m=1.0)), follows=False)
    arm.run(rows=100, ticks=300)
    assert arm.x[-1] == pytest.approx(0.13)
    arm.measured = elsewhere(x=-0.2)  # pushed away: it is not pulled after, and not led on
    arm.tick(20)
    assert arm.x[-1] == pytest.approx(0.13)
    arm.measured = elsewhere(x=0.02)
    arm.tick(50)
    assert arm.x[-1] > 0.14
    assert_within([command.pose for command in arm.commands if command], PERIOD_S, [[0.6, 6.0, 600.0], [1.6, 16.0, 1600.0]])


def test_limits_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match="work space begins at"):
        commander_with(LimitsConfig(workspace_low_m=(0.0, 0.0, 0.0), workspace_high_m=(0.5, 0.0, 0.5)))


# ---------------------------------------------------------------- what ends a run, and what begins another


def came_to_rest(arm: LiveArm) -> bool:
    """Whether the pose comes to rest within the limits, whatever rows there were, and is repeated then."""
    before = len(arm.commands)
    arm.tick(REST)
    poses = [command.pose for command in arm.commands[before - 10 :]]
    assert_within(poses, PERIOD_S, [[0.6, 6.0, 600.0], [1.6, 16.0, 1600.0]])
    assert arm.commander.at_rest and not arm.commands[-1].motion.any()
    assert arm.tick().pose.position.tolist() == arm.commands[-2].pose.position.tolist()
    return True


def goes_on(arm: LiveArm, **changes) -> bool:
    """Whether a fresh chunk moves the arm from where it was sent."""
    x = arm.x[-1]
    assert arm.offer(sequence=50, **changes) == ""
    arm.tick(1 + 50 + REST)
    assert not any(command.seated for command in arm.commands[-50:])
    assert arm.x[-1] == pytest.approx(x + 0.05)
    return True


def test_a_run_that_has_no_more_rows_holds_until_there_are_some(arm):
    arm.run(rows=2, ticks=12)
    assert is_(arm, LiveState.HOLD, "the rows ran out, waits for a chunk")
    assert came_to_rest(arm) and goes_on(arm)


def test_a_chunk_after_the_rows_ran_out_plays_nothing_twice(arm):
    arm.run(rows=2, ticks=12)
    arm.offer(rows=4, sequence=1, age_s=0.06)  # one row was begun since
    arm.tick(100)
    assert arm.x[-1] == pytest.approx(0.1 + 0.005 * (2 + 3))


def test_at_speed_scale_0_the_plan_is_dropped(arm):
    arm.run()
    arm.commander.scale_speed(0.0)
    arm.tick()
    assert is_(arm, LiveState.HOLD, "the speed scale is 0") and came_to_rest(arm)
    arm.offer(sequence=1)
    arm.tick()
    assert is_(arm, LiveState.HOLD, "a chunk was not played: the speed scale is 0")
    arm.commander.scale_speed(1.0)
    arm.tick()
    assert is_(arm, LiveState.HOLD, "") and goes_on(arm)


def test_a_released_deadmans_button_holds_and_pressing_it_does_not_move_by_itself(arm):
    arm.run()
    arm.may_move = False
    arm.tick()
    assert is_(arm, LiveState.HOLD, "the deadman's button is not held") and came_to_rest(arm)
    arm.may_move = True
    arm.tick(5)
    assert is_(arm, LiveState.HOLD, "") and goes_on(arm)


def test_without_the_deadmans_button_a_chunk_does_not_begin(arm):
    arm.may_move = False
    arm.run()
    assert is_(arm, LiveState.READY, "a chunk was not played: the deadman's button is not held") and arm.commands[-1] is None
    arm.may_move = True
    assert arm.tick(3) is None  # that chunk is gone


def test_a_chunk_that_could_not_be_decoded_makes_the_arm_hold(arm):
    arm.run()
    arm.commander.refuse("NaN in row 3")
    assert is_(arm, LiveState.HOLD, "a chunk was refused: NaN in row 3") and came_to_rest(arm) and goes_on(arm)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"age_s": 0.51}, r"is 0\.51 s old; allowed: 0\.5 s"),
        ({"age_s": -0.2}, r"is stamped 0\.20 s in the future; allowed: 0\.1 s; check that the machines' clocks agree"),
        ({"period_s": 1e-6}, r"has rows of 1e-06 s; allowed: 0\.001 to 10 s"),
        ({"period_s": float("inf")}, "has rows of inf s"),
    ],
)
def test_a_bad_chunk_is_refused_and_makes_the_arm_hold(arm, changes, says):
    arm.run()
    with pytest.raises(BadChunk, match=says):
        arm.offer(sequence=1, **changes)
    assert is_(arm, LiveState.HOLD, "a chunk was refused: chunk 1") and came_to_rest(arm) and goes_on(arm)


def test_a_chunk_that_is_overtaken_is_refused_and_the_plan_goes_on(arm):
    arm.run(rows=10, ticks=20, sequence=5)
    with pytest.raises(BadChunk, match="answers an older observation"):
        arm.offer(sequence=4, age_s=0.3)
    assert is_(arm, LiveState.RUNNING, "chunk 5")
    arm.tick(40 + REST)
    assert arm.x[-1] == pytest.approx(0.15)


@pytest.mark.parametrize("sequence", [0, 6])
def test_a_chunk_that_answers_an_observation_from_before_the_plan_was_dropped_is_refused(arm, sequence):
    arm.run(rows=10, ticks=20, sequence=5)
    arm.commander.hold("a person's wish")
    arm.tick()
    with pytest.raises(BadChunk, match=r"chunk . answers an observation from 0\.\d+ s before the plan was dropped"):
        arm.offer(sequence=sequence, age_s=0.1)
    assert is_(arm, LiveState.HOLD, "a person's wish") and came_to_rest(arm) and goes_on(arm)


def test_a_tick_that_comes_late_drops_the_plan(arm):
    arm.run()
    arm.tick(1, period_s=1.0)  # the process was stopped for a second
    assert is_(arm, LiveState.HOLD, "a tick came 1.00 s after the one before; allowed: 0.1 s")
    assert came_to_rest(arm) and goes_on(arm)


def test_without_joint_states_it_holds_and_begins_anew_where_the_arm_is_then(arm):
    arm.run()
    arm.state_age_s = 0.25
    arm.tick()
    assert is_(arm, LiveState.HOLD, "no joint states for 0.25 s; allowed: 0.2 s") and came_to_rest(arm)
    arm.offer(sequence=1)
    arm.tick()
    assert is_(arm, LiveState.HOLD, "a chunk was not played: no joint states")
    arm.measured, arm.state_age_s, arm.follows = elsewhere(y=0.1), 0.0, False
    assert arm.tick() is None and is_(arm, LiveState.READY, "all is well again, waits for a chunk")
    assert arm.tick(3) is None
    arm.offer(sequence=2)
    command = arm.tick()
    assert is_(arm, LiveState.RUNNING, "chunk 2") and command.seated
    assert command.pose.position.tolist() == elsewhere(y=0.1).position.tolist()


def test_joint_states_that_are_back_before_the_arm_rests_do_not_cut_its_way_short(arm):
    arm.run(ticks=20)
    arm.state_age_s = 0.25
    arm.tick()
    arm.state_age_s = 0.0
    arm.offer(sequence=1)
    while (command := arm.tick()) is not None:
        assert is_(arm, LiveState.HOLD, "")
        last = command
    assert not last.motion.any() and is_(arm, LiveState.READY, "all is well again")


def test_before_the_first_joint_states_no_chunk_begins(arm):
    arm.measured = None
    arm.run()
    assert is_(arm, LiveState.READY, "a chunk was not played: no joint states yet") and arm.commands[-1] is None


@pytest.mark.parametrize("jump_s", [-10.0, -0.15, 0.15, 10.0])
def test_a_clock_that_jumps_drops_the_plan_and_the_pose_is_seated_anew(arm, jump_s):
    arm.run(ticks=20)
    arm.now_ns += round(jump_s * 1e9)
    arm.tick()
    assert is_(arm, LiveState.HOLD, f"the clock jumped by {jump_s:+.2f} s; allowed: 0.1 s")
    with pytest.raises(BadChunk):
        arm.commander.offer(chunk(arm.now_ns - round(jump_s * 1e9) - 50_000_000, sequence=6), arm.now_ns - (jump_s < 0))
    arm.tick(REST)
    assert is_(arm, LiveState.READY, "") and arm.commands[-1] is None
    arm.offer(sequence=0)
    assert arm.tick().seated and is_(arm, LiveState.RUNNING, "chunk 0")


def test_a_clock_that_is_slowly_set_right_is_none_that_jumps(arm):
    arm.run()
    for _ in range(20):
        arm.now_ns += 50_000_000
        arm.tick()
    assert is_(arm, LiveState.RUNNING, "")


def test_a_steady_clock_that_runs_backwards_is_not_believed(arm):
    arm.run()
    arm.steady_ns -= 1_000_000_000
    arm.tick()
    assert is_(arm, LiveState.HOLD, "the clock jumped")


def test_somebody_may_ask_for_a_hold(arm):
    arm.run()
    arm.commander.hold("the instruction was taken back")
    assert is_(arm, LiveState.HOLD, "the instruction was taken back") and came_to_rest(arm) and goes_on(arm)


# ---------------------------------------------------------------- faults


def faulted(arm: LiveArm, words: str) -> bool:
    """Whether it is a fault that neither time, nor a chunk, nor anything but clear_fault leaves."""
    assert is_(arm, LiveState.FAULT, words)
    assert "FAULT" in arm.offer(sequence=90)
    arm.commander.hold("hold")
    arm.commander.refuse("refuse")
    assert words in arm.commander.enable()
    arm.tick(REST)
    assert arm.commander.at_rest
    return is_(arm, LiveState.FAULT, words)


def is_cleared(arm: LiveArm) -> bool:
    assert arm.commander.clear_fault() == ""
    assert is_(arm, LiveState.READY, "the fault was cleared, waits for a chunk")
    assert arm.tick(3) is None
    with pytest.raises(BadChunk, match="before the plan was dropped"):
        arm.offer(sequence=91, age_s=0.2)
    arm.offer(sequence=92)
    assert arm.tick().seated and is_(arm, LiveState.RUNNING, "chunk 92")
    return True


def test_an_arm_that_does_not_follow_is_a_fault_and_is_told_to_stay_where_it_is(arm):
    arm.follows = False
    arm.run(rows=100, ticks=5, x_m=0.01)
    arm.measured = elsewhere(y=0.01)
    while arm.commander.state is LiveState.RUNNING:
        arm.tick()
    assert is_(arm, LiveState.FAULT, "from where it was sent; allowed: 0.08 m and 0.4 rad")
    assert arm.commands[-1].seated and arm.commands[-1].pose.position.tolist() == arm.measured.position.tolist()
    arm.measured = elsewhere(y=0.2)
    assert faulted(arm, "the arm is")
    assert [command.seated for command in arm.commands[-REST:]] == [False] * REST
    assert arm.commands[-1].pose.position.tolist() == elsewhere(y=0.01).position.tolist()
    assert "the cause is still there: the arm is 0.190 m" in arm.commander.clear_fault()
    assert is_(arm, LiveState.FAULT, "the arm is")
    arm.measured = elsewhere(y=0.02)
    arm.tick()
    assert is_cleared(arm)


def test_an_arm_that_lags_for_a_moment_is_no_fault(arm):
    arm.run(rows=100, ticks=5)
    arm.follows = False
    arm.measured = elsewhere(y=0.09)
    arm.tick(40)
    arm.measured = elsewhere(x=0.02)
    arm.tick(10)
    arm.measured = elsewhere(y=0.09)
    arm.tick(40)
    assert is_(arm, LiveState.RUNNING, "")


def test_an_arm_that_is_pushed_away_in_a_hold_is_a_fault_too(arm):
    arm.run(rows=1, ticks=40)
    arm.measured, arm.follows = elsewhere(z=-0.2), False
    arm.tick(60)
    assert faulted(arm, "from where it was sent")


def test_joint_states_that_are_no_numbers_are_a_fault_when_they_last(arm):
    arm.run(rows=100, ticks=5)
    good, arm.follows = arm.measured, False
    arm.measured = Pose(np.array([np.nan, 0.0, 0.5]), HERE.quaternion)
    arm.tick(15)
    assert is_(arm, LiveState.RUNNING, "")
    arm.tick(10)
    assert faulted(arm, "numbers that cannot be used")
    assert "the cause is still there" in arm.commander.clear_fault()
    arm.measured = good
    arm.tick()
    assert is_cleared(arm)


def test_a_node_may_say_itself_that_joint_states_are_bad(arm):
    arm.run(rows=100, ticks=5)
    arm.states_bad, arm.state_age_s = True, 0.21
    arm.tick()
    assert faulted(arm, "joint states came with numbers that cannot be used for 0.21 s")
    arm.states_bad, arm.state_age_s = False, 0.3
    arm.tick()
    assert "no joint states for 0.30 s" in arm.commander.clear_fault()
    arm.state_age_s = 0.0
    arm.tick()
    assert is_cleared(arm)


def test_a_tool_outside_the_work_space_is_a_fault_though_it_is_sent_inside():
    arm = LiveArm(commander_with(LimitsConfig(workspace_high_m=(0.12, 0.6, 1.2))))
    arm.run(rows=100, ticks=5)
    inside, arm.measured, arm.follows = arm.measured, elsewhere(x=0.055), False
    arm.tick()
    assert faulted(arm, "the tool is 0.035 m outside the work space; allowed: 0.03 m")
    assert "the tool is 0.035 m outside" in arm.commander.clear_fault()
    arm.measured = inside
    arm.tick()
    assert is_cleared(arm)


def test_an_error_of_its_own_is_a_fault_in_which_the_arm_comes_to_rest(arm, monkeypatch):
    arm.run(rows=100, ticks=20)
    monkeypatch.setattr("worldagen.chunking.ChunkPlayer.next_row", lambda *_: 1 / 0)
    arm.tick(10)
    assert is_(arm, LiveState.FAULT, "internal error: ZeroDivisionError: division by zero")
    assert came_to_rest(arm) and faulted(arm, "internal error")
    monkeypatch.undo()
    assert is_cleared(arm)


def test_an_error_that_leaves_nothing_to_reckon_with_repeats_the_last_pose(arm, monkeypatch):
    arm.run(rows=100, ticks=20)
    monkeypatch.setattr(arm.commander._follower, "follow", lambda *_: 1 / 0)
    last = arm.commands[-1]
    command = arm.tick()
    assert command.pose is last.pose and not command.motion.any()
    assert is_(arm, LiveState.FAULT, "internal error")


def test_an_error_before_anything_was_commanded_commands_nothing(arm, monkeypatch):
    arm.run(rows=1, ticks=REST)
    arm.state_age_s = 0.3
    arm.tick(REST)
    arm.state_age_s = 0.0
    assert arm.tick() is None  # READY: what was commanded before is over
    monkeypatch.setattr(arm.commander, "_change_state", lambda: 1 / 0)
    assert arm.tick(3) is None and is_(arm, LiveState.FAULT, "internal error")


def test_there_is_no_fault_to_clear_in_other_states(arm):
    assert arm.commander.clear_fault() == "there is no fault to clear, the state is DISABLED"
    arm.run()
    assert "the state is RUNNING" in arm.commander.clear_fault() and is_(arm, LiveState.RUNNING, "")


# ---------------------------------------------------------------- disabling


def test_the_last_command_is_to_stay_and_may_be_said_again(arm):
    arm.run(ticks=20)
    last = arm.commands[-1]
    final = arm.commander.disable()
    assert final.pose is last.pose and not final.motion.any() and final.opening == last.opening
    assert arm.commander.disable() is final
    assert arm.tick(3) is None and is_(arm, LiveState.DISABLED, "disabled")
    assert "DISABLED" in arm.offer(sequence=1)


def test_who_has_the_time_comes_to_rest_first(arm):
    arm.run(ticks=20)
    arm.commander.hold("the node is deactivated")
    while not arm.commander.at_rest:
        arm.tick()
    assert arm.commander.disable().pose.position.tolist() == arm.commands[-1].pose.position.tolist()
    assert not arm.commands[-1].motion.any()


def test_there_is_no_last_command_where_none_was_given(arm):
    assert arm.commander.disable() is None
    arm.commander.enable()
    arm.tick()
    assert arm.commander.disable() is None and is_(arm, LiveState.DISABLED, "disabled")


def test_enabled_again_it_begins_anew(arm):
    arm.run(ticks=20)
    arm.commander.disable()
    assert arm.commander.enable() == "" and arm.commander.enable() == ""
    assert arm.tick() is None and is_(arm, LiveState.READY, "enabled, waits for a chunk")
    arm.offer(sequence=1)
    assert arm.tick().seated


def test_disabling_does_not_clear_a_fault(arm):
    arm.run(rows=100, ticks=5)
    arm.states_bad, arm.state_age_s = True, 0.3
    arm.tick()
    assert arm.commander.disable().motion.tolist() == [0.0] * 6
    assert is_(arm, LiveState.FAULT, "joint states") and arm.tick() is None
    assert "clear it first" in arm.commander.enable()
    arm.states_bad, arm.state_age_s = False, 0.0
    arm.tick()
    assert arm.commander.clear_fault() == "" and is_(arm, LiveState.DISABLED, "the fault was cleared, not enabled")
    assert arm.commander.enable() == "" and is_(arm, LiveState.READY, "")
