"""The commanded pose moves with the rows, holds without them, and is forgotten with the robot."""

from dataclasses import replace

import numpy as np
import pytest

from worldagen.commanding import Commander, CommandState, LockstepAnswers
from worldagen.errors import BadChunk, BadCommand
from worldagen.limits import LimitsConfig
from worldagen.poses import Pose
from worldagen.types import ActionChunk

S = 1_000_000_000
HERE = Pose.from_euler(np.array([0.1, 0.2, 0.5, np.pi, 0.0, 0.0]))


def chunk(stamp_ns: int = 0, rows: int = 2, sequence: int = 0) -> ActionChunk:
    motion = np.zeros((rows, 7))
    motion[:, 0] = 0.01
    return ActionChunk(stamp_ns=stamp_ns, sequence=sequence, period_s=0.1, convention="calvin", rows=motion)


@pytest.fixture
def commander() -> Commander:
    return Commander(LimitsConfig(), blend_rows=0, max_chunk_age_s=0.5)


def test_nothing_is_commanded_before_the_first_chunk(commander):
    assert commander.tick(0, HERE) is None
    assert commander.state is CommandState.READY


def test_rows_add_to_the_commanded_pose_and_then_it_holds(commander):
    commander.offer(chunk(), now_ns=0)
    positions = [commander.tick(tick, HERE).pose.position[0] for tick in range(4)]
    assert positions == pytest.approx([0.11, 0.12, 0.12, 0.12])
    assert commander.state is CommandState.HOLD
    assert commander.tick(5, HERE).motion.tolist() == [0.0] * 6


def test_rows_of_libero_count_from_where_the_tool_is(commander):
    commander.offer(replace(chunk(), convention="libero"), now_ns=0)
    behind = Pose(HERE.position + np.array([0.002, 0.0, 0.0]), HERE.quaternion)  # the arm has not come as far as it was sent
    commands = [commander.tick(tick, measured) for tick, measured in enumerate((HERE, behind, behind))]
    assert [command.pose.position[0] for command in commands] == pytest.approx([0.11, 0.112, 0.112])
    assert [command.motion[0] for command in commands] == pytest.approx([0.01, 0.01, 0.0])


def test_an_old_chunk_is_refused(commander):
    with pytest.raises(BadChunk, match=r"is 2\.00 s old; allowed: 0\.5 s"):
        commander.offer(chunk(stamp_ns=0), now_ns=2 * S)
    assert commander.tick(2 * S, HERE) is None


def test_a_refused_plan_holds_where_the_arm_was_sent(commander):
    commander.offer(chunk(rows=5), now_ns=0)
    commander.tick(0, HERE)
    commander.refuse_plan()
    command = commander.tick(1, HERE)
    assert command.pose.position[0] == pytest.approx(0.11)
    assert commander.state is CommandState.HOLD


def test_after_the_robot_was_lost_nothing_is_commanded_until_a_new_chunk(commander):
    commander.offer(chunk(rows=5), now_ns=0)
    commander.tick(0, HERE)
    commander.release()
    assert commander.tick(1, HERE) is None
    elsewhere = Pose(HERE.position + 0.2, HERE.quaternion)
    commander.offer(chunk(stamp_ns=2), now_ns=2)
    assert commander.tick(2, elsewhere).pose.position == pytest.approx(elsewhere.position + np.array([0.01, 0, 0]))


def test_a_scaled_arm_goes_a_share_of_each_row_and_at_none_stands_where_it_is(commander):
    commander.offer(chunk(rows=6), now_ns=0)
    x = []
    for tick, scale in enumerate([1.0, 0.5, 0.0, 0.0, 0.5, 1.0]):
        commander.scale_speed(scale)
        x.append(commander.tick(tick, HERE).pose.position[0])
    assert x == pytest.approx([0.11, 0.115, 0.115, 0.115, 0.12, 0.13])
    assert commander.tick(6, HERE).pose.position[0] == pytest.approx(0.13) and commander.state is CommandState.HOLD


def test_at_no_speed_the_gripper_keeps_and_rows_pass(commander):
    closing = chunk(rows=2)  # gripper 0
    commander.scale_speed(0.0)
    commander.offer(closing, now_ns=0)
    command = commander.tick(0, HERE)
    assert (command.opening, command.motion.tolist(), commander.state) == (1.0, [0.0] * 6, CommandState.STOPPED)
    commander.scale_speed(0.5)
    assert commander.tick(1, HERE).opening == 0.0 and not commander.has_rows


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -0.1, 1.01])
def test_a_speed_that_is_no_share_is_refused_and_the_old_one_kept(commander, scale):
    commander.scale_speed(0.5)
    with pytest.raises(BadCommand, match=r"expected a number from 0 to 1, keeping 0\.5"):
        commander.scale_speed(scale)
    assert commander.speed_scale == 0.5


def test_the_speed_is_kept_when_the_robot_is_lost(commander):
    commander.scale_speed(0.5)
    commander.release()
    commander.offer(chunk(), now_ns=0)
    assert commander.tick(0, HERE).pose.position[0] == pytest.approx(0.105)


class TestLockstepAnswers:
    def test_a_chunk_owes_one_command_for_each_of_its_instants(self):
        answers = LockstepAnswers()
        answers.offer(100, rows=2)
        assert answers.begins(100) and answers.due(100)
        assert not answers.begins(110) and answers.due(110)
        assert not answers.due(120)

    def test_a_chunk_that_comes_before_its_joint_states_waits_for_them(self):
        answers = LockstepAnswers()
        answers.offer(100, rows=1)
        assert not answers.begins(90) and not answers.due(90)
        assert answers.begins(100) and answers.due(100)

    def test_an_instant_shown_again_is_answered_again_not_anew(self):
        answers = LockstepAnswers()
        answers.offer(100, rows=3)
        assert answers.begins(100) and answers.due(100)
        answers.offer(100, rows=3)
        assert not answers.begins(100) and not answers.due(100) and answers.again(100)
        assert answers.due(110)

    def test_a_reset_owes_nothing(self):
        answers = LockstepAnswers()
        answers.offer(100, rows=3)
        assert answers.begins(100) and answers.due(100)
        answers.clear()
        assert not answers.due(1000)
        answers.offer(1000, rows=1)
        assert answers.begins(1000) and answers.due(1000)

    def test_a_reset_keeps_the_chunk_that_came_before_the_new_joint_states(self):
        answers = LockstepAnswers()
        answers.offer(100, rows=3)
        assert answers.begins(100) and answers.due(100)
        answers.offer(1000, rows=1)
        answers.clear()
        assert not answers.due(110) and answers.begins(1000) and answers.due(1000)
