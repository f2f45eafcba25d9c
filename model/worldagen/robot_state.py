"""The 7 numbers a policy knows of the robot, from its joints and from what was last commanded: live and from bags alike."""

from collections.abc import Sequence

import numpy as np

from worldagen.kinematics import ForwardKinematics

Joints = tuple[Sequence[str], np.ndarray]  # names, (J,) positions


class RobotState:
    """Joints in, state out; remembers the gripper, whose number is the last commanded one, as in CALVIN."""

    def __init__(self, kinematics: ForwardKinematics) -> None:
        self._kinematics = kinematics
        self._opening: float | None = None

    def reset(self) -> None:
        """A new episode: nothing has been commanded yet."""
        self._opening = None

    def commanded(self, opening: float) -> None:
        """The gripper was told to open so far, 0 closed .. 1 open."""
        self._opening = float(opening)

    def observe(self, joints: Joints) -> np.ndarray:
        """(7,) TCP pose (m, rad) and gripper opening. Raises BadObservation for joints that are missing or not finite.

        A task may begin with something in the hand, so the fingers are looked at first; without any in sight, it is open.
        """
        if self._opening is None:
            measured = self._kinematics.gripper_opening(*joints)
            self._opening = 1.0 if measured is None else measured
        return np.append(self._kinematics.tool_pose(*joints), self._opening)
