"""The playtable as an Environment: physics, relative end-effector actions, oracles; pictures come from a Renderer.

Everything random is drawn at the reset from the seed alone, so that two scenes or two tasks with the same seed begin with the
same layout. World frame as in scenes.py. Lengths in metres, angles in radians, quaternions w, x, y, z.
"""

import threading
from collections.abc import Callable

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from worldagen.conventions import CONVENTIONS, decode_actions, encode_actions
from worldagen.errors import SimulatorError
from worldagen.types import ROW_LENGTH
from worldagen_sim.environment import SimState, Task, find_task
from worldagen_sim.playtable.desk import BLOCKS, TABLE_TOP_M
from worldagen_sim.playtable.inverse_kinematics import InverseKinematics
from worldagen_sim.playtable.layout import Layout, draw_layout
from worldagen_sim.playtable.mjcf import PHYSICS_STEP_S, build_mjcf
from worldagen_sim.playtable.panda import ARM_JOINT_NAMES, ARM_JOINTS, FINGER_TRAVEL_M, HOME_RAD, JOINT_NAMES
from worldagen_sim.playtable.rendering import Renderer
from worldagen_sim.playtable.scenes import SCENES, SceneParameters, find_scene
from worldagen_sim.playtable.tasks import ORACLES, TASKS
from worldagen_sim.playtable.work_space import WorkSpace

POSE_AXES = ("x", "y", "z", "roll", "pitch", "yaw")
SUBSTEPS = 8  # of 1/240 s: 30 Hz
# Near a singular posture a small step of the tool asks for a large turn of a joint; the robot is no faster than its data sheet.
MOST_TURN_RAD = np.array([joint.speed_rad_s for joint in ARM_JOINTS]) * SUBSTEPS * PHYSICS_STEP_S
SETTLE_STEPS = 5  # control steps before time starts, for blocks and servos to come to rest


