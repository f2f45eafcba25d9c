"""Where the arm is to go in real time: the motion that rows ask of a tick in, a goal inside every limit out.

The pose that is sent follows the goal as a weighted mean of its newest places (smoothing.py). So what holds for goals has to be
such that it holds for means of them too: a box to stay in, a length per tick, and, for a box to stay out of, a wider berth.

Order of the checks: work space -> keep-out boxes -> size of the row -> speed -> acceleration -> jerk -> distance to the
measured pose. The work space comes before the speed: an arm that stands outside is sent in, as fast as any other motion. Once
it is in, it stays: goals that come in and stay in have means that do so too, because the weights of the means, a trapezium, are
log-concave, and such means change sides no more often than the goals do (S. Karlin, "Total Positivity", 1968).
"""

import math

import numpy as np

from worldagen.errors import ConfigError
from worldagen.limits import LimitsConfig, keep_out_boxes
from worldagen.poses import Pose
from worldagen.smoothing import PoseFollower, angle_between, turn_by

CHECKS = ("workspace", "keep_out", "step", "speed_scale", "speed", "acceleration", "jerk", "lead")  # in their order
ROUNDING_M = 1e-6  # by so much more goals stay away from keep-out boxes
ROUNDING = 1e-9  # relative; a full-scale row at exactly the speed limit is not limited by it


def in_order(names: set[str]) -> tuple[str, ...]:
    """Names of limits in the order of the checks."""
    return tuple(name for name in CHECKS if name in names)


def shortened(vector: np.ndarray, longest: float) -> np.ndarray:
    """The vector, scaled down to at most that length; the very vector where it is short enough."""
    length = math.hypot(*vector.tolist())
    return vector if length <= longest * (1 + ROUNDING) else vector * (longest / length)


class GoalLimiter:
    """The goal. It moves by at most a tick's worth at a time; the follower's steps say how much that is."""

    def __init__(self, limits: LimitsConfig, follower: PoseFollower) -> None:
        """Raises ConfigError for a work space whose low corner is not below its high corner."""
        self._low, self._high = np.array(limits.workspace_low_m), np.array(limits.workspace_high_m)
        if not (self._low < self._high).all():
            raise ConfigError(
                f"the work space begins at {list(limits.workspace_low_m)} and ends at {list(limits.workspace_high_m)} m; "
                "expected each of the first numbers to be below the second"
            )
        self._limits, self._follower = limits, follower
        self._boxes = [KeepOutBox(box, follower.corner_m + ROUNDING_M) for box in keep_out_boxes(limits.keep_out_m)]
        self._goal = Pose(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))
        self._owed = np.zeros(6)  # of the motion asked for: what a tick was too short for
        self._step, self._change = np.zeros(6), np.zeros(6)  # the goal's motion in the tick before, and by what it differed

    @property
    def goal(self) -> Pose:
        """Where it is now."""
        return self._goal

    def outside_by(self, position: np.ndarray) -> float:
        """How far a position lies outside the work space, m; 0.0 inside."""
        return math.dist(position.tolist(), self.inside(position).tolist())

    def inside(self, position: np.ndarray) -> np.ndarray:
        """The nearest position in the work space."""
        return np.minimum(np.maximum(position, self._low), self._high)

    def seat(self, pose: Pose) -> None:
        """Put the goal there, at rest, whatever was before."""
        self._goal = pose
        self._owed, self._step, self._change = np.zeros(6), np.zeros(6), np.zeros(6)
        for box in self._boxes:
            box.seat(pose.position)

    def stay(self) -> set[str]:
        """Leave the goal where it is for a tick, and forget what was owed; returns the names of the limits."""
        self._owed = np.zeros(6)
        return self._note(np.zeros(6))

    def move(self, motion: np.ndarray, measured: Pose) -> set[str]:
        """Move the goal for a tick; returns the names of the limits that changed the motion.

        motion: (6,) translation (m) and rotation vector (rad) that the rows ask of this tick, finite. measured: where the arm
        is. "acceleration" and "jerk" say that the goal exceeds them, so that it is the smoothing which keeps them.
        """
        met: set[str] = set()
        start = self._goal.position
        asked = start + motion[:3] + self._owed[:3]
        wanted = self.inside(asked)
        if wanted.tolist() != asked.tolist():
            met.add("workspace")

        way, turn = wanted - start, motion[3:] + self._owed[3:]
        step, swing = shortened(way, self._follower.step_m), shortened(turn, self._follower.step_rad)
        # A tick that came late asks for more than its share, the next for less. One tick's worth is owed, not lost.
        late, late_rad = way - step, turn - swing
        owed = shortened(late, self._follower.step_m), shortened(late_rad, self._follower.step_rad)
        if owed[0] is not late or owed[1] is not late_rad:
            met.add("speed")
        self._owed = np.concatenate(owed)

        turned = turn_by(swing, self._goal.quaternion) if swing.any() else self._goal.quaternion
        led, led_rad = self._lead_shares(start + step, turned, measured)
        if led_rad < 1.0:
            turned = turn_by(swing * led_rad, self._goal.quaternion)
        if led < 1.0 or led_rad < 1.0:
            met.add("lead")
            self._owed[:] = 0.0

        position = wanted if step is way and led == 1.0 else _between(start, start + step * led, wanted)
        if not all(box.allows(start, position) for box in self._boxes):
            position = start
            met.add("keep_out")
            self._owed[:3] = 0.0
        for box in self._boxes:
            box.pass_to(position)
        self._goal = Pose(position, turned)
        return met | self._note(np.concatenate([position - start, swing * led_rad]))

    def _lead_shares(self, position: np.ndarray, quaternion: np.ndarray, measured: Pose) -> tuple[float, float]:
        """Shares of a step to there, of its translation and its turn, after which the goal does not lead the arm too far.

        Of a lead that is too long already, nothing is made that makes it longer. A distance along a line is convex, so a share
        of a step leads by no more than that share of the difference.
        """
        limits, shares = self._limits, [1.0, 1.0]
        if (after := _apart(position, measured.position)) > limits.max_lead_m:
            shares[0] = _share(_apart(self._goal.position, measured.position), after, limits.max_lead_m)
        if (after := angle_between(quaternion, measured.quaternion)) > limits.max_lead_rad:
            shares[1] = _share(angle_between(self._goal.quaternion, measured.quaternion), after, limits.max_lead_rad)
        return shares[0], shares[1]

    def _note(self, step: np.ndarray) -> set[str]:
        """Remember the goal's motion in this tick; names what of it exceeds acceleration or jerk."""
        limits, period_s = self._limits, self._follower.period_s
        change = step - self._step
        jolt = change - self._change
        self._step, self._change = step, change
        met = set()
        if _exceeds(change, period_s**2, limits.max_accel_mps2, limits.max_accel_radps2):
            met.add("acceleration")
        if _exceeds(jolt, period_s**3, limits.max_jerk_mps3, limits.max_jerk_radps3):
            met.add("jerk")
        return met


