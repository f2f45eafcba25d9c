"""CALVIN as it stands in its own process: our rows in, states and pictures out. Imports calvin_env in functions only.

A chain goes as in the published evaluation: one reset, then every task is taken up where the one before has ended, its start
being that instant. Lengths in metres, angles in radians, world frame of CALVIN.
"""

import sys
from collections.abc import Callable, Collection, Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from worldagen.conventions import CONVENTIONS, encode_actions
from worldagen.errors import SimulatorError, UnknownName
from worldagen.types import ROW_LENGTH
from worldagen_sim.calvin.chains import RULES, starts_of
from worldagen_sim.calvin.clone import find_clone, read_tasks
from worldagen_sim.calvin.conditions import (
    BLOCKS,
    ROBOT_NUMBERS,
    SCENE_NUMBERS,
    SCENES,
    Conditions,
    checked,
    initial_conditions,
    initial_state,
)
from worldagen_sim.calvin.world import World, commit_of
from worldagen_sim.environment import VIEWS, Camera, SimState, Task, find_task, pinhole

VERSION = "1"  # of this bridge: another one means other episodes for the same scene, task and seed
JOINT_NAMES = (*(f"panda_joint{number}" for number in range(1, 8)), "panda_finger_joint1", "panda_finger_joint2")
TABLE_VALUES = ("slider_position", "drawer_opening", "button", "switch", "lightbulb", "led")
LIGHTS = slice(4, 6)  # of scene_obs
TINY_RENDERER = "pictures by TinyRenderer, which shades otherwise than the EGL that CALVIN's data was drawn with"
NO_SENTENCES = "the words of the tasks are their names: a clone of calvin_env alone has no sentences"
POSE_AXES = ("x", "y", "z", "roll", "pitch", "yaw")

Oracle = Callable[[Any, Any, str], bool]  # what was known at the start of a task, what is known now, the task -> done


class Physics(Protocol):
    """What a World is to this file; a test has a small one."""

    blocks: tuple[str, ...]

    def load(self, scene: str) -> None: ...
    def begin(self, robot_obs: np.ndarray, scene_obs: np.ndarray) -> None: ...
    def step(self, action: np.ndarray) -> Any: ...
    def info(self) -> Any: ...
    def numbers(self) -> tuple[np.ndarray, np.ndarray]: ...
    def joints(self) -> tuple[np.ndarray, np.ndarray]: ...
    def picture(self, view: str) -> np.ndarray: ...
    def close(self) -> None: ...

    @property
    def target_pose(self) -> np.ndarray: ...