class Playtable:
    """A Franka Panda at a table with a drawer and three blocks. See Environment for the protocol."""

    name = "playtable"
    tasks: tuple[Task, ...] = TASKS
    scenes = tuple(SCENES)
    convention = CONVENTIONS["calvin"]

    def __init__(self, make_renderer: Callable[[], Renderer]) -> None:
        self._make_renderer = make_renderer
        self._renderer: Renderer | None = None
        self._scene: SceneParameters | None = None
        self._owner: int | None = None
        self._work_space = WorkSpace()

    def reset(self, task: str, scene: str, seed: int) -> SimState:
        """Begin an episode; raises UnknownName for a task or scene that does not exist."""
        oracle, chosen_scene = ORACLES[find_task(self, task).name], find_scene(scene)
        layout = draw_layout(seed, chosen_scene)
        self._owner = self._owner or threading.get_ident()
        self._check_thread()
        if chosen_scene != self._scene:
            self._load(chosen_scene)
        self._done = oracle
        self._place(layout, chosen_scene)
        for _ in range(SETTLE_STEPS):
            self._advance(self._commanded_rad)
        self._steps, self._closed_steps = 0, 0
        self._start = self._values()
        return self._state()

    def step(self, action: np.ndarray) -> SimState:
        """Play one row (7,) SI, clipped to the convention's full scale, for 1/30 s."""
        self._check_ready()
        row = np.asarray(action, dtype=np.float64)
        if row.shape != (ROW_LENGTH,) or not np.isfinite(row).all():
            raise SimulatorError(f"playtable got the action {row.tolist()}; expected {ROW_LENGTH} finite numbers")
        row = self._limit(row)
        self._target_m = self._work_space.clip(self._target_m, self._target_m + row[:3])
        self._target_turn = Rotation.from_rotvec(row[3:6]) * self._target_turn
        self._opening = 1.0 if row[6] > 0.5 else 0.0
        self._closed_steps = 0 if self._opening else self._closed_steps + 1
        change = self._solve(self._commanded_rad) - self._commanded_rad
        self._advance(self._commanded_rad + change / max(1.0, np.abs(change / MOST_TURN_RAD).max()))
        self._steps += 1
        return self._state()

    def render(self) -> dict[str, np.ndarray]:
        """Pictures of the present state: static (200, 200, 3) and wrist (84, 84, 3), uint8 RGB, upright."""
        self._check_ready()
        if self._renderer is None:
            self._renderer = self._make_renderer()
            self._renderer.load(self._model)
        return self._renderer.render(self._data)

    def close(self) -> None:
        """Free the renderer; harmless to call twice."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = self._scene = self._owner = None

    def _check_ready(self) -> None:
        if self._scene is None:
            raise SimulatorError("playtable has no episode; call reset first")
        self._check_thread()

    def _check_thread(self) -> None:
        if threading.get_ident() != self._owner:
            raise SimulatorError("playtable belongs to the thread that first called reset; make every call from that thread")

    def _load(self, scene: SceneParameters) -> None:
        self._model = model = mujoco.MjModel.from_xml_string(build_mjcf(scene))
        self._data = mujoco.MjData(model)
        self._kinematics = InverseKinematics(model, "panda_hand_tcp", ARM_JOINT_NAMES, np.array(HOME_RAD))
        self._joint_positions = np.array([model.joint(name).qposadr[0] for name in JOINT_NAMES])
        self._joint_velocities = np.array([model.joint(name).dofadr[0] for name in JOINT_NAMES])
        self._block_positions = np.array([model.joint(name).qposadr[0] for name in BLOCKS])
        self._drawer_position = model.joint("drawer").qposadr[0]
        self._tcp, self._handle = model.site("panda_hand_tcp").id, model.site("drawer_handle").id
        if self._renderer is not None:
            self._renderer.load(model)
        self._scene = scene

    def _place(self, layout: Layout, scene: SceneParameters) -> None:
        mujoco.mj_resetData(self._model, self._data)
        self._target_m = np.array(layout.tcp_m)
        self._target_turn = Rotation.from_euler("xyz", (np.pi, 0.0, layout.tcp_yaw_rad))
        self._opening = 1.0
        angles = np.array(HOME_RAD)
        for _ in range(5):  # home may be far: a few solves instead of one
            angles = self._solve(angles)
        self._commanded_rad = angles
        fingers = (FINGER_TRAVEL_M, FINGER_TRAVEL_M)
        self._data.qpos[self._joint_positions] = (*angles, *fingers)
        self._data.ctrl[:] = (*angles, *fingers)
        for address, (x, y, yaw) in zip(self._block_positions, layout.blocks, strict=True):
            height = TABLE_TOP_M + scene.block_edge_m / 2
            self._data.qpos[address : address + 7] = (x, y, height, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        mujoco.mj_forward(self._model, self._data)

    def _limit(self, row: np.ndarray) -> np.ndarray:
        """Clip to [-1, 1] in the convention's own numbers, the only place where its full scale is exact."""
        orientation = self._target_turn.as_euler("xyz")
        action = np.clip(encode_actions(self.convention, row[None], orientation), -1.0, 1.0)
        return decode_actions(self.convention, action, orientation)[0]

    def _solve(self, start_rad: np.ndarray) -> np.ndarray:
        quaternion = self._target_turn.as_quat()[[3, 0, 1, 2]]
        return self._kinematics.solve(self._target_m, quaternion, start_rad)

    def _advance(self, angles: np.ndarray) -> None:
        """One control period: the servos' set points run straight from the last angles to the new ones."""
        before = self._commanded_rad
        self._data.ctrl[7:] = FINGER_TRAVEL_M * self._opening
        for substep in range(1, SUBSTEPS + 1):
            self._data.ctrl[:7] = before + (angles - before) * (substep / SUBSTEPS)
            mujoco.mj_step(self._model, self._data)
        self._commanded_rad = angles
        mujoco.mj_forward(self._model, self._data)

    def _state(self) -> SimState:
        values = self._values()
        if not np.isfinite(self._data.qpos).all():
            raise SimulatorError("playtable's physics diverged; reset it")
        return SimState(
            time_ns=round(self._steps * SUBSTEPS * PHYSICS_STEP_S * 1e9),
            joint_names=JOINT_NAMES,
            joint_positions=self._data.qpos[self._joint_positions],
            joint_velocities=self._data.qvel[self._joint_velocities],
            tcp_pose=np.array([values[f"tcp_{axis}"] for axis in POSE_AXES]),
            target_pose=np.array([values[f"target_{axis}"] for axis in POSE_AXES]),
            gripper_opening=self._opening,
            success=self._done(self._start, values),
            values=values,
        )

    def _values(self) -> dict[str, float]:
        """Every number an oracle or an expert needs; metres and radians."""
        data, qpos = self._data, self._data.qpos
        named = {"tcp": data.site_xpos[self._tcp], "target": self._target_m}
        quaternions = [np.empty(4), self._target_turn.as_quat()[[3, 0, 1, 2]]]
        mujoco.mju_mat2Quat(quaternions[0], data.site_xmat[self._tcp])
        for name, address in zip(BLOCKS, self._block_positions, strict=True):
            named[name] = qpos[address : address + 3]
            quaternions.append(qpos[address + 3 : address + 7])
        turns = _euler_angles(np.array(quaternions))  # (bodies, 3)
        values = {
            f"{name}_{axis}": float(number)
            for (name, place), turn in zip(named.items(), turns, strict=True)
            for axis, number in zip(POSE_AXES, (*place, *turn), strict=True)
        }
        handle = data.site_xpos[self._handle]
        values.update({f"drawer_handle_{axis}": float(number) for axis, number in zip("xyz", handle, strict=True)})
        values["drawer_opening"] = float(qpos[self._drawer_position])
        values["gripper_opening"] = self._opening
        values["gripper_width"] = float(qpos[self._joint_positions[7:]].sum())
        values["gripper_closed_steps"] = float(self._closed_steps)
        values["table_top"] = TABLE_TOP_M
        return values


def _euler_angles(quaternions: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw (extrinsic x-y-z) of unit quaternions: (n, 4) -> (n, 3). SciPy would warn of a block on its edge."""
    w, x, y, z = quaternions.T
    roll = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
    pitch = np.arcsin(np.clip(2 * (w * y - z * x), -1.0, 1.0))
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return np.stack([roll, pitch, yaw], axis=1)
