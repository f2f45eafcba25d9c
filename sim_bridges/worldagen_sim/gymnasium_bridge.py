"""Any Gymnasium environment as an Environment, by a mapping of its keys: a YAML file, or a preset of mappings/.

A key names a part of what the environment tells: "observation/pixels/top" or "info/is_success" (levels with slashes between,
"observation" may be left out), with [a:b] behind it for some of its numbers, and "render" for the picture that
env.render() gives. The environment runs in a process of its own, if need be in another Python environment.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from worldagen.config import load_config, setting
from worldagen.conventions import CONVENTIONS, decode_actions, encode_actions, find_convention
from worldagen.errors import ConfigError, SimulatorError
from worldagen.types import ROW_LENGTH
from worldagen_sim.environment import VIEWS, Camera, SimState, Task, find_task, parse_options
from worldagen_sim.remote.environment import RemoteEnvironment
from worldagen_sim.remote.process import Launch

ROTATIONS = ("none", "euler", "rotation_vector", "quaternion_xyzw", "quaternion_wxyz")
SCENE = "default"
_SLICE = re.compile(r"^(?P<path>.*?)(\[(?P<low>\d+):(?P<high>\d+)\])?$")


@dataclass(frozen=True)
class Mapped:
    """What means what in a Gymnasium environment."""

    id: str = setting("", "name under which it is registered")
    modules: str = setting("", "modules to import first, which register it, with commas between them")
    arguments: str = setting("", "of gymnasium.make, KEY=VALUE with semicolons between")
    tasks: str = setting("do the task=", "NAME=WORDS with semicolons between; no words: the name")
    task_argument: str = setting("", "argument of gymnasium.make that is given the task's name; empty: there is one task")
    static: str = setting("pixels/static", "key of the static camera's picture, (H, W, 3) uint8")
    wrist: str = setting("", "key of the wrist camera's picture; empty: it has none, and is shown black")
    wrist_size: int = setting(84, "side of the black picture where there is no wrist camera, pixels", low=1, high=4096)
    flip_rows: bool = setting(False, "pictures come upside down")
    focal_length: float = setting(0.0, "of both cameras, pixels; 0: the picture's width", low=0.0)
    joints: str = setting("", "key of the joint positions, rad and m; empty: none are told, and no kinematics can be had")
    joint_names: str = setting("", "their names in the robot's URDF, with commas between them")
    position: str = setting("", "key of the tool's position, m")
    orientation: str = setting("", "key of its orientation; empty: none")
    rotation: str = setting("none", "what the orientation's numbers are", choices=ROTATIONS)
    convention: str = setting("libero", "of its actions: control period and full scale", choices=tuple(CONVENTIONS))
    success: str = setting("info/is_success", "key that is true when the task is done")


def make_gymnasium(renderer: str = "auto", mapping: str = "", python: str = "") -> RemoteEnvironment:
    """A Gymnasium environment in a process of its own.

    mapping: a preset's name (mappings/) or the path of a YAML file. python: interpreter of the environment it is installed in,
    ours by default. Raises ConfigError for a mapping that is none, SimulatorError when the environment does not start.
    """
    read_mapping(mapping)  # refused here, in words, before a process is started
    file = str(find_mapping(mapping).resolve())
    variables = {} if renderer in ("auto", "raycast") else {"MUJOCO_GL": renderer, "PYOPENGL_PLATFORM": renderer}
    options = {"mapping": file}
    launch = Launch("gymnasium", "worldagen_sim.gymnasium_bridge:GymnasiumSimulator", options, environment=variables)
    return RemoteEnvironment(launch if not python else Launch(**{**vars(launch), "python": python}))


def find_mapping(name: str) -> Path:
    """The YAML file of a mapping, by its path or by the name of one that comes with us. Raises ConfigError."""
    shipped = Path(__file__).parent / "mappings"
    path = shipped / f"{name}.yaml" if name and "/" not in name and not name.endswith((".yaml", ".yml")) else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in shipped.glob("*.yaml")))
        raise ConfigError(f"sim.options: there is no mapping {name!r}; give mapping=PATH of a YAML file or one of: {known}")
    return path


def read_mapping(name: str) -> Mapped:
    """Raises ConfigError, naming file and key, for what is not allowed."""
    path = find_mapping(name)
    mapped = load_config(path, Mapped())
    for key in ("id", "position", "static"):
        if not getattr(mapped, key):
            raise ConfigError(f"{path}: {key} is missing; expected {Mapped.__dataclass_fields__[key].metadata['meaning']}")
    if bool(mapped.joints) != bool(mapped.joint_names):
        raise ConfigError(f"{path}: joints and joint_names go together")
    if bool(mapped.orientation) != (mapped.rotation != "none"):
        raise ConfigError(f"{path}: orientation and rotation go together; rotation is one of: {', '.join(ROTATIONS)}")
    return mapped


class GymnasiumSimulator:
    """See Environment for the protocol. mapping: path of the YAML file."""

    name = "gymnasium"
    scenes: tuple[str, ...] = (SCENE,)
    caveat = ""
    cameras: Mapping[str, Camera]

    def __init__(self, mapping: str) -> None:
        import gymnasium

        self._make, self._mapped = gymnasium.make, read_mapping(mapping)
        for module in filter(None, (part.strip() for part in self._mapped.modules.split(","))):
            import_module(module)
        named = [part.partition("=") for part in self._mapped.tasks.split(";") if part.strip()]
        self.tasks = tuple(Task(name.strip(), (words.strip() or name.strip(),)) for name, _, words in named)
        self.convention = find_convention(self._mapped.convention)
        self.conditions: Mapping[str, str] = {}
        self._environment: Any = None
        self._task = ""
        self.version: str = f"{self._mapped.id} gymnasium {gymnasium.__version__}"
        self.reset(self.tasks[0].name, SCENE, 0)
        self.cameras = {view: self._camera(picture) for view, picture in self.render().items()}

    def reset(self, task: str, scene: str, seed: int, conditions: Mapping[str, str] | None = None) -> SimState:
        """Begin an episode; the environment is given the seed as it is. Raises UnknownName, SimulatorError for conditions."""
        name = find_task(self, task).name
        if scene != SCENE or conditions:
            raise SimulatorError(f"a Gymnasium environment has one scene, {SCENE!r}, and takes no conditions")
        if self._environment is None or (self._mapped.task_argument and name != self._task):
            self._environment = self._opened(name)
        self._task = name
        self._observation, self._info = self._environment.reset(seed=seed)
        self._steps, self._opening = 0, 1.0
        self._target = self._pose()
        return self._state()

    def restore(self, task: str, scene: str, state: np.ndarray) -> SimState:
        """Always raises SimulatorError: Gymnasium stores no states."""
        raise SimulatorError("a Gymnasium environment cannot start from stored numbers; give a seed")

    def take_up(self, task: str) -> SimState:
        """Only the task that is being done. Raises UnknownName, SimulatorError for another."""
        if find_task(self, task).name != self._task:
            raise SimulatorError(f"a Gymnasium environment cannot take up {task!r} in the world of {self._task!r}; reset it")
        self._target = self._pose()
        return self._state()

    def step(self, action: np.ndarray) -> SimState:
        """Play one row (7,) SI as the convention's numbers, clipped to their full scale."""
        row = np.asarray(action, np.float64)
        if row.shape != (ROW_LENGTH,) or not np.isfinite(row).all():
            raise SimulatorError(f"{self._mapped.id} got the action {row.tolist()}; expected {ROW_LENGTH} finite numbers")
        numbers = np.clip(encode_actions(self.convention, row[None], self._target[3:])[0], -1.0, 1.0)
        space = self._environment.action_space
        if space.shape != numbers.shape:
            raise SimulatorError(f"{self._mapped.id} takes actions of shape {space.shape}; a policy gives {numbers.shape}")
        clipped = np.clip(numbers, space.low, space.high).astype(space.dtype)
        self._observation, _, _, _, self._info = self._environment.step(clipped)
        self._steps += 1
        self._opening = 1.0 if row[6] > 0.5 else 0.0
        if self.convention.rotation == "euler_increment":  # added to what was commanded, not to what was reached
            moved = decode_actions(self.convention, numbers[None], self._target[3:])[0]
            turned = Rotation.from_rotvec(moved[3:6]) * Rotation.from_euler("xyz", self._target[3:])
            self._target = np.concatenate([self._target[:3] + moved[:3], turned.as_euler("xyz")])
        else:
            self._target = self._pose()
        return self._state()

    def render(self, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """See Environment."""
        return {view: self._picture(view) for view in views}

    def close(self) -> None:
        """See Environment."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def _opened(self, task: str) -> Any:
        self.close()
        arguments = parse_options(self._mapped.arguments, self._mapped.id)
        if self._mapped.task_argument:
            arguments |= parse_options(f"{self._mapped.task_argument}={task}", self._mapped.id)
        # Gymnasium's checker is for authors; here a sloppy observation space is no reason not to run.
        return self._make(self._mapped.id, **{"disable_env_checker": True} | arguments)

    def _state(self) -> SimState:
        names = tuple(name.strip() for name in self._mapped.joint_names.split(",") if name.strip())
        joints = self._numbers(self._mapped.joints) if names else np.empty(0)
        if len(joints) != len(names):
            raise SimulatorError(f"{self._mapped.joints} holds {len(joints)} numbers; joint_names has {len(names)} names")
        return SimState(
            time_ns=round(self._steps * self.convention.period_s * 1e9),
            joint_names=names,
            joint_positions=joints,
            joint_velocities=np.zeros(len(joints)),
            tcp_pose=self._pose(),
            target_pose=self._target,
            gripper_opening=self._opening,
            success=self._succeeded(),
            values={},
        )

    def _pose(self) -> np.ndarray:
        position = self._numbers(self._mapped.position)
        if position.shape != (3,):
            raise SimulatorError(f"{self._mapped.position} holds {position.size} numbers; expected 3: the tool's position, m")
        if self._mapped.rotation == "none":
            return np.append(position, np.zeros(3))
        told = self._numbers(self._mapped.orientation)
        try:
            turn = {
                "euler": lambda: Rotation.from_euler("xyz", told),
                "rotation_vector": lambda: Rotation.from_rotvec(told),
                "quaternion_xyzw": lambda: Rotation.from_quat(told),
                "quaternion_wxyz": lambda: Rotation.from_quat(np.roll(told, -1)),
            }[self._mapped.rotation]()
        except ValueError as error:
            raise SimulatorError(f"{self._mapped.orientation} is no {self._mapped.rotation}: {error}") from None
        return np.concatenate([position, turn.as_euler("xyz")])

    def _succeeded(self) -> bool:
        try:
            return bool(np.all(self._told(self._mapped.success)))
        except SimulatorError:
            if self._steps == 0:  # many environments say so from the first step on only
                return False
            raise

    def _picture(self, view: str) -> np.ndarray:
        key = getattr(self._mapped, view)
        if not key:
            return np.zeros((self._mapped.wrist_size, self._mapped.wrist_size, 3), np.uint8)
        picture = np.asarray(self._environment.render() if key == "render" else self._told(key))
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise SimulatorError(f"{key} has shape {picture.shape} and type {picture.dtype}; expected (H, W, 3) uint8")
        return np.ascontiguousarray(picture[::-1]) if self._mapped.flip_rows else picture

    def _camera(self, picture: np.ndarray) -> Camera:
        height, width = picture.shape[:2]
        return Camera(width, height, self._mapped.focal_length or float(width))

    def _numbers(self, key: str) -> np.ndarray:
        return np.asarray(self._told(key), np.float64).reshape(-1)

    def _told(self, key: str) -> Any:
        found = _SLICE.match(key)
        assert found is not None
        parts = [part for part in found["path"].split("/") if part]
        told: Any = self._info if parts[:1] == ["info"] else self._observation
        for part in parts[1:] if parts[:1] in (["info"], ["observation"]) else parts:
            if not isinstance(told, Mapping) or part not in told:
                known = ", ".join(told) if isinstance(told, Mapping) else f"a {type(told).__name__}, which has no parts"
                raise SimulatorError(f"{self._mapped.id} has no {key!r}: {part!r} is not there; there is {known or 'nothing'}")
            told = told[part]
        return told if found["low"] is None else np.asarray(told).reshape(-1)[int(found["low"]) : int(found["high"])]
