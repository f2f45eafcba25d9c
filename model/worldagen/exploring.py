"""Exploration without ROS: which rollouts there are, the envelope that ends them, and how they ended.

In a new place the policy runs under a list of instructions, each equally often, and everything is recorded; the world model
learns from the bag what the place looks like. Whether anything succeeds is not asked.

    plan = plan_rollouts(Exploration(("open the drawer", "push the button"), rollouts=10))
    watch = EnvelopeWatch(Envelope())
    watch.look(Sample(stamp_ns, pose))      # None, or a Breach that says what was found, where, and the bound
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np

from worldagen.config import setting
from worldagen.disturbance import problem_with
from worldagen.errors import ExplorationError
from worldagen.poses import Pose

STEPS = 60  # control steps of a rollout: the published windows use its frames up to 57 only
FIRST_EPISODE = 300_000  # simulator seeds of rollouts: from here up to where those that choose a checkpoint begin
EPISODES = 100_000
ROLLOUTS = 1000  # at most; then no two rollouts of one exploration begin alike
SPAN_NS = 30_000_000  # speeds and efforts are compared over so long, a control period: shorter ones measure a sensor's noise
FORGET_NS = 500_000_000  # after a longer gap the robot may have been put elsewhere: nothing is measured across it


class Reason(IntEnum):
    """Why an exploration ended; the numbers are those of worldagen_msgs/Explore."""

    FINISHED = 1
    CANCELED = 2
    ENVELOPE = 3
    INPUT_LOST = 4
    DISK_FULL = 5
    FAULT = 6


@dataclass(frozen=True)
class Exploration:
    """What to explore. Raises ExplorationError naming what is wrong.

    instructions: what the policy is asked, each equally often. rollouts: how many in all. steps: control steps of each.
    action_noise: deviation of the noise on the arm's numbers, share of full scale. seed: of the order, the noise and, in a
    simulator, the layouts. time_limit_s: of everything, s; 0: the envelope's.
    """

    instructions: tuple[str, ...]
    rollouts: int
    steps: int = STEPS
    action_noise: float = 0.0
    seed: int = 0
    time_limit_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.instructions or not all(isinstance(words, str) and words.strip() for words in self.instructions):
            raise ExplorationError(f"the instructions are {list(self.instructions)}; expected one or more, each with words")
        if not 1 <= self.rollouts <= ROLLOUTS:
            raise ExplorationError(f"{self.rollouts} rollouts; expected 1 to {ROLLOUTS}")
        if self.steps < 1:
            raise ExplorationError(f"{self.steps} steps a rollout; expected 1 or more")
        if self.seed < 0:
            raise ExplorationError(f"the seed is {self.seed}; expected 0 or more")
        if problem := problem_with(self.action_noise, self.seed):
            raise ExplorationError(problem)
        if not (math.isfinite(self.time_limit_s) and self.time_limit_s >= 0.0):
            raise ExplorationError(f"the time limit is {self.time_limit_s} s; expected 0 or more")


@dataclass(frozen=True)
class Rollout:
    """One rollout: its number from 1, its words, and the seeds of its layout (in a simulator) and of its action noise."""

    number: int
    instruction: str
    episode_seed: int
    noise_seed: int


def plan_rollouts(asked: Exploration) -> tuple[Rollout, ...]:
    """The rollouts in their order, a function of the request alone.

    Round after round asks every instruction once, each round in an order drawn from the seed; so, wherever it ends, no
    instruction was asked twice more often than another.
    """
    order = np.random.default_rng(asked.seed)
    rounds = math.ceil(asked.rollouts / len(asked.instructions))
    drawn = np.concatenate([order.permutation(len(asked.instructions)) for _ in range(rounds)])[: asked.rollouts]
    return tuple(
        Rollout(
            number=index + 1,
            instruction=asked.instructions[int(place)],
            episode_seed=FIRST_EPISODE + (asked.seed * ROLLOUTS + index) % EPISODES,
            noise_seed=int(np.random.SeedSequence([asked.seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1)),
        )
        for index, place in enumerate(drawn)
    )


@dataclass(frozen=True)
class Breach:
    """Something left its bound: which one ("box", "speed", ...), and what was found, where, and the bound, in words."""

    bound: str
    message: str


@dataclass(frozen=True, eq=False)
class Sample:
    """The robot at one instant: stamp, measured tool pose (6,) m and rad, and the joints' efforts (Nm) where reported."""

    stamp_ns: int
    pose: np.ndarray
    efforts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Envelope:
    """What an exploration may not leave; it ends when the robot does. The command node's own limits hold besides."""

    low_m: tuple[float, ...] = setting(
        (-0.65, -0.65, 0.0), "lowest x, y, z of the measured tool in frame_id, m; z is the floor"
    )
    high_m: tuple[float, ...] = setting((0.65, 0.65, 1.25), "highest x, y, z of the measured tool in frame_id, m")
    max_speed_mps: float = setting(1.5, "fastest the tool may move from one state to another, m/s", low=0.001, high=5.0)
    max_speed_radps: float = setting(5.0, "fastest the tool may turn from one state to another, rad/s", low=0.001, high=20.0)
    max_effort_change_nm: float = setting(
        10.0,
        "contact stop: largest change of a joint's effort within a control period, Nm; where joint states report efforts",
        low=0.01,
        high=1000.0,
    )
    max_camera_age_s: float = setting(
        0.5, "a camera that is silent for longer ends it, s; in lockstep the cameras wait for us", low=0.05, high=60.0
    )
    max_state_age_s: float = setting(0.2, "the same of the joint states, s", low=0.01, high=60.0)
    time_limit_s: float = setting(
        3600.0, "everything together may take so long where a request says nothing, s of ROS time", low=1.0, high=86400.0
    )

    def check(self, now: Sample, before: Sample | None = None) -> Breach | None:
        """What one state breaks, or its way from an earlier one; None when all is well.

        Numbers that are not finite break the box: a robot that does not know where it is must not go on.
        """
        return self._box(now) or (None if before is None else self._speed(before, now) or self._contact(before, now))

    def silence(self, ages_s: Mapping[str, float]) -> str:
        """Which input is silent for too long, in words; empty when none is. ages_s: "joint_states" and cameras -> s."""
        for stream, age_s in ages_s.items():
            bound_s = self.max_state_age_s if stream == "joint_states" else self.max_camera_age_s
            if age_s > bound_s:
                return (
                    f"{stream} is silent for {age_s:.2f} s; the bound is {bound_s:g} s. Look at its driver, then explore again"
                )
        return ""

    def _box(self, now: Sample) -> Breach | None:
        for axis, at, low, high in zip("xyz", now.pose[:3], self.low_m, self.high_m, strict=True):
            if not low <= at <= high:
                where = ", ".join(f"{number:.3f}" for number in now.pose[:3])
                return Breach(
                    "box", f"the tool is at {axis} = {at:.3f} m, at ({where}) m; the box allows {low:g} to {high:g} m"
                )
        return None

    def _speed(self, before: Sample, now: Sample) -> Breach | None:
        span_s = (now.stamp_ns - before.stamp_ns) * 1e-9
        if span_s <= 0:
            return None
        way = Pose.from_euler(before.pose).row_to(Pose.from_euler(now.pose))
        bounds = ((way[:3], self.max_speed_mps, "moves", "m/s"), (way[3:], self.max_speed_radps, "turns", "rad/s"))
        for part, bound, does, unit in bounds:
            speed = float(np.linalg.norm(part)) / span_s
            if not speed <= bound:
                where = ", ".join(f"{number:.3f}" for number in now.pose[:3])
                return Breach("speed", f"the tool {does} at {speed:.2f} {unit} at ({where}) m; the bound is {bound:g} {unit}")
        return None

    def _contact(self, before: Sample, now: Sample) -> Breach | None:
        changes = {joint: abs(now.efforts[joint] - effort) for joint, effort in before.efforts.items() if joint in now.efforts}
        joint = max(changes, key=lambda name: changes[name], default=None)
        if joint is None or changes[joint] <= self.max_effort_change_nm:
            return None
        where = ", ".join(f"{number:.3f}" for number in now.pose[:3])
        return Breach(
            "contact",
            f"the effort of {joint} changed by {changes[joint]:.2f} Nm, the tool being at ({where}) m; the bound is "
            f"{self.max_effort_change_nm:g} Nm: it has touched something",
        )


