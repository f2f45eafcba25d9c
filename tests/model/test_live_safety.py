"""Whatever comes, in whatever order, every command that is sent keeps every limit.

A story is a list of happenings: chunks good and bad, joint states that jump, clocks that jump, buttons, people, and ticks
between them. Hypothesis writes the stories.
"""

from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_arm import LiveArm, commander_with
from motion_making import assert_within
from scipy.spatial.transform import Rotation

from worldagen.errors import BadChunk, WorldAgenError
from worldagen.limits import LimitsConfig, keep_out_boxes
from worldagen.live_commanding import LiveCommand, LiveState
from worldagen.poses import Pose
from worldagen.types import ActionChunk

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")  # of arithmetic: an overflow, a division by zero
# Stories are long: to look for shorter ones that fail too would take minutes, and is not needed to read them.
STORIES = settings(derandomize=True, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
PERIOD_S = 0.01
WORKSPACE = {"workspace_low_m": (-0.3, -0.3, 0.1), "workspace_high_m": (0.3, 0.3, 0.8)}
LIMITS = {
    "calvin": LimitsConfig(**WORKSPACE, max_following_s=0.05),
    "keep out": LimitsConfig(
        **WORKSPACE,
        max_lead_m=0.5,
        max_following_m=1.0,
        keep_out_m=(-0.1, -0.1, 0.3, 0.05, 0.1, 0.4, 0.15, -0.3, 0.1, 0.2, 0.3, 0.5),
    ),
    "first run": LimitsConfig(
        **WORKSPACE,
        max_speed_mps=0.1,
        max_speed_radps=0.5,
        max_accel_mps2=1.0,
        max_accel_radps2=2.5,
        max_jerk_mps3=50.0,
        max_jerk_radps3=125.0,
        keep_out_m=(-0.1, -0.1, 0.3, 0.05, 0.1, 0.4),
    ),
}
HAPPENINGS = (
    *("go",) * 16,
    *("tick", "chunk", "chunk", "again", "wild chunk", "old chunk", "no chunk", "hold", "button"),
    *("scale",) * 3,
    *("push", "jump", "lose", "garbage", "late", "clock", "disable", "clear"),
)

places = st.tuples(st.floats(-0.45, 0.45), st.floats(-0.45, 0.45), st.floats(-0.05, 0.95)).map(np.array)
turns = st.tuples(*[st.floats(-1.8, 1.8)] * 3).map(np.array)
axes = st.sampled_from(
    [np.array(axis, float) for axis in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1), (1, 1, 1))]
)
happenings = st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 2**16 - 1), axes), min_size=5, max_size=30)