class Calvin:
    """A Franka Panda at CALVIN's play table. See Environment for the protocol."""

    name = "calvin"
    scenes = SCENES
    convention = CONVENTIONS["calvin"]
    cameras: Mapping[str, Camera] = MappingProxyType({"static": pinhole(200, 10.0), "wrist": pinhole(84, 75.0)})

    def __init__(
        self, tasks: tuple[Task, ...], oracle: Oracle, make_world: Callable[[str], Physics], version: str, caveat: str = ""
    ) -> None:
        """make_world: a scene -> its world, called once."""
        self.tasks, self.version, self.caveat = tasks, version, caveat
        self._oracle, self._make_world = oracle, make_world
        self._world: Physics | None = None
        self._scene = ""
        self._task = ""
        self.conditions: Conditions = {}

    def reset(self, task: str, scene: str, seed: int, conditions: Conditions | None = None) -> SimState:
        """Begin as the published evaluation begins: from one of its initial states, by the seed or as given.

        No initial state allows the tasks that follow another one, such as placing: then any of them is drawn.
        """
        name = find_task(self, task).name
        start = start_conditions(name, seed, conditions)
        robot_obs, scene_obs = initial_state(start, scene)
        world = self._enter(scene)
        poses = dict(zip(BLOCKS, np.split(scene_obs[len(TABLE_VALUES) :], len(BLOCKS)), strict=True))
        ordered = [scene_obs[: len(TABLE_VALUES)], *(poses[block] for block in world.blocks)]
        return self._begin(name, start, robot_obs, np.concatenate(ordered))

    def restore(self, task: str, scene: str, state: np.ndarray) -> SimState:
        """Begin from the 15 numbers of CALVIN's robot_obs and the 24 of its scene_obs, one after the other.

        The blocks are in the scene's own order, as CALVIN's data has them.
        """
        name, state = find_task(self, task).name, np.asarray(state, np.float64)
        if state.shape != (ROBOT_NUMBERS + SCENE_NUMBERS,) or not np.isfinite(state).all():
            raise SimulatorError(
                f"a state of calvin has {ROBOT_NUMBERS} + {SCENE_NUMBERS} finite numbers, robot_obs and scene_obs; "
                f"got {state.shape}"
            )
        robot_obs, scene_obs = np.split(state, [ROBOT_NUMBERS])
        if not np.isin(scene_obs[LIGHTS], (0.0, 1.0)).all():
            raise SimulatorError(f"lightbulb and led are {scene_obs[LIGHTS].tolist()}; expected 0 or 1")
        self._enter(scene)
        return self._begin(name, {}, robot_obs, scene_obs)

    def take_up(self, task: str) -> SimState:
        """Begin another task in the world as it stands. The target pose stays what it is, as in the published evaluation."""
        name = find_task(self, task).name
        self._task, self._start = name, self._ready().info()
        return self._state(self._start)

    def step(self, action: np.ndarray) -> SimState:
        """Play one row (7,) SI, clipped to the convention's full scale, for 1/30 s."""
        world, row = self._ready(), np.asarray(action, np.float64)
        if row.shape != (ROW_LENGTH,) or not np.isfinite(row).all():
            raise SimulatorError(f"calvin got the action {row.tolist()}; expected {ROW_LENGTH} finite numbers")
        encoded = encode_actions(self.convention, row[None], world.target_pose[3:])[0].clip(-1.0, 1.0)
        encoded[6] = 1.0 if row[6] > 0.5 else -1.0  # CALVIN takes nothing in between
        info = world.step(encoded)
        self._steps += 1
        return self._state(info)

    def render(self, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """Pictures of the present state: static (200, 200, 3) and wrist (84, 84, 3), uint8 RGB, upright; those of `views`."""
        world = self._ready()
        if unknown := set(views) - set(VIEWS):
            raise UnknownName("camera of calvin", sorted(unknown)[0], VIEWS)
        return {view: world.picture(view) for view in views}

    def close(self) -> None:
        """Leave PyBullet; harmless to call twice."""
        if self._world is not None:
            self._world.close()
        self._world, self._task = None, ""

    def _enter(self, scene: str) -> Physics:
        if scene not in self.scenes:
            raise UnknownName("calvin scene", scene, self.scenes)
        if self._world is None:
            self._world = self._make_world(scene)
        elif scene != self._scene:
            self._world.load(scene)
        self._scene = scene
        return self._world

    def _begin(self, task: str, conditions: Conditions, robot_obs: np.ndarray, scene_obs: np.ndarray) -> SimState:
        assert self._world is not None
        self._world.begin(robot_obs, scene_obs)
        self.conditions, self._steps = conditions, 0
        self._task = task
        return self.take_up(task)

    def _ready(self) -> Physics:
        if self._world is None or not self._task:
            raise SimulatorError("calvin has no episode; call reset first")
        return self._world

    def _state(self, info: Any) -> SimState:
        world = self._ready()
        robot_obs, scene_obs = world.numbers()
        positions, velocities = world.joints()
        if not np.isfinite(positions).all():
            raise SimulatorError("calvin's physics diverged; reset it")
        names = (*TABLE_VALUES, *(f"{block}_{axis}" for block in world.blocks for axis in POSE_AXES))
        return SimState(
            time_ns=round(self._steps * self.convention.period_s * 1e9),
            joint_names=JOINT_NAMES,
            joint_positions=positions,
            joint_velocities=velocities,
            tcp_pose=robot_obs[:6],
            target_pose=world.target_pose,
            gripper_opening=1.0 if robot_obs[14] > 0 else 0.0,
            success=self._oracle(self._start, info, self._task),
            values=dict(zip(names, scene_obs.tolist(), strict=True)) | {"gripper_width": float(robot_obs[6])},
        )


def start_conditions(task: str, seed: int, given: Conditions | None) -> Conditions:
    """The initial state of a seed in which the task can be done, or the given one if it can.

    Raises SimulatorError for a seed that is none, and for conditions that cannot be or rule out the task.
    """
    if isinstance(seed, bool) or seed < 0:
        raise SimulatorError(f"the seed is {seed!r}; expected a whole number, 0 or more")
    possible = starts_of(task) if task in RULES else ()
    if given is None:
        choices = possible or initial_conditions()
        return choices[int(np.random.default_rng(seed).integers(len(choices)))]
    conditions = checked(given)
    if conditions not in possible:
        told = ", ".join(f"{name} {value}" for name, value in conditions.items())
        raise SimulatorError(f"{task} cannot be done from these conditions: {told}")
    return conditions


def make_simulator(root: str, egl: bool) -> Calvin:
    """CALVIN over the clone in a folder. Raises SimulatorError for what is missing there or in this Python."""
    clone = find_clone(root)
    try:
        import hydra
        import pybullet  # noqa: F401
        from calvin_env.envs import play_table_env  # type: ignore[import-not-found]  # noqa: F401
        from omegaconf import OmegaConf  # type: ignore[import-not-found]
    except ImportError as error:
        raise SimulatorError(
            f"the Python {sys.executable} of CALVIN cannot import what calvin_env needs: {error}. Build its environment with "
            "scripts/setup --with calvin, or install into yours what docs/simulators.md lists"
        ) from None
    version = f"{VERSION}, calvin_env {commit_of(clone)[:12]}, pybullet {metadata.version('pybullet')}"
    judge = hydra.utils.instantiate(OmegaConf.load(clone.calvin_env / "conf/tasks/new_playtable_tasks.yaml"))

    def oracle(start: Any, now: Any, task: str) -> bool:
        return bool(judge.get_task_info_for_set(start, now, {task}))

    faults = [TINY_RENDERER] * (not egl) + [NO_SENTENCES] * (clone.annotations is None)
    return Calvin(read_tasks(clone), oracle, lambda scene: World(clone, scene, egl), version, "; ".join(faults))