class KeepOutBox:
    """A box that the pose which is sent may not enter.

    A mean of goals may be `margin_m` away from the nearest of them, so goals stay that far away from the box: no step into the
    zone around it is made. Then the mean is outside the box as soon as one goal of its window is outside the zone: beyond the
    face where that goal is by margin_m, and the others are on average no farther from it than margin_m.

    A goal may be put into the zone only by a seat. From there it may go on as long as it does not come nearer to the box, nor
    to the plane of the face that it was before: means of goals before one plane are before it too, those of goals around a
    corner are not.
    """

    def __init__(self, box: np.ndarray, margin_m: float) -> None:
        """box: (2, 3) lowest and highest x, y, z, m."""
        self._low, self._high = box
        self._margin_m = margin_m
        self._face: int | None = None  # 0..2: below the low x, y, z; 3..5: above the high; None: outside the zone

    def seat(self, position: np.ndarray) -> None:
        """The goal was put there."""
        beyond = self._beyond(position)
        self._face = None if beyond.max() >= self._margin_m else int(beyond.argmax())

    def allows(self, start: np.ndarray, end: np.ndarray) -> bool:
        """Whether the goal may go on from there to here."""
        after = self._beyond(end)
        if after.max() >= self._margin_m:
            return True
        if self._face is None:
            return False
        before = self._beyond(start)
        return after[self._face] >= before[self._face] and _distance(after) >= _distance(before)

    def pass_to(self, position: np.ndarray) -> None:
        """The goal has gone on to there."""
        if self._face is not None and self._beyond(position).max() >= self._margin_m:
            self._face = None

    def _beyond(self, position: np.ndarray) -> np.ndarray:
        """(6,) how far the position is beyond the plane of each face, m; below 0 on the side of the box."""
        return np.concatenate([self._low - position, position - self._high])


def _distance(beyond: np.ndarray) -> float:
    """From the box, m; 0.0 inside."""
    return math.hypot(*np.maximum(np.maximum(beyond[:3], beyond[3:]), 0.0).tolist())


def _share(before: float, after: float, longest: float) -> float:
    return 1.0 if after <= before else max(0.0, (longest - before) / (after - before))


def _apart(start: np.ndarray, end: np.ndarray) -> float:
    return math.dist(start.tolist(), end.tolist())


def _between(start: np.ndarray, position: np.ndarray, end: np.ndarray) -> np.ndarray:
    """A position on the way from start to end, without the last bit that rounding may have carried it beyond either."""
    return np.minimum(np.maximum(position, np.minimum(start, end)), np.maximum(start, end))


def _exceeds(motion: np.ndarray, per: float, translation: float, rotation: float) -> bool:
    """Whether a motion (6,), divided by `per`, is longer than what is allowed."""
    x, y, z, *turn = motion.tolist()
    allowed = per * (1 + ROUNDING)
    return math.hypot(x, y, z) > translation * allowed or math.hypot(*turn) > rotation * allowed
