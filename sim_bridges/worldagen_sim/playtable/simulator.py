"""The playtable as an Environment: physics, relative end-effector actions, oracles; pictures come from a Renderer.

Everything random is drawn at the reset from the seed, by name, so that the same seed means the same draws in every scene and
task. Each episode has a model of its own. World frame as in scenes.py. Lengths in metres, angles in radians.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from worldagen.conventions import CONVENTIONS, decode_actions, encode_actions
from worldagen.errors import SimulatorError
from worldagen.types import ROW_LENGTH
from worldagen_sim.environment import VIEWS, Camera, SimState, Task, find_task, pinhole
from worldagen_sim.playtable.conditions import Conditions
from worldagen_sim.playtable.draws import Draws
from worldagen_sim.playtable.inverse_kinematics import InverseKinematics
from worldagen_sim.playtable.layout import draw_layout
from worldagen_sim.playtable.lights import Lights
from worldagen_sim.playtable.mjcf import PHYSICS_STEP_S, build_mjcf
from worldagen_sim.playtable.panda import (
    ARM_JOINT_NAMES,
    ARM_JOINTS,
    FINGER_TRAVEL_M,
    HOME_RAD,
    JOINT_NAMES,
    WRIST_FIELD_OF_VIEW_DEG,
)
from worldagen_sim.playtable.perturbations import find_scene
from worldagen_sim.playtable.placing import place_things
from worldagen_sim.playtable.readings import POSE_AXES, Readings
from worldagen_sim.playtable.rendering import CAMERAS, Renderer
from worldagen_sim.playtable.scenes import SCENES, SceneParameters, StaticCamera
from worldagen_sim.playtable.start import start_conditions
from worldagen_sim.playtable.surfaces import write_pictures
from worldagen_sim.playtable.tasks import ORACLES, TASKS
from worldagen_sim.playtable.work_space import WorkSpace

VERSION = "1"  # of the benchmark: another one means other episodes for the same scene, task and seed
SUBSTEPS = 8  # of 1/240 s: 30 Hz
# Near a singular posture a small step of the tool asks for a large turn of a joint; the robot is no faster than its data sheet.
MOST_TURN_RAD = np.array([joint.speed_rad_s for joint in ARM_JOINTS]) * SUBSTEPS * PHYSICS_STEP_S
SETTLE_STEPS = 5  # control steps before time starts, for blocks and servos to come to rest


class Playtable:
    """A Franka Panda at a table with drawer, sliding cabinet, switch, button and blocks. See Environment for the protocol."""

    name = "playtable"
    version = VERSION
    tasks: tuple[Task, ...] = TASKS
    scenes = tuple(SCENES)
    cameras: Mapping[str, Camera] = MappingProxyType(
        {
            "static": pinhole(CAMERAS["static"], StaticCamera.field_of_view_deg),
            "wrist": pinhole(CAMERAS["wrist"], WRIST_FIELD_OF_VIEW_DEG),
        }
    )
    convention = CONVENTIONS["calvin"]
    caveat = ""

    def __init__(self, make_renderer: Callable[[], Renderer]) -> None:
        self._make_renderer = make_renderer
        self._renderer: Renderer | None = None
        self._model: mujoco.MjModel | None = None
        self._owner: int | None = None
        self._work_space = WorkSpace()
        self.conditions: Conditions = {}

    def reset(self, task: str, scene: str, seed: int, conditions: Conditions | None = None) -> SimState:
        """Begin an episode; raises UnknownName or SimulatorError, and keeps the present one, for what cannot be."""
        name, draws = find_task(self, task).name, Draws(seed)
        drawn = find_scene(scene).varied(draws)
        start = start_conditions(name, draws, conditions)
        layout = draw_layout(draws, drawn, start, name)
        self._owner = self._owner or threading.get_ident()
        self._check_thread()
        self._load(drawn)
        self.conditions = start
        self._target_m = np.array(layout.tcp_m)
        self._target_turn = Rotation.from_euler("xyz", (np.pi, 0.0, layout.tcp_yaw_rad))
        self._commanded_rad = self._solve_from_home()
        self._opening = place_things(self._model, self._data, self._commanded_rad, layout, drawn, start)
        self._lights.set(start["lightbulb"] == "on", start["led"] == "on")
        for _ in range(SETTLE_STEPS):
            self._advance(self._commanded_rad)
        self._steps = 0
        self._closed_steps = 0 if self._opening else 2 * SETTLE_STEPS  # a block in the hand has been held for a while
        return self._begin(name)

    def restore(self, task: str, scene: str, state: np.ndarray) -> SimState:
        """Always raises SimulatorError: a seed and conditions are all that an episode begins from."""
        raise SimulatorError("playtable cannot start from stored numbers; give a seed or conditions")

    def take_up(self, task: str) -> SimState:
        """Begin another task in the world as it stands; raises UnknownName.

        The commanded pose is seated on the measured one, as a command node does when a run begins.
        """
        self._check_ready()
        name, tcp = find_task(self, task).name, self._data.site("panda_hand_tcp")
        self._target_m = np.array(tcp.xpos)
        self._target_turn = Rotation.from_matrix(tcp.xmat.reshape(3, 3))
        return self._begin(name)

    def _begin(self, task: str) -> SimState:
        self._done = ORACLES[task]
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

    def render(self, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """Pictures of the present state: static (200, 200, 3) and wrist (84, 84, 3), uint8 RGB, upright; those of `views`."""
        self._check_ready()
        if self._renderer is None:
            self._renderer = self._make_renderer()
        if self._unpainted is not None:  # an episode that nobody looks at needs no pictures on its surfaces
            write_pictures(self._model, self._unpainted)
            self._renderer.load(self._model)
            self._unpainted = None
        return self._renderer.render(self._data, views)

    def close(self) -> None:
        """Free the renderer; harmless to call twice."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = self._model = self._owner = None

    def _check_ready(self) -> None:
        if self._model is None:
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
        self._lights, self._readings = Lights(model), Readings(model, scene)
        self._unpainted: SceneParameters | None = scene

    def _limit(self, row: np.ndarray) -> np.ndarray:
        """Clip to [-1, 1] in the convention's own numbers, the only place where its full scale is exact."""
        orientation = self._target_turn.as_euler("xyz")
        action = np.clip(encode_actions(self.convention, row[None], orientation), -1.0, 1.0)
        return decode_actions(self.convention, action, orientation)[0]

    def _solve_from_home(self) -> np.ndarray:
        angles = np.array(HOME_RAD)
        for _ in range(5):  # home may be far: a few solves instead of one
            angles = self._solve(angles)
        return angles

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
        self._lights.update(self._data)

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
        quaternion = self._target_turn.as_quat()[[3, 0, 1, 2]]
        values = self._readings.read(self._data, self._target_m, quaternion)
        values["gripper_opening"] = self._opening
        values["gripper_closed_steps"] = float(self._closed_steps)
        values["lightbulb"], values["led"] = float(self._lights.lightbulb), float(self._lights.led)
        return values
