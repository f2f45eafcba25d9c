"""Joint positions from a tool pose: where the joints may be one control period later, on their way to a wanted pose.

The tool comes first, then a rest posture in what freedom is left. What cannot be is not tried: joints stay within their limits
less a margin and below a share of their speed, and near a singularity the arm lags behind instead of whirling. A pose that was
not reached is told, with how far it is and why.

Shapes: J joints that move the tool, from the base outwards.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pinocchio
from scipy.spatial.transform import Rotation

from worldagen.config import setting
from worldagen.errors import BadCommand, ConfigError
from worldagen.kinematics import ForwardKinematics, find_robot
from worldagen.poses import Pose

RADIUS_M = 0.25  # a turn counts as the way of a point so far from the tool: makes one length of metres and radians
FAR_M, FAR_RAD = 0.05, 0.25  # a pose farther than this is approached along a straight line, over several periods
KEEP = 1e-3  # weight of staying where the joints are, m/rad: too little to be seen in the tool's pose
REACH_RAD = 0.15  # no joint looks farther than this for the pose: longer than the way in which it can stop
# Where the way bends, at an outstretched arm, a whole step leads past the best place: then the next is shorter.
CAUTION = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # further damping, (m/rad)^2
ROUNDS = 10  # Newton's; two or three are enough for the way of one period
SETTLED_RAD = 1e-7  # a change of the joints with which the rounds end


@dataclass(frozen=True)
class InverseConfig:
    """How joints follow a tool pose."""

    speed_share: float = setting(0.5, "fastest a joint may go, share of the URDF's velocity limit", low=0.01, high=1.0)
    acceleration_radps2: float = setting(
        7.0,
        "largest change of a joint's speed, rad/s^2; the Panda's slowest joint stands 7.5, all of the FR3's 10",
        low=0.1,
        high=100.0,
    )
    margin_rad: float = setting(
        0.05,
        "kept from a joint's soft limits in the URDF, or its hard ones if it has none, rad (m for a slide)",
        low=0.0,
        high=0.5,
    )
    singular_m: float = setting(
        0.04,
        "smallest singular value of the Jacobian below which damping sets in, m/rad; the Panda's ready posture has 0.15",
        low=0.0,
        high=0.5,
    )
    damping_m: float = setting(0.04, "damping at a singularity, m/rad", low=0.001, high=0.5)
    rest_rad: tuple[float, ...] = setting(
        (0.0, -0.785398, 0.0, -2.356194, 0.0, 1.570796, 0.785398), "posture the arm leans to where the tool leaves it free, rad"
    )
    rest_share: float = setting(
        0.2,
        "most of a step that leans to that posture, share of the step that moves the tool; a held arm stays",
        low=0.0,
        high=1.0,
    )
    reached_m: float = setting(0.0005, "a pose is reached that is missed by no more, m", low=1e-6, high=0.1)
    reached_rad: float = setting(0.002, "and by no larger angle, rad", low=1e-6, high=0.5)


@dataclass(frozen=True, eq=False)
class JointStep:
    """One control period. positions: (J,) rad at its end; velocities: (J,) rad/s that lead there.

    missed_m, missed_rad: what is left to the wanted pose; limited_by: why,
    of "acceleration", "far", "position", "singularity", "velocity".
    """

    positions: np.ndarray
    velocities: np.ndarray
    missed_m: float
    missed_rad: float
    reached: bool
    limited_by: tuple[str, ...] = field(default=())


class InverseKinematics(ForwardKinematics):
    """Steps towards tool poses, in the frame that the base pose is given in. Not thread-safe."""

    def __init__(
        self,
        robot: str,
        tool_frame: str,
        base_pose: Sequence[float] = (0.0,) * 6,
        tool_offset: Sequence[float] = (0.0,) * 6,
        config: InverseConfig | None = None,
    ) -> None:
        """As ForwardKinematics. Raises ConfigError also for a margin or a rest posture that do not fit the robot's joints."""
        super().__init__(robot, tool_frame, base_pose, tool_offset)
        self._config = config or InverseConfig()
        joints = [self._model.joints[self._model.getJointId(name)] for name in self.joint_names]
        self._speeds = self._config.speed_share * np.array([self._model.velocityLimit[joint.idx_v] for joint in joints])  # (J,)
        self.low, self.high = self._joint_limits(find_robot(robot).read_bytes(), joints)  # (J,) each
        # (J,) a joint without speed, such as a mount's, is where it is
        self.moving = self._speeds > 0.0
        self._rest = np.zeros(len(joints))
        if len(self._config.rest_rad) != self.moving.sum():
            names = [name for name, moving in zip(self.joint_names, self.moving, strict=True) if moving]
            raise ConfigError(
                f"the rest posture has {len(self._config.rest_rad)} numbers; "
                f"robot {robot!r} needs {len(names)}: {', '.join(names)}"
            )
        self._rest[self.moving] = self._config.rest_rad

    def step(
        self,
        names: Sequence[str],
        positions: Sequence[float] | np.ndarray,
        wanted: Pose,
        period_s: float,
        velocities: np.ndarray | None = None,
    ) -> JointStep:
        """From joints in any order, one period towards the wanted pose.

        velocities: (J,) rad/s of the joints until now, in the order of joint_names; without them the arm is at rest.
        Raises BadObservation for joint states that tool_pose refuses, BadCommand for what is wanted and not finite.
        """
        numbers = np.concatenate([wanted.position, wanted.quaternion])
        before = np.zeros(len(self.joint_names)) if velocities is None else np.asarray(velocities, dtype=np.float64)
        if not np.isfinite(numbers).all() or not np.any(wanted.quaternion) or not 0.0 < period_s < np.inf:
            raise BadCommand(
                f"pose {numbers.tolist()} in {period_s} s; expected finite numbers, a rotation and a positive period"
            )
        if before.shape != (len(self.joint_names),) or not np.isfinite(before).all():
            raise BadCommand(f"joint velocities {before.tolist()}; expected {len(self.joint_names)} finite numbers")
        start = self.ordered(names, positions)
        target = pinocchio.SE3(Rotation.from_quat(wanted.quaternion).as_matrix(), np.asarray(wanted.position, dtype=np.float64))
        here, jacobian = self._look(start)

        met = set()
        way = _way(here, target)
        far = max(float(np.linalg.norm(way[:3])) / FAR_M, float(np.linalg.norm(way[3:])) / FAR_RAD)
        near = target
        if far > 1.0:
            met.add("far")
            near = pinocchio.SE3(pinocchio.exp3(way[3:] / far) @ here.rotation, here.translation + way[:3] / far)
        goal, at_limit, damped = self._solve(start, jacobian, _way(here, near), near)
        if at_limit:
            met.add("position")
        if damped:
            met.add("singularity")

        speeds, slowed = self._bounded_speeds(start, goal, before, period_s)
        met |= slowed
        # The last word belongs to the limits; who is outside already may come back, but not go on.
        positions = np.clip(start + speeds * period_s, np.minimum(self.low, start), np.maximum(self.high, start))
        missed = _way(self._look(positions)[0], target)
        missed_m, missed_rad = float(np.linalg.norm(missed[:3])), float(np.linalg.norm(missed[3:]))
        reached = missed_m <= self._config.reached_m and missed_rad <= self._config.reached_rad
        return JointStep(
            positions, (positions - start) / period_s, missed_m, missed_rad, reached, () if reached else tuple(sorted(met))
        )

    def _bounded_speeds(
        self, start: np.ndarray, goal: np.ndarray, before: np.ndarray, period_s: float
    ) -> tuple[np.ndarray, set[str]]:
        """(J,) rad/s towards the goal, with which every joint can still stop there and at its limits; which bounds it met."""
        speeds, met = (goal - start) / period_s, set()
        moving = np.abs(speeds) > 1e-12
        bounds = {"velocity": self._speeds, "acceleration": self._stopping_speeds(np.abs(goal - start), period_s)}
        for name, bound in bounds.items():
            # One share for all joints, so that the tool keeps its direction and only goes slower.
            share = float(np.min(bound[moving] / np.abs(speeds[moving]), initial=1.0))
            if share < 1.0:
                met.add(name)
                speeds = share * speeds
        change = self._config.acceleration_radps2 * period_s
        bounded = np.clip(speeds, before - change, before + change)
        if np.any(bounded != speeds):
            met.add("acceleration")
        up = self._stopping_speeds(np.maximum(self.high - start, 0.0), period_s)
        down = self._stopping_speeds(np.maximum(start - self.low, 0.0), period_s)
        return np.clip(bounded, -np.minimum(down, self._speeds), np.minimum(up, self._speeds)), met

    def _stopping_speeds(self, ways: np.ndarray, period_s: float) -> np.ndarray:
        """The fastest speeds, rad/s, that can be braked away on these ways (J,), by one change of speed a period."""
        change = self._config.acceleration_radps2 * period_s  # of speed
        ways = ways / (change * period_s)  # as multiples of the shortest, which one change makes
        whole = np.floor((np.sqrt(1.0 + 8.0 * ways) - 1.0) / 2.0)  # changes n: 1 + 2 + ... + n = n (n + 1) / 2 of them
        return change * (whole + (ways - whole * (whole + 1.0) / 2.0) / (whole + 1.0))

    def _solve(
        self, start: np.ndarray, jacobian: np.ndarray, way: np.ndarray, wanted: pinocchio.SE3
    ) -> tuple[np.ndarray, bool, bool]:
        """Joints (J,) for a near pose, whether a limit stopped one of them, and whether a singularity damped them.

        Minimises |way left|^2 + damping |joints - (start + lean)|^2 within the limits, by Gauss-Newton. The damping pulls to
        where the joints are, not to the last round, so that rounds do not undo it; the lean is too small for the tool to show.
        """
        smallest = float(np.linalg.svd(_as_lengths(jacobian), compute_uv=False)[-1])
        near = max(0.0, 1.0 - smallest / self._config.singular_m) if self._config.singular_m else 0.0
        damping = KEEP**2 + (near * self._config.damping_m) ** 2
        # Who is outside already may come back, but not go on.
        low, high = np.minimum(self.low, start)[self.moving], np.maximum(self.high, start)[self.moving]
        first = start[self.moving]
        reach = np.maximum(low, first - REACH_RAD), np.minimum(high, first + REACH_RAD)

        rows, ways = _as_lengths(jacobian), _as_lengths(way)
        towards = _bounded_step(rows, ways, first, first, damping, 0.0, *reach) - first
        lean = self._rest[self.moving] - first
        longest = self._config.rest_share * float(np.linalg.norm(towards))
        anchor = first + lean * min(1.0, longest / max(float(np.linalg.norm(lean)), 1e-12))

        joints, cost, caution = first, _cost(ways, first - anchor, damping), 0
        for _ in range(ROUNDS):
            after = _bounded_step(rows, ways, joints, anchor, damping, CAUTION[caution], *reach)
            if float(np.abs(after - joints).max(initial=0.0)) < SETTLED_RAD:
                break
            tool, jacobian = self._look(self._all_joints(start, after))
            new_ways = _as_lengths(_way(tool, wanted))
            new_cost = _cost(new_ways, after - anchor, damping)
            if new_cost < cost:
                joints, rows, ways, cost = after, _as_lengths(jacobian), new_ways, new_cost
                caution = max(caution - 1, 0)
            else:
                caution = min(caution + 1, len(CAUTION) - 1)
        at_limit = bool(np.any((joints <= low + SETTLED_RAD) | (joints >= high - SETTLED_RAD)))
        return self._all_joints(start, joints), at_limit, near > 0.0

    def _all_joints(self, start: np.ndarray, moving: np.ndarray) -> np.ndarray:
        joints = start.copy()
        joints[self.moving] = moving
        return joints

    def _look(self, joints: np.ndarray) -> tuple[pinocchio.SE3, np.ndarray]:
        """The tool and its Jacobian (6, moving joints), m and rad along the axes of the base pose's frame."""
        pinocchio.computeJointJacobians(self._model, self._data, self._configuration(joints))
        frame = pinocchio.updateFramePlacement(self._model, self._data, self._tool)
        axes = pinocchio.ReferenceFrame.LOCAL_WORLD_ALIGNED
        whole = pinocchio.getFrameJacobian(self._model, self._data, self._tool, axes)[:, self._columns][:, self.moving]
        turns = whole[3:]
        moves = whole[:3] - pinocchio.skew(frame.rotation @ self._offset.translation) @ turns
        jacobian = np.concatenate([self._base.rotation @ moves, self._base.rotation @ turns])
        return self._base * frame * self._offset, jacobian

    def _joint_limits(self, urdf: bytes, joints: list) -> tuple[np.ndarray, np.ndarray]:
        """The soft limits that the URDF names, else its hard ones, less the margin; infinite for joints that turn freely."""
        soft = {}
        for joint in ElementTree.fromstring(urdf).iter("joint"):
            controller = joint.find("safety_controller")
            if controller is not None and {"soft_lower_limit", "soft_upper_limit"} <= set(controller.keys()):
                soft[joint.get("name")] = (
                    float(controller.attrib["soft_lower_limit"]),
                    float(controller.attrib["soft_upper_limit"]),
                )
        low, high = np.full(len(joints), -np.inf), np.full(len(joints), np.inf)
        for index, (name, joint) in enumerate(zip(self.joint_names, joints, strict=True)):
            if joint.nq != 1:
                continue
            hard = (float(self._model.lowerPositionLimit[joint.idx_q]), float(self._model.upperPositionLimit[joint.idx_q]))
            lower, upper = soft.get(name, hard)
            low[index], high[index] = (
                max(lower, hard[0]) + self._config.margin_rad,
                min(upper, hard[1]) - self._config.margin_rad,
            )
            if low[index] >= high[index]:
                raise ConfigError(
                    f"joint {name} may be from {lower:g} to {upper:g}; "
                    f"a margin of {self._config.margin_rad:g} leaves nothing of it"
                )
        return low, high