class Story:
    """Lets an arm live through happenings, and checks every command on the way."""

    def __init__(self, limits: LimitsConfig, start: Pose) -> None:
        self.arm = LiveArm(commander_with(limits, blend_rows=2), measured=start)
        self.sequence, self.newest, self.older = 0, None, None
        self.arm.commander.enable()
        self.times_ns: list[int] = []  # steady, of each command

    def tell(self, what: str, number: int, axis: np.ndarray) -> None:
        arm, commander = self.arm, self.arm.commander
        try:
            if what == "tick":
                self.tick(1 + number % 40)
            elif what == "chunk":
                alternating = np.where(np.arange(1 + number % 20) % (1 + number % 3) == 0, 1.0, -1.0)[:, None]
                motion = alternating * np.concatenate([axis * 0.03, axis[[1, 2, 0]] * 0.08, [number % 7 / 6]])
                self.offer(motion, age_s=number % 5 * 0.03, convention=("calvin", "libero")[number % 4 == 0])
            elif what == "wild chunk":
                motion = np.random.default_rng(number).normal(size=(5, 7)) * 10.0 ** (number % 40 - 5)
                motion[0, number % 7] = (np.nan, np.inf, 1e30, -1e308)[number % 4]
                self.offer(motion)
            elif what == "old chunk":
                self.offer(np.full((3, 7), 0.02), age_s=0.3 + number % 3 * 0.3)
            elif what == "again" and self.newest is not None:  # twice, or in the wrong order
                commander.offer((self.newest, self.older or self.newest)[number % 2], arm.now_ns)
            elif what == "no chunk":
                commander.refuse("could not be decoded")
            elif what == "push" and arm.measured is not None:
                arm.measured = Pose(arm.measured.position + axis * (number % 20) * 0.01, arm.measured.quaternion)
                arm.follows = number % 2 == 0
            elif what == "jump":
                arm.measured = Pose(axis * number / 2**17, Rotation.random(random_state=number).as_quat())
                arm.follows = number % 2 == 0
            elif what == "lose":
                arm.state_age_s, arm.states_bad = 0.1 + number % 3 * 0.1, number % 5 == 0
            elif what == "garbage":
                arm.measured = Pose(np.array([0.0, (np.nan, np.inf, 1e30, 1e308)[number % 4], 0.5]), np.zeros(4) + number % 2)
                arm.follows = False
            elif what == "go":  # all is well again, and stays so for a while
                sent = next((command.pose for command in reversed(arm.commands) if command), None)
                arm.measured = sent or Pose(np.array([0.0, 0.0, 0.5]), np.array([1.0, 0.0, 0.0, 0.0]))
                arm.state_age_s, arm.states_bad, arm.may_move, arm.follows = 0.0, False, True, True
                commander.scale_speed(1.0)
                self.tick(1)
                commander.clear_fault()
                commander.enable()
                self.tick(1)
                motion = np.concatenate([axis * 0.02, axis[[1, 2, 0]] * 0.05, [number % 2]])
                self.offer(np.tile(motion, (1 + number % 30, 1)))
                self.tick(3 + number % 67)
            elif what == "late":
                self.tick(1, 0.02 * (1 + number % 80))
            elif what == "clock":
                arm.now_ns += (number - 2**15) * 500_000
            elif what == "button":
                arm.may_move = number % 3 > 0
            elif what == "scale":
                commander.scale_speed(number % 5 / 4)
            elif what == "hold":
                commander.hold("asked for")
            elif what == "disable":
                commander.disable()
                self.tick(1)
                commander.enable()
            elif what == "clear":
                commander.clear_fault()
        except WorldAgenError:
            pass
        self.tick(1 + number % 12)  # that it may take effect

    def offer(self, motion: np.ndarray, age_s: float = 0.0, convention: str = "calvin") -> None:
        self.sequence += 1
        stamp_ns = self.arm.now_ns - round(age_s * 1e9)
        self.newest, self.older = ActionChunk(stamp_ns, self.sequence, 1 / 30, convention, motion), self.newest
        self.arm.commander.offer(self.newest, self.arm.now_ns)

    def tick(self, times: int, period_s: float = PERIOD_S) -> None:
        arm = self.arm
        for _ in range(times):
            was, measured = arm.commander.state, arm.measured
            command = arm.tick(1, period_s)
            self.times_ns.append(arm.steady_ns)
            is_ = arm.commander.state
            assert "internal error" not in arm.commander.reason, arm.commander.reason
            assert (command is None) == (is_ in (LiveState.DISABLED, LiveState.READY)) or is_ is LiveState.FAULT
            assert was is not LiveState.FAULT or is_ is LiveState.FAULT, "a fault was left by itself"
            if command is not None and command.seated:
                usable = np.abs(measured.position).max() < 1e3 and measured.quaternion.any()
                assert command.pose.position.tolist() == measured.position.tolist() or not usable
                assert not command.motion.any()

    def segments(self) -> list[list[LiveCommand]]:
        """The commands between one seat and the next, or silence."""
        found: list[list[LiveCommand]] = []
        before = None
        for command in self.arm.commands:
            if command is not None:
                assert command.seated or before is not None, "after silence, the pose was not seated"
                if command.seated:
                    found.append([])
                found[-1].append(command)
            before = command
        return found


