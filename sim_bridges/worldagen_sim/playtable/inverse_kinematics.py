"""Damped least squares: a tool pose in, joint angles out, the spare degree of freedom drawn gently to a home posture.

The method is the textbook one (Buss, "Introduction to Inverse Kinematics with Jacobian Transpose, Pseudoinverse and Damped
Least Squares methods", 2009). It starts from the angles last commanded, never from measured ones, so that the answer
depends on the commands alone.
"""

import mujoco
import numpy as np

ITERATIONS = 15
DAMPING = 0.02
HOME_PULL = 0.1  # share of the way home, in the null space, per solve
POSITION_TOLERANCE_M = 1e-5
ROTATION_TOLERANCE_RAD = 1e-4


class InverseKinematics:
    """Solves for the arm of one model on scratch data of its own; the simulation's data stay untouched."""

    def __init__(self, model: mujoco.MjModel, site: str, joints: tuple[str, ...], home_rad: np.ndarray) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        self._site = model.site(site).id
        self._positions = np.array([model.joint(joint).qposadr[0] for joint in joints])
        self._velocities = np.array([model.joint(joint).dofadr[0] for joint in joints])
        self._lower, self._upper = np.array([model.joint(joint).range for joint in joints]).T
        self._home = np.asarray(home_rad)
        self._jacobian = np.zeros((6, model.nv))

    def solve(self, position_m: np.ndarray, quaternion: np.ndarray, start_rad: np.ndarray) -> np.ndarray:
        """Joint angles (7,) that bring the site to position (3,) and orientation (w, x, y, z), as near as limits allow."""
        angles = np.array(start_rad)
        homeward = HOME_PULL * (self._home - angles)
        for _ in range(ITERATIONS):
            error = self._error(angles, position_m, quaternion)  # (6,)
            near = np.abs(error[:3]).max() < POSITION_TOLERANCE_M and np.abs(error[3:]).max() < ROTATION_TOLERANCE_RAD
            if near and not homeward.any():
                break
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
            jacobian = self._jacobian[:, self._velocities]  # (6, 7)
            inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + DAMPING**2 * np.eye(6))  # (7, 6)
            angles = angles + homeward + inverse @ (error - jacobian @ homeward)
            angles = np.minimum(np.maximum(angles, self._lower), self._upper)
            homeward = np.zeros_like(angles)  # once is enough: pulling every time would keep it from converging
        return angles

    def _error(self, angles: np.ndarray, position_m: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
        """What is missing from the pose at these angles: metres along and radians about the world's axes, (6,)."""
        self._data.qpos[self._positions] = angles
        mujoco.mj_kinematics(self._model, self._data)
        reached, turn, error = np.empty(4), np.empty(4), np.empty(6)
        mujoco.mju_mat2Quat(reached, self._data.site_xmat[self._site])
        mujoco.mju_negQuat(reached, reached)
        mujoco.mju_mulQuat(turn, quaternion, reached)
        error[:3] = position_m - self._data.site_xpos[self._site]
        mujoco.mju_quat2Vel(error[3:], turn, 1.0)
        return error
