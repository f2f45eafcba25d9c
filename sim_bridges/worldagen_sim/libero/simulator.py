"""LIBERO as an Environment. Runs in LIBERO's own process; nothing of LIBERO is imported before the first episode.

An episode begins from one of the task's stored states, the seed's, after LIBERO's own reset: that draws the places of what is
fixed (stove, cabinet), which no stored state holds, from NumPy's global generator, so that one is seeded too.

Between control steps LIBERO leaves bodies where they were one physics step (2 ms) earlier than its joints. Here both are of the
same instant, which changes no physics: the tool pose is that of the joints, and that from which the next action counts.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from worldagen.conventions import encode_actions, find_convention
from worldagen.errors import SimulatorError, UnknownName
from worldagen_sim.environment import VIEWS, Camera, SimState, find_task
from worldagen_sim.libero.initial_states import read_initial_states
from worldagen_sim.libero.installation import (
    ASSETS,
    caveat_of,
    find_assets,
    find_package,
    load_environments,
    prepare_import,
    read_versions,
)
from worldagen_sim.libero.looks import change_looks
from worldagen_sim.libero.suites import read_suites, tasks_of
from worldagen_sim.playtable.rendering import find_gl_platform

CAMERAS = {"static": "agentview", "wrist": "robot0_eye_in_hand"}
FOV_Y_DEG = {"static": 45.0, "wrist": 75.0}
MOUNT_JOINTS = ("panda_mount_x", "panda_mount_y", "panda_mount_z")
ARM_JOINTS = tuple(f"panda_joint{number}" for number in range(1, 8))
FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
FINGER_SIGNS = np.array([1.0, -1.0])  # LIBERO's second finger opens to the negative side
LEAST_TURN = 1e-7  # of full scale: what arithmetic leaves of a zero; an exact zero keeps LIBERO's orientation goal
CONVENTION = find_convention("libero")
SETTLING_ROWS = {"open": np.array([0.0, 0, 0, 0, 0, 0, 1.0]), "still": np.array([0.0, 0, 0, 0, 0, 0, 0.5])}
RESET_ATTEMPTS = 100  # LIBERO's placement fails now and then, and is then drawn anew


def make_simulator(**options: Any) -> "Libero":
    """The worker's factory; options as in make_libero. Raises SimulatorError."""
    return Libero(**options)