def _way(tool: pinocchio.SE3, wanted: pinocchio.SE3) -> np.ndarray:
    """(6,) translation and rotation vector from one to the other, as Pose.row_to."""
    return np.concatenate([wanted.translation - tool.translation, pinocchio.log3(wanted.rotation @ tool.rotation.T)])


def _as_lengths(rows: np.ndarray) -> np.ndarray:
    """Six rows of m and rad -> of m."""
    return np.concatenate([rows[:3], RADIUS_M * rows[3:]])


def _cost(ways: np.ndarray, away: np.ndarray, damping: float) -> float:
    return float(np.sum(ways**2) + damping * np.sum(away**2))


def _bounded_step(
    jacobian: np.ndarray,
    way: np.ndarray,
    joints: np.ndarray,
    anchor: np.ndarray,
    damping: float,
    caution: float,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """One damped least-squares step from joints, within bounds: the new joints. Damping pulls to the anchor, caution to joints.

    A joint that would leave its bounds is set upon the bound, and the others are asked again to make up for it.
    """
    fixed = np.zeros(len(joints), dtype=bool)
    moved = joints.copy()
    for _ in range(len(joints)):
        free = ~fixed
        if not free.any():
            break
        columns = jacobian[:, free]
        left = way - jacobian[:, fixed] @ (moved - joints)[fixed]
        back = damping * (anchor - joints)[free]
        moved[free] = joints[free] + np.linalg.solve(
            columns.T @ columns + (damping + caution) * np.eye(free.sum()), columns.T @ left + back
        )
        outside = free & ((moved < low) | (moved > high))
        if not outside.any():
            break
        moved = np.clip(moved, low, high)
        fixed |= outside
    return np.clip(moved, low, high)
