"""The envelope finds what leaves it and says where; a plan asks all instructions equally often; noise repeats itself."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from worldagen.disturbance import Disturbance, make_disturbance
from worldagen.errors import ConfigError, ExplorationError
from worldagen.exploring import Envelope, EnvelopeWatch, Exploration, Sample, plan_rollouts
from worldagen.homing import is_home, rows_home
from worldagen.poses import Pose
from worldagen.session import make_policy
from worldagen.types import Observation

MS = 1_000_000
WORDS = ("open the drawer", "push the button", "lift the red block")
ENVELOPE = Envelope(low_m=(-0.5, -0.5, 0.3), high_m=(0.5, 0.5, 0.9), max_speed_mps=0.5, max_speed_radps=1.0)


def at(stamp_ms: float, x=0.0, y=0.0, z=0.5, yaw=0.0, **efforts: float) -> Sample:
    return Sample(round(stamp_ms * MS), np.array([x, y, z, 0.0, 0.0, yaw]), efforts)


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (at(0, z=0.29), "z = 0.290 m, at (0.000, 0.000, 0.290) m; the box allows 0.3 to 0.9 m"),
        (at(0, x=0.6), "x = 0.600 m"),
        (at(0, y=float("nan")), "y = nan m"),
    ],
)
def test_a_tool_outside_the_box_is_told_with_place_and_bound(sample, words):
    breach = ENVELOPE.check(sample)
    assert breach is not None and breach.bound == "box" and words in breach.message
    assert ENVELOPE.check(at(0, x=0.5, z=0.3)) is None  # the bound itself is inside


def test_speed_is_measured_between_states():
    assert ENVELOPE.check(at(100, x=0.049), at(0)) is None
    fast = ENVELOPE.check(at(100, x=0.06), at(0))
    assert fast is not None and fast.bound == "speed" and "moves at 0.60 m/s" in fast.message and "0.5 m/s" in fast.message
    turning = ENVELOPE.check(at(100, yaw=0.2), at(0))
    assert turning is not None and "turns at 2.00 rad/s" in turning.message


def test_a_sudden_effort_is_a_contact_and_joints_without_efforts_are_none():
    touched = ENVELOPE.check(at(33, panda_joint2=14.0), at(0, panda_joint2=2.0))
    assert touched is not None and touched.bound == "contact" and "panda_joint2 changed by 12.00 Nm" in touched.message
    assert ENVELOPE.check(at(33, panda_joint2=11.0), at(0, panda_joint2=2.0)) is None
    assert ENVELOPE.check(at(33), at(0, panda_joint2=2.0)) is None


def test_a_watch_measures_over_a_control_period_whatever_the_rate_of_states():
    watch = EnvelopeWatch(ENVELOPE)
    jitter = np.random.default_rng(0).uniform(-1e-4, 1e-4, 300)  # a still arm at 1 kHz: between two states up to 0.2 m/s
    tight = replace(ENVELOPE, max_speed_mps=0.02)
    assert all(EnvelopeWatch(tight).look(at(index, x=x)) is None for index, x in enumerate(jitter))
    found = [watch.look(at(index, x=0.0007 * index)) for index in range(100)]  # 0.7 m/s
    assert found[:30] == [None] * 30 and found[31] is not None and "0.70 m/s" in found[31].message


def test_a_watch_measures_nothing_across_a_gap_or_a_jump_back():
    watch = EnvelopeWatch(ENVELOPE)
    assert watch.look(at(0)) is None
    assert watch.look(at(700, x=0.4)) is None  # the robot was put elsewhere
    assert watch.look(at(100, x=-0.4)) is None
    assert watch.look(at(140, x=0.4)) is not None


def test_silence_names_the_stream_and_its_own_bound():
    assert ENVELOPE.silence({"joint_states": 0.1, "wrist_camera": 0.4}) == ""
    assert "joint_states is silent for 0.30 s; the bound is 0.2 s" in ENVELOPE.silence({"joint_states": 0.3})
    assert "wrist_camera is silent" in ENVELOPE.silence({"joint_states": 0.1, "wrist_camera": 0.6})


def test_every_instruction_is_asked_equally_often_wherever_it_ends():
    plan = plan_rollouts(Exploration(WORDS, rollouts=30, seed=4))
    for end in range(1, 31):
        counts = Counter(rollout.instruction for rollout in plan[:end])
        assert max(counts.values()) - min(counts.get(words, 0) for words in WORDS) <= 1
    assert [rollout.number for rollout in plan] == list(range(1, 31))


def test_a_plan_is_a_function_of_its_seed_and_no_two_rollouts_begin_alike():
    plan = plan_rollouts(Exploration(WORDS, rollouts=30, seed=4))
    assert plan == plan_rollouts(Exploration(WORDS, rollouts=30, seed=4))
    other = plan_rollouts(Exploration(WORDS, rollouts=30, seed=5))
    assert [rollout.instruction for rollout in plan] != [rollout.instruction for rollout in other]
    for seeds in ("episode_seed", "noise_seed"):
        drawn = [getattr(rollout, seeds) for rollout in (*plan, *other)]
        assert len(set(drawn)) == 60 and min(drawn) >= 0
    assert all(300_000 <= rollout.episode_seed < 400_000 for rollout in plan)  # nothing else begins there


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"instructions": ()}, "expected one or more"),
        ({"instructions": ("open", " ")}, "each with words"),
        ({"rollouts": 0}, "0 rollouts"),
        ({"steps": 0}, "0 steps"),
        ({"seed": -1}, "the seed is -1"),
        ({"action_noise": float("nan")}, "action noise is nan"),
        ({"action_noise": 0.51}, "0 to 0.5"),
        ({"time_limit_s": float("inf")}, "time limit is inf"),
    ],
)
def test_an_exploration_that_makes_no_sense_is_refused(wrong, words):
    with pytest.raises(ExplorationError, match=words):
        Exploration(**{"instructions": WORDS, "rollouts": 3, **wrong})


def test_the_way_home_is_straight_slow_and_ends_there():
    pose, home = Pose.from_euler(np.array([0.2, 0.0, 0.5, 0, 0, 0.3])), Pose.from_euler(np.array([0.0, 0.1, 0.5, 0, 0, 0]))
    rows = rows_home(pose, home, 0.002, 0.01, 1.0, 6)
    assert rows.shape == (6, 7) and np.allclose(np.linalg.norm(rows[:, :3], axis=1), 0.002) and rows[0, 6] == 1.0
    for _ in range(400):
        assert np.linalg.norm(rows_home(pose, home, 0.002, 0.01, 1.0, 1)[0, 3:6]) <= 0.01 + 1e-12
        pose = pose.moved(rows_home(pose, home, 0.002, 0.01, 1.0, 1)[0])
    assert is_home(pose, home, 0.001, 0.01) and not is_home(pose, Pose.from_euler(np.zeros(6)), 0.1, 0.1)


def test_noise_moves_the_arm_as_much_as_asked_stays_in_range_and_leaves_the_gripper():
    numbers = np.zeros((2000, 7), np.float32)
    numbers[:, 6] = np.where(np.arange(2000) % 2, 1.0, -1.0)
    disturbed = Disturbance(0.2, seed=1).applied(numbers, step=3)
    assert disturbed.dtype == np.float32 and np.array_equal(disturbed[:, 6], numbers[:, 6])
    assert disturbed[:, :6].std() == pytest.approx(0.2, rel=0.05)
    assert np.abs(Disturbance(0.5, 1).applied(numbers + 0.9, 0)[:, :6]).max() == 1.0
    assert not np.array_equal(disturbed, Disturbance(0.2, 1).applied(numbers, 4))  # every decision has its own
    assert make_disturbance(0.0, 7) is None
    for wrong in ((0.6, 0), (-0.1, 0), (float("nan"), 0), (0.1, -1)):
        with pytest.raises(ConfigError):
            Disturbance(*wrong)


def test_the_network_remembers_and_answers_its_disturbed_chunks_and_repeats_them():
    policy = make_policy("playtable")
    drawn = np.random.default_rng(2)
    seen = [
        Observation(
            index * 166_666_667, drawn.integers(0, 255, (96, 96, 3), np.uint8), drawn.integers(0, 255, (64, 64, 3), np.uint8),
            np.array([0.0, 0.0, 0.5, 3.0, 0.0, 0.0, 1.0]),
        )
        for index in range(2)
    ]  # fmt: skip

    def rows(disturbance):
        policy.reset("open the drawer", disturbance)
        return [policy.act(observation).rows for observation in seen]

    plain, disturbed = rows(None), rows(Disturbance(0.2, 1))
    assert all(np.array_equal(one, other) for one, other in zip(disturbed, rows(Disturbance(0.2, 1)), strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(plain, rows(None), strict=True))  # the noise is over
    assert not np.array_equal(disturbed[0], rows(Disturbance(0.2, 2))[0])
    moved = np.abs(plain[0] - disturbed[0])  # the same decision, moved and not replaced
    assert 0 < moved[:, :3].max() <= 5 * 0.2 * 0.02 and moved[:, 6].max() == 0
    policy.reset("open the drawer", Disturbance(0.2, 1))
    policy.act(seen[0])
    remembered = policy._executed[-1]
    policy.reset("open the drawer")
    policy.act(seen[0])
    assert not np.array_equal(remembered.float().numpy(), policy._executed[-1].float().numpy())
