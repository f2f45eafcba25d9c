"""The tool pose from joint positions: what a JointState says in, what a policy's state needs out.

Pinocchio does the work on the robot's URDF. The order of names in a message does not matter, and joints that do not move the
tool, such as fingers, may be missing.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pinocchio

from worldagen.errors import BadObservation, ConfigError

OPEN_SHARE = 0.96  # of a finger's way; a 5.6 cm block holds the Panda's fingers at 0.7

# name -> URDF that comes with us; anything else is taken as a path
ROBOTS = {"panda": "panda.urdf", "panda_on_mount": "panda_on_mount.urdf", "fr3": "fr3.urdf"}


def find_robot(robot: str) -> Path:
    """The URDF of a robot given by name or by path; raises ConfigError when it is neither."""
    path = Path(str(files("worldagen") / "robots" / ROBOTS[robot])) if robot in ROBOTS else Path(robot)
    if not path.is_file():
        raise ConfigError(f"there is no robot {robot!r}; give the path of a URDF or one of: {', '.join(sorted(ROBOTS))}")
    return path


class ForwardKinematics:
    """Where the tool is in the frame that the base pose is given in. Not thread-safe."""

    def __init__(
        self,
        robot: str,
        tool_frame: str,
        base_pose: Sequence[float] = (0.0,) * 6,
        tool_offset: Sequence[float] = (0.0,) * 6,
    ) -> None:
        """robot: a name in ROBOTS or the path of a URDF. Poses are x, y, z (m), roll, pitch, yaw (rad, extrinsic x-y-z).

        tool_offset: of the tool in its frame, for who measures elsewhere on the hand. Raises ConfigError for a robot that
        cannot be read, a tool frame it does not have, or a base pose or tool offset that is not 6 numbers.
        """
        self._model = _read_urdf(find_robot(robot))
        self._data = self._model.createData()
        frames = [frame.name for frame in self._model.frames if frame.type == pinocchio.FrameType.BODY]
        if tool_frame not in frames:
            raise ConfigError(f"robot {robot!r} has no frame {tool_frame!r}; its frames are: {', '.join(frames)}")
        self._base = _placement("base pose", base_pose)
        self._offset = _placement("tool offset", tool_offset)
        self._tool = self._model.getFrameId(tool_frame)
        self.joint_names = self._joints_to_tool()
        self._columns = [self._model.joints[self._model.getJointId(name)].idx_v for name in self.joint_names]

    def tool_pose(self, names: Sequence[str], positions: Sequence[float] | np.ndarray) -> np.ndarray:
        """(6,) x, y, z (m), roll, pitch, yaw (rad, extrinsic x-y-z) from joints in any order.

        Raises BadObservation naming the joints that are missing or not finite, or when names and positions differ in number.
        """
        joints = self.ordered(names, positions)
        pinocchio.forwardKinematics(self._model, self._data, self._configuration(joints))
        pose = self._base * pinocchio.updateFramePlacement(self._model, self._data, self._tool) * self._offset
        return np.concatenate([pose.translation, pinocchio.rpy.matrixToRpy(pose.rotation)])

    def ordered(self, names: Sequence[str], positions: Sequence[float] | np.ndarray) -> np.ndarray:
        """(J,) positions in the order of joint_names, from joints in any order. Raises BadObservation as tool_pose does."""
        if len(names) != len(positions):
            raise BadObservation(f"joint state has {len(names)} names and {len(positions)} positions; expected as many of each")
        given = dict(zip(names, positions, strict=True))
        missing = [name for name in self.joint_names if name not in given]
        if missing:
            raise BadObservation(f"joint state lacks {', '.join(missing)}; it has {', '.join(names) or 'no joint'}")
        broken = [name for name in self.joint_names if not np.isfinite(given[name])]
        if broken:
            raise BadObservation(f"joint state holds positions that are not finite for {', '.join(broken)}")
        return np.array([given[name] for name in self.joint_names], dtype=np.float64)

    def _configuration(self, joints: np.ndarray) -> np.ndarray:
        """Pinocchio's, of joints (J,) in the order of joint_names; all others are neutral."""
        moved = np.zeros(self._model.nv)
        moved[self._columns] = joints
        # By way of integrate, because a joint without limits is kept as cosine and sine.
        return pinocchio.integrate(self._model, pinocchio.neutral(self._model), moved)

    def gripper_opening(self, names: Sequence[str], positions: Sequence[float] | np.ndarray) -> float | None:
        """1 when every finger stands at its upper limit, 0 when one does not: it was closed, on nothing or on something.

        Fingers are the joints of the robot that do not move the tool. None when none of them is in the joint state.
        """
        given = dict(zip(names, positions, strict=False))
        fingers = [name for name in self._model.names[1:] if name not in self.joint_names and name in given]
        if not fingers:
            return None
        upper = [self._model.upperPositionLimit[self._model.joints[self._model.getJointId(name)].idx_q] for name in fingers]
        return float(all(given[name] >= OPEN_SHARE * limit for name, limit in zip(fingers, upper, strict=True)))

    def _joints_to_tool(self) -> tuple[str, ...]:
        """The joints that move the tool, from the base outwards."""
        frame = self._model.frames[self._tool]
        joint = frame.parentJoint if hasattr(frame, "parentJoint") else frame.parent  # its name before Pinocchio 3
        supports = [index for index in self._model.supports[joint] if index != 0]  # 0 is the fixed world
        return tuple(self._model.names[index] for index in supports)


def _placement(name: str, pose: Sequence[float]) -> pinocchio.SE3:
    numbers = np.asarray(pose, dtype=np.float64)
    if numbers.shape != (6,) or not np.isfinite(numbers).all():
        raise ConfigError(f"the {name} is {list(pose)}; expected 6 finite numbers: x, y, z, roll, pitch, yaw")
    return pinocchio.SE3(pinocchio.rpy.rpyToMatrix(numbers[3:]), numbers[:3])


def _read_urdf(path: Path) -> pinocchio.Model:
    try:
        return pinocchio.buildModelFromUrdf(str(path))
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"{path} cannot be read as a URDF: {error}") from error