def assert_safe(story: Story, limits: LimitsConfig) -> None:
    bounds = [
        [limits.max_speed_mps, limits.max_accel_mps2, limits.max_jerk_mps3],
        [limits.max_speed_radps, limits.max_accel_radps2, limits.max_jerk_radps3],
    ]
    for segment in story.segments():
        poses = [command.pose for command in segment]
        positions = np.array([pose.position for pose in poses])
        assert np.isfinite(positions).all() and np.isfinite([pose.quaternion for pose in poses]).all()
        assert_within(poses, PERIOD_S, bounds)
        inside = ((positions >= limits.workspace_low_m) & (positions <= limits.workspace_high_m)).all(axis=1)
        assert inside[inside.argmax() :].all() or not inside.any(), "it left the work space"
        path = np.stack([positions[:-1] + (positions[1:] - positions[:-1]) * share for share in (0.0, 0.25, 0.5, 0.75)], axis=1)
        path = np.concatenate([path.reshape(-1, 3), positions[-1:]])  # also between the ticks
        for low, high in keep_out_boxes(limits.keep_out_m):
            out = ~((path > low + 1e-12) & (path < high - 1e-12)).all(axis=1)
            assert out[out.argmax() :].all() or not out.any(), "it entered a box to keep out of"
            if out[0]:
                assert out.all()
    openings = [
        (now_ns, command.opening) for now_ns, command in zip(story.times_ns, story.arm.commands, strict=True) if command
    ]
    assert all(opening in (0.0, 1.0) for _, opening in openings)
    changes = [after[0] for before, after in pairwise(openings) if after[1] != before[1]]
    assert all(later - earlier >= 300_000_000 for earlier, later in pairwise(changes))


@settings(STORIES, max_examples=80)
@given(name=st.sampled_from(sorted(LIMITS)), start=places, turn=turns, story=happenings)
def test_whatever_happens_every_command_is_safe(name, start, turn, story):
    limits = LIMITS[name]
    told = Story(limits, Pose(start, Rotation.from_rotvec(turn).as_quat()))
    told.tick(1)
    for what, number, axis in story:
        told.tell(what, number, axis)
    told.tick(10)
    assert_safe(told, limits)


@settings(STORIES, max_examples=40)
@given(
    start=places,
    ways=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1), st.integers(1, 12)), max_size=12),
)
def test_no_way_around_a_box_leads_into_it(start, ways):
    """Nothing goes wrong here, so that the arm gets far: only rows at full speed, around and against the boxes."""
    limits = LIMITS["keep out"]
    story = Story(limits, Pose(start, np.array([1.0, 0.0, 0.0, 0.0])))
    story.tick(1)
    for x, y, z, rows in ways:
        way = np.array([x, y, z])
        way *= 0.02 / max(np.linalg.norm(way), 1e-6)
        with suppress(BadChunk):  # of as many rows as were begun meanwhile
            story.offer(np.tile([*way, 0.0, 0.0, 0.0, 1.0], (rows, 1)))
        story.tick(rows * 10 // 3)
    story.tick(30)
    assert_safe(story, limits)


def test_the_stories_tell_of_every_state_and_limit():
    """Or the two tests above could pass because nothing ever moves."""
    states, names, moved = set(), set(), 0.0
    for number in range(20):
        random = np.random.default_rng(number)
        limits = LIMITS[sorted(LIMITS)[number % 3]]
        story = Story(limits, Pose(random.uniform((-0.4, -0.4, 0.0), (0.4, 0.4, 0.9)), np.array([1.0, 0.0, 0.0, 0.0])))
        for _ in range(20):
            way = random.normal(size=3)
            story.tell(HAPPENINGS[random.choice(len(HAPPENINGS))], int(random.integers(2**16)), way / np.linalg.norm(way))
            states.add(story.arm.commander.state)
        for command in story.arm.commands:
            if command is not None:
                names |= set(command.limited_by)
                moved += float(np.linalg.norm(command.motion[:3]))
        assert_safe(story, limits)
    assert states >= set(LiveState) - {LiveState.DISABLED}
    assert names == {"workspace", "keep_out", "step", "speed_scale", "speed", "acceleration", "jerk", "lead"}
    assert moved > 10.0  # m
