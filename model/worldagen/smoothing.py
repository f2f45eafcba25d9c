"""A pose that follows a moving goal with bounded speed, acceleration and jerk: a goal per tick in, a pose per tick out.

Two moving averages in a row, over the newest n1 goals and then over the newest n2 of those averages (L. Biagiotti and
C. Melchiorri, "FIR filters for online trajectory planning with time- and frequency-domain specifications", Control Engineering
Practice 20, 2012). With ticks of h seconds, T1 = n1 h, T2 = n2 h and a goal that moves at most v h per tick:

    speed        <= v                 an average of speeds of the goal
    acceleration <= 2 v / T1          (v(k) - v(k - n1)) / T1, averaged once more
    jerk         <= 4 v / (T1 T2)     (a(k) - a(k - n2)) / T2

as lengths of vectors, and exactly so for the finite differences between ticks, which are what a controller sees. So
T1 = 2 v / a_max and T2 = 2 a_max / j_max, rounded up to whole ticks. Moreover every pose is a weighted mean of past goals: it
stays (but for rounding) in any box that the goals stay in, never overshoots, and ends exactly at a goal that rests. The price
is a delay of (T1 + T2) / 2. An on-line planner such as Ruckig needs no such delay, but bounds single axes instead of lengths,
knows no rotations, may overshoot a goal that moves, and would be one more compiled dependency on the robot.

Orientations are averaged as quaternions, a vector of four numbers that is set to length 1 at the end. That speeds a turn up
by a little, because a mean lies inside the sphere: turn_bounds says by how much; windows and the goal's limit allow for it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldagen.errors import ConfigError
from worldagen.poses import Pose

LONGEST_ARC_RAD = 2.0  # of a goal within the windows; a mean of quaternions spread wider would no longer be bounded usefully
# Finite differences of a turn are not its derivatives: they differ by terms of the order of speed * tick, which the bounds of
# turn_bounds leave out. Property tests hold the follower to the limits at ticks of 1 to 20 ms.
DISCRETE_SHARE = 0.01


@dataclass(frozen=True)
class MotionBounds:
    """Longest derivatives of a motion: of its translation in m/s, m/s2, m/s3, or of its rotation in rad/s, rad/s2, rad/s3."""

    speed: float
    accel: float
    jerk: float


def turn_bounds(speed_radps: float, first_s: float, second_s: float) -> MotionBounds:
    """Bounds of the normalised mean of quaternions, when the goal turns at most that fast.

    y is the mean before it is set to length 1, r its length, w = 2 vec(y' y*) / r^2 the angular velocity. Quaternions move at
    half the speed of turns: |y'| <= v, |y''| <= a, |y'''| <= j. On an arc as long as the windows last, r and r' are bounded
    too; the rest is differentiating w twice.
    """
    v = speed_radps / 2
    a, j = 2 * v / first_s, 4 * v / (first_s * second_s)
    arc = v * (first_s + second_s)  # of the goals in the windows, on the sphere of quaternions
    r = math.cos(min(arc, math.pi / 2) / 2)  # shortest mean: all are within half the arc of its middle
    shrink = v * math.sin(min(arc, math.pi / 2))  # fastest change of r
    bend = v * v / r + a  # fastest change of that
    speed = 2 * v / r
    accel = 2 * a / r + 2 * shrink * speed / r
    jerk = 2 * (j / r + a * v / r**2) + 8 * a * shrink / r**2 + 2 * v * (6 * shrink**2 / r**3 + 2 * bend / r**2)
    return MotionBounds(speed, accel, jerk)


class PoseFollower:
    """A ring buffer of goals. One goal in and one pose out per tick; see the module for what is promised."""

    def __init__(self, period_s: float, translation: MotionBounds, rotation: MotionBounds) -> None:
        """period_s: of the ticks. Raises ConfigError when turns are so fast for their acceleration that no average is near.

        Translation and rotation share their windows, the longer ones of the two, so that a tool that turns while it moves does
        both in step.
        """
        first = max(_ticks(2 * bounds.speed / bounds.accel, period_s) for bounds in (translation, rotation))
        second = max(_ticks(2 * bounds.accel / bounds.jerk, period_s) for bounds in (translation, rotation))
        while True:
            turned = turn_bounds(rotation.speed, first * period_s, second * period_s)
            if rotation.speed * (first + second) * period_s > LONGEST_ARC_RAD:
                raise ConfigError(
                    f"at {rotation.speed:g} rad/s, {rotation.accel:g} rad/s2 and {rotation.jerk:g} rad/s3 (translation: "
                    f"{translation.speed:g} m/s, {translation.accel:g} m/s2, {translation.jerk:g} m/s3) smoothing takes "
                    f"{(first + second) * period_s:.2f} s, in which the tool turns by more than {LONGEST_ARC_RAD:g} rad; "
                    "expected lower speeds, or higher accelerations and jerks"
                )
            if turned.accel * (1 + DISCRETE_SHARE) > rotation.accel:
                first += 1
            elif turned.jerk * (1 + DISCRETE_SHARE) > rotation.jerk:
                second += 1
            else:
                break
        self.period_s = period_s
        self.step_m = translation.speed * period_s
        """Longest translation of the goal in one tick, m."""
        self.step_rad = rotation.speed * period_s * rotation.speed / turned.speed
        """Largest rotation of the goal in one tick, rad."""
        self.window_s = (first + second) * period_s
        """T1 + T2, s: after so long at a goal at rest, the pose rests there. Half of it is the delay."""
        self.corner_m = translation.speed * self.window_s / 2
        """How far a pose may be from the nearest goal it was averaged from, m."""
        # Both averages at once: a weighted mean, whose weights by age rise over T2, stay, and fall over T2 (a trapezium).
        weights = np.convolve(np.full(first, 1 / first), np.full(second, 1 / second))
        self._weights = np.concatenate([weights, weights])  # twice, to be cut out where the ring stands
        self._ring = np.zeros((len(weights), 7))  # the newest goals: position and quaternion
        self._still = len(weights)  # ticks for which the goal did not change
        self._newest = 0  # its place in the ring
        self._pose: Pose | None = None

    @property
    def pose(self) -> Pose | None:
        """The pose of the newest tick; None before the first seat."""
        return self._pose

    @property
    def at_rest(self) -> bool:
        """Whether the pose has come to a goal that rests, and has stood there for a tick."""
        return self._still >= len(self._ring)

    def seat(self, pose: Pose) -> Pose:
        """Stand at that pose, at rest, whatever was before."""
        quaternion = _normalised(pose.quaternion)
        self._ring[:, :3], self._ring[:, 3:] = pose.position, quaternion
        self._still = len(self._ring)
        self._pose = Pose(np.array(pose.position, dtype=np.float64), quaternion)
        return self._pose

    def follow(self, goal: Pose) -> Pose:
        """The pose of this tick. goal: at most step_m and step_rad away from the goal before, or from the seat."""
        newest = np.concatenate([goal.position, goal.quaternion])
        before = self._ring[self._newest]
        if newest[3:] @ before[3:] < 0.0:  # the same turn has two quaternions; means want neighbours
            newest[3:] *= -1.0
        self._still = self._still + 1 if newest.tolist() == before.tolist() else 0
        ring, length = self._ring, len(self._ring)
        self._newest = (self._newest + 1) % length
        ring[self._newest] = newest
        weights = self._weights[length - 1 - self._newest :][:length]
        mean = newest + weights @ (ring - newest)  # exactly the newest when all are equal
        self._pose = Pose(mean[:3], _normalised(mean[3:]))
        return self._pose


def _normalised(quaternion: np.ndarray) -> np.ndarray:
    return quaternion / math.sqrt(quaternion @ quaternion)


def _ticks(seconds: float, period_s: float) -> int:
    """Whole ticks that last at least so long."""
    return max(1, math.ceil(seconds / period_s - 1e-9))


# Turns, number by number: in a tick, one turn made with scipy's Rotation would take longer than everything else.


def turn_by(vector: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """A quaternion (x, y, z, w) turned by a rotation vector (3,) along the base axes; of length 1."""
    x, y, z = vector.tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    share = 0.5 if angle < 1e-9 else math.sin(angle / 2) / angle
    a, b, c, d = _product((x * share, y * share, z * share, math.cos(angle / 2)), quaternion.tolist())
    length = math.sqrt(a * a + b * b + c * c + d * d)
    return np.array([a / length, b / length, c / length, d / length])


def turn_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The rotation vector (3,) along the base axes, of at most a half turn, that turns one quaternion into another."""
    x, y, z, w = start.tolist()
    a, b, c, d = _product(end.tolist(), (-x, -y, -z, w))
    sine = math.sqrt(a * a + b * b + c * c)
    share = 2.0 if sine < 1e-9 else 2.0 * math.atan2(sine, abs(d)) / sine
    if d < 0.0:
        share = -share
    return np.array([a * share, b * share, c * share])


def motion_between(start: Pose, end: Pose) -> np.ndarray:
    """(6,) translation and rotation vector, as Pose.row_to."""
    return np.concatenate([end.position - start.position, turn_between(start.quaternion, end.quaternion)])


def angle_between(start: np.ndarray, end: np.ndarray) -> float:
    """The angle of that turn, 0 to pi."""
    x, y, z, w = start.tolist()
    a, b, c, d = _product(end.tolist(), (-x, -y, -z, w))
    return 2.0 * math.atan2(math.sqrt(a * a + b * b + c * c), abs(d))


def _product(left: Sequence[float], right: Sequence[float]) -> tuple[float, float, float, float]:
    """Of two quaternions, x, y, z, w each: the turn on the right is made first."""
    a, b, c, d = left
    x, y, z, w = right
    return (
        d * x + a * w + b * z - c * y,
        d * y - a * z + b * w + c * x,
        d * z + a * y - b * x + c * w,
        d * w - a * x - b * y - c * z,
    )