class EnvelopeWatch:
    """Holds the envelope to one state after another, whatever their rate: each is compared with one a control period older."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self._seen: deque[Sample] = deque()

    def forget(self) -> None:
        """The robot was put elsewhere: the next state has none before it."""
        self._seen.clear()

    def look(self, now: Sample) -> Breach | None:
        """What this state breaks, or its way since an earlier one."""
        if self._seen and not 0 < now.stamp_ns - self._seen[-1].stamp_ns <= FORGET_NS:
            self.forget()
        while len(self._seen) > 1 and now.stamp_ns - self._seen[1].stamp_ns >= SPAN_NS:
            self._seen.popleft()
        before = self._seen[0] if self._seen and now.stamp_ns - self._seen[0].stamp_ns >= SPAN_NS else None
        self._seen.append(now)
        return self.envelope.check(now, before)


@dataclass(frozen=True)
class Progress:
    """What is there so far: the rollout under way, from 1, of how many; pictures recorded; estimated time left, s."""

    rollout: int
    rollouts: int
    frames: int
    time_left_s: float


@dataclass(frozen=True)
class ExplorationReport:
    """How an exploration ended and what it recorded.

    bag: its folder, None when nothing was written. rollouts: recorded whole; one that was broken off stays in the bag besides.
    frames: pictures in the bag, both cameras. duration_s: of the robot's or simulator's time that was recorded.
    """

    reason: Reason
    message: str
    bag: Path | None
    rollouts: int
    frames: int
    duration_s: float

    def __str__(self) -> str:
        kept = f"{self.rollouts} rollouts, {self.frames} pictures, {self.duration_s:.0f} s"
        return f"{self.reason.name.lower()}: {self.message}; {kept}{f' in {self.bag}' if self.bag else ''}"