class Libero:
    """See Environment for the protocol. It keeps one task's world; another task builds another one, in about a second."""

    name = "libero"
    convention = CONVENTION

    def __init__(
        self,
        renderer: str,
        suites: Sequence[str],
        size: int,
        settle_steps: int,
        settle: str,
        shows_before_settling: bool,
        light: float = 1.0,
        camera_deg: float = 0.0,
    ) -> None:
        versions = read_versions()
        self._platform, self._no_pictures = find_renderer(renderer)
        self._suites = read_suites(find_package(), suites)
        self._folder = prepare_import(self._suites.package, self._platform)
        self._settling = [SETTLING_ROWS[settle]] * settle_steps
        self._shows_before = shows_before_settling
        self._light, self._camera_deg = light, camera_deg
        self.scenes, self.tasks = tuple(suites), tasks_of(self._suites)
        self.cameras: Mapping[str, Camera] = {
            view: Camera(size, size, focal_length(size, degrees)) for view, degrees in FOV_Y_DEG.items()
        }
        self.caveat = caveat_of(self._suites.package)
        parts = [f"{name} {number}" for name, number in versions.items()]
        looks = [f"light {light:g}, camera {camera_deg:g} degrees"] if (light, camera_deg) != (1.0, 0.0) else []
        self.version = ", ".join([*parts, f"settled {settle} {settle_steps}", *looks])
        self.conditions: Mapping[str, str] = {}
        self._world: Any = None  # LIBERO's ControlEnv
        self._of: tuple[str, str] = ("", "")  # suite and task of that world
        self._steps, self._opening = 0, 1.0
        self._first_pictures: dict[str, np.ndarray] = {}  # from before settling, until the first step

    def reset(self, task: str, scene: str, seed: int, conditions: Mapping[str, str] | None = None) -> SimState:
        """See Environment. scene: the suite; the seed chooses the stored state, by its remainder."""
        self._require(task, scene)
        if conditions:
            raise SimulatorError("LIBERO's episodes begin from stored states; no conditions can be asked for")
        states = read_initial_states(self._suites.initial_states(scene, task))
        first = self._begin(task, scene, seed, states[seed % len(states)], f"{seed % len(states)} of {len(states)}")
        if self._shows_before and self._platform:
            self._first_pictures = self.render()
        for row in self._settling:
            settled = self._advance(row)
        self._steps = 0
        return first if self._shows_before or not self._settling else self._read(settled)

    def restore(self, task: str, scene: str, state: np.ndarray) -> SimState:
        """See Environment. state: as LIBERO stores it, time, positions, velocities; what is fixed stands as for seed 0."""
        self._require(task, scene)
        return self._begin(task, scene, 0, np.asarray(state, np.float64), "restored")

    def take_up(self, task: str) -> SimState:
        """See Environment. No world of LIBERO is made for a second task."""
        find_task(self, task)
        raise SimulatorError("LIBERO has a world of its own for every task; another task needs a reset")

    def step(self, action: np.ndarray) -> SimState:
        """See Environment. What is beyond full scale is cut off, as LIBERO does."""
        self._require_episode()
        self._first_pictures = {}
        return self._read(self._advance(np.asarray(action, np.float64)))

    def render(self, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """See Environment. LIBERO's pictures, turned upright."""
        world = self._require_episode()
        if self._first_pictures:
            return {view: self._first_pictures[view] for view in views}
        if not self._platform:
            raise SimulatorError(f"LIBERO draws with OpenGL only, and there is none: {self._no_pictures}")
        self._require_context(world)
        sizes = {view: self.cameras[view].width for view in views}
        drawn = {v: world.sim.render(size, size, camera_name=CAMERAS[v]) for v, size in sizes.items()}
        return {view: np.ascontiguousarray(picture[::-1]) for view, picture in drawn.items()}  # OpenGL begins at the bottom

    def close(self) -> None:
        """See Environment."""
        world, self._world = self._world, None
        if world is not None:
            world.close()
        self._folder.cleanup()

    def _require(self, task: str, suite: str) -> None:
        if suite not in self._suites.tasks:
            raise UnknownName("LIBERO suite", suite, self._suites.tasks)
        if task not in self._suites.tasks[suite]:
            raise UnknownName(f"task of {suite}", task, self._suites.tasks[suite])

    def _require_episode(self) -> Any:
        if self._world is None:
            raise SimulatorError("there is no episode of LIBERO yet; reset first")
        return self._world

    def _begin(self, task: str, suite: str, seed: int, state: np.ndarray, told: str) -> SimState:
        """The task's world in that state; LIBERO's own order of doing things."""
        if self._of != (suite, task) or self._world is None:
            self._build(task, suite)
        world = self._require_episode()
        sizes = 1 + world.sim.model.nq + world.sim.model.nv
        if state.shape != (sizes,) or not np.isfinite(state).all():
            raise SimulatorError(f"a state of {task} is {sizes} finite numbers: time, positions, velocities; got {state.shape}")
        np.random.seed(seed % 2**32)  # noqa: NPY002, LIBERO draws from the global one
        reset_world(world)
        world.sim.set_state_from_flattened(state)
        world.sim.forward()
        self._steps, self._opening, self._first_pictures = 0, 1.0, {}
        success = bool(world.check_success())
        world._post_process()
        self.conditions = {"initial state": told}
        return self._read(success)

    def _build(self, task: str, suite: str) -> None:
        """Raises SimulatorError for what its assets lack, leaving no world."""
        world, self._world = self._world, None
        if world is not None:
            world.close()
        assets = find_assets(self._suites.package)
        environments = load_environments(assets)
        np.random.seed(0)  # noqa: NPY002
        try:
            self._world = environments.ControlEnv(
                bddl_file_name=str(self._suites.problem(suite, task)),
                use_camera_obs=False,
                has_offscreen_renderer=False,
                ignore_done=True,
                hard_reset=False,
            )
        except (OSError, ValueError) as error:
            raise SimulatorError(
                f"LIBERO cannot build {task}: {error}. If a file is missing, the assets in {assets} are not complete: name a "
                f"complete copy in {ASSETS}"
            ) from error
        self._world.env._observables.clear()  # we read what we need ourselves
        self._of = (suite, task)
        model = self._world.sim.model
        angles = {view: float(model.cam_fovy[model.camera_name2id(camera)]) for view, camera in CAMERAS.items()}
        if angles != FOV_Y_DEG:
            raise SimulatorError(f"the cameras of {task} see {angles} degrees; expected {FOV_Y_DEG}")
        change_looks(model, CAMERAS["static"], self._light, self._camera_deg)

    def _advance(self, row: np.ndarray) -> bool:
        """One control step; whether LIBERO says that the task is done."""
        _, _, done, _ = self._world.step(action_of(row))
        self._steps += 1
        self._opening = float(np.clip(row[6], 0.0, 1.0))
        return bool(done)

    def _read(self, success: bool) -> SimState:
        """The numbers of this instant."""
        import mujoco

        sim, robot = self._world.sim, self._world.robots[0]
        model, data = sim.model._model, sim.data._data
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        base = data.xpos[sim.model.body_name2id("robot0_base")]
        arm, fingers = robot._ref_joint_pos_indexes, robot._ref_gripper_joint_pos_indexes
        arm_speed, finger_speed = robot._ref_joint_vel_indexes, robot._ref_gripper_joint_vel_indexes
        turn = data.xquat[sim.model.body_name2id(robot.robot_model.eef_name)]  # w, x, y, z
        pose = np.append(data.site_xpos[robot.eef_site_id], Rotation.from_quat(turn[[1, 2, 3, 0]]).as_euler("xyz"))
        bodies = self._world.env.obj_body_id
        return SimState(
            time_ns=round(self._steps * CONVENTION.period_s * 1e9),
            joint_names=MOUNT_JOINTS + ARM_JOINTS + FINGER_JOINTS,
            joint_positions=np.concatenate([base, data.qpos[arm], data.qpos[fingers] * FINGER_SIGNS]),
            joint_velocities=np.concatenate([np.zeros(3), data.qvel[arm_speed], data.qvel[finger_speed] * FINGER_SIGNS]),
            tcp_pose=pose,
            target_pose=pose,
            gripper_opening=self._opening,
            success=success,
            values={
                f"{name}_{axis}": float(data.xpos[body, k]) for name, body in bodies.items() for k, axis in enumerate("xyz")
            },
        )

    def _require_context(self, world: Any) -> None:
        """LIBERO's own OpenGL context for this world, made for its first picture."""
        if world.sim._render_context_offscreen is not None:
            return
        from robosuite.utils.binding_utils import MjRenderContextOffscreen

        try:
            MjRenderContextOffscreen(world.sim, device_id=-1)  # the world takes hold of it
        except Exception as error:  # drivers fail in many ways and PyOpenGL passes them all on
            raise SimulatorError(f"OpenGL by {self._platform} failed: {error!r}") from error
        groups = world.sim._render_context_offscreen.vopt.geomgroup
        groups[0], groups[1] = 0, 1  # what is seen, not what collides


def find_renderer(wanted: str) -> tuple[str, str]:
    """The OpenGL platform, or "" and why there are no pictures. Raises SimulatorError for one that is not here."""
    if wanted == "raycast":
        return "", "the renderer raycast was asked for"
    platform, reason = find_gl_platform(wanted)
    if not platform and wanted != "auto":
        raise SimulatorError(f"no OpenGL for LIBERO ({reason}); choose the renderer auto")
    return platform, reason


def action_of(row: np.ndarray) -> np.ndarray:
    """Our row (7,) -> LIBERO's action, in [-1, 1]."""
    action = np.clip(encode_actions(CONVENTION, row[None], np.zeros(3))[0], -1.0, 1.0)
    action[3:6][np.abs(action[3:6]) < LEAST_TURN] = 0.0
    return action


def focal_length(pixels: int, fov_y_deg: float) -> float:
    """In pixels."""
    return pixels / 2 / math.tan(math.radians(fov_y_deg) / 2)


def reset_world(world: Any) -> None:
    """LIBERO's reset of a world that is kept, as if it were built anew. Raises SimulatorError."""
    from robosuite.utils.errors import RandomizationError

    for robot in world.robots:
        robot.gripper.current_action = np.zeros(robot.gripper.dof)  # it adds up, and only a new gripper begins at zero
    for _ in range(RESET_ATTEMPTS):
        try:
            world.env.reset()  # not the wrapper's, which swallows every error
            return
        except RandomizationError:
            continue
    raise SimulatorError(f"LIBERO found no place for its objects in {RESET_ATTEMPTS} attempts")
